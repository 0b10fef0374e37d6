//! Tables whose rows are kept for a time.
use std::path::Path;

use crate::metrics::{documented, exposed};
use crate::program::root;
use crate::roles::ground::Ground;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_makes_partitions_ahead_and_drops_those_that_are_too_old() {
    let specs = root().join(Path::new("cli/tests/it/specs/retained"));
    let ground = Ground::new(&specs, "roles-retained");
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    for text in [
        "table `made_rows`: created\n",
        "table `made_rows`: made ",
        "table `kinds`: made ",
    ] {
        assert!(made.stdout.contains(text), "{}", made.stdout);
    }
    // Two hours ago somebody sent an event, and a day ago another.
    ground.sql(
        "CREATE TABLE made_rows_old PARTITION OF made_rows FOR VALUES FROM (date_trunc('hour', now()) - interval '4 h') TO (date_trunc('hour', now()) - interval '2 h');
         INSERT INTO made_rows (_generation, _partition, _offset, _ordinal, _append_time) VALUES
             (1, 0, -1, 0, date_trunc('hour', now()) - interval '3 h'), (1, 0, -2, 0, now() - interval '1 d')",
    );
    let dry = ground.provision_with(&["--dry-run"]);
    assert_eq!(dry.code, 3, "{}", dry.stderr);
    let would = "would drop made_rows_old; would delete 1 old row\n";
    assert!(dry.stdout.contains(would), "{}", dry.stdout);
    assert_eq!(ground.sql("SELECT count(*) FROM made_rows"), "2");

    let worker = ground.role("worker", &[]);
    worker
        .running
        .says("dropped made_rows_old; deleted 1 old row");
    assert_eq!(
        ground.sql("SELECT to_regclass('made_rows_old') IS NULL"),
        "t"
    );
    let generate = ground.role("generate", &[]);
    generate.running.says("all declared events are made");
    ground.until("SELECT count(*) FROM made_rows", "1500").await;
    assert_eq!(
        ground.sql("SELECT count(*) FROM made_rows_default"),
        "0",
        "rows of now have their partition"
    );
    let late = "SELECT count(*) FROM made_rows WHERE _append_time IS NULL OR _append_time < ts - interval '1 min'";
    assert_eq!(ground.sql(late), "0");
    ground
        .until(
            "SELECT count(*) > 0 FROM kinds WHERE tableoid <> 'kinds_default'::regclass",
            "t",
        )
        .await;

    let name = "tidewheel_retention_kept_timestamp_seconds";
    let text = worker.get("/metrics").await.1;
    assert_eq!(exposed(&text).get(name), documented().get(name));
    let series =
        format!("{name}{{pipeline=\"roles-retained/retained\",sink=\"roles-retained/warehouse\"}}");
    assert!(text.contains(&series), "{text}");
    assert_eq!((generate.stop(), worker.stop()), (0, 0));
}
