//! `tidewheel dev` with the real parts in place of its own.
use std::path::Path;

use serde_json::Value;

use crate::example::assert_hours;
use crate::program::{root, rows, run};
use crate::roles::ground::Ground;

fn dev(ground: &Ground, more: &[&str]) -> Value {
    let specs = ground.path("specs");
    let args = ["dev", &specs, "--until-idle", "-o", "json"];
    run(&[&args[..], more].concat()).document()
}

#[test]
fn the_example_gives_the_same_on_kafka_and_postgresql() {
    let ground = Ground::new(&root().join("examples/web-analytics"), "dev-both");
    let kafka = ground.kafka.bootstrap();
    let sink = format!("warehouse={}", ground.postgres.url(&ground.database));
    let send = "examples/web-analytics/clicks.ndjson.gz";
    let document = dev(
        &ground,
        &["--kafka", kafka, "--sink", &sink, "--send", send],
    );
    let clicks = rows(&document, "clicks_unique");
    assert_hours(rows(&document, "clicks_hourly"), clicks);
    assert_eq!(clicks.len(), 6_000);
    let ledgers = document["ledgers"].as_array().unwrap();
    assert!(ledgers.iter().all(|ledger| ledger["balanced"] == true));
    assert_eq!(ground.sql("SELECT count(*) FROM clicks_unique"), "6000");
    // What is read back is what embedded tables give: their order and how each value is written, too.
    let embedded = dev(&ground, &["--send", send]);
    let hours = |document: &Value| {
        let mut hours = rows(document, "clicks_hourly").clone();
        // Sketches depend on the order in which partials come.
        for hour in &mut hours {
            hour["users"] = Value::Null;
            hour["p95_bytes"] = Value::Null;
        }
        hours
    };
    assert_eq!(hours(&document), hours(&embedded));
    let sorted = |document: &Value| {
        let mut clicks: Vec<String> = rows(document, "clicks_unique")
            .iter()
            .map(Value::to_string)
            .collect();
        clicks.sort_unstable();
        clicks
    };
    assert_eq!(sorted(&document), sorted(&embedded));
}

#[test]
fn rows_that_are_kept_for_a_time_have_their_partitions_at_once() {
    let specs = root().join(Path::new("cli/tests/it/specs/retained"));
    let ground = Ground::new(&specs, "dev-retained");
    let sink = format!("warehouse={}", ground.postgres.url(&ground.database));
    let document = dev(&ground, &["--sink", &sink]);
    assert_eq!(rows(&document, "made_rows").len(), 1_500);
    assert_eq!(ground.sql("SELECT count(*) FROM made_rows"), "1500");
    assert_eq!(ground.sql("SELECT count(*) FROM made_rows_default"), "0");
}

#[test]
fn either_part_can_be_swapped_alone() {
    let specs = root().join(Path::new("cli/tests/it/specs/generated"));
    let ground = Ground::new(&specs, "dev-either");
    let sink = format!(
        "dev-either/warehouse={}",
        ground.postgres.url(&ground.database)
    );
    for parts in [["--kafka", ground.kafka.bootstrap()], ["--sink", &sink]] {
        let document = dev(&ground, &parts);
        assert_eq!(rows(&document, "made_rows").len(), 1_500);
    }
    assert_eq!(ground.sql("SELECT count(*) FROM made_rows"), "1500");
}
