//! Several pipelines and sources at once.
use serde_json::json;

use crate::program::{Running, root, rows, run, specs};

#[test]
fn each_file_goes_to_its_source_and_each_pipeline_has_its_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let visits = write(
        "visits",
        r#"{"id":"1","ts":1767225600000,"what":{"kind":"a"},"value":4}"#,
    );
    let orders = write(
        "orders",
        "{\"ts\":\"2026-01-01T00:10:00Z\",\"amount\":3}\n{\"ts\":\"2026-01-01T00:20:00Z\",\"amount\":4}\n",
    );
    let spare = write("spare", "{\"ts\":\"2026-01-01T00:20:00Z\"}\nbroken\n");
    let (counts, two) = (specs("counts"), specs("two"));
    let sends = [
        format!("visits={visits}"),
        format!("default/orders={orders}"),
        format!("spare={spare}"),
    ];
    let mut args = vec!["dev", &counts, &two, "--until-idle", "-o", "json"];
    sends.iter().for_each(|send| args.extend(["--send", send]));
    let document = run(&args).document();
    assert_eq!(rows(&document, "visits_by_kind")[0]["total"], 4);
    let hours = rows(&document, "revenue_hourly");
    assert_eq!(
        (&hours[0]["orders"], &hours[0]["revenue"]),
        (&json!(2), &json!(7))
    );
    assert_eq!(document["ledgers"].as_array().unwrap().len(), 3);
}

#[test]
fn a_file_without_a_source_is_refused_where_there_are_several() {
    let ended = run(&[
        "dev",
        &specs("counts"),
        &specs("two"),
        "--send",
        "Cargo.toml",
        "--until-idle",
    ]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains(
            "--send SOURCE=FILE with one of default/visits, default/orders, default/spare"
        ),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_generator_makes_its_count_and_is_then_done() {
    let data = tempfile::tempdir().unwrap();
    let made = specs("made");
    let args = [
        "dev",
        &made,
        "--data",
        data.path().to_str().unwrap(),
        "--until-idle",
        "-o",
        "json",
    ];
    let document = run(&args).document();
    let total = |document: &serde_json::Value| {
        rows(document, "made_by_kind")
            .iter()
            .filter_map(|row| row["n"].as_u64())
            .sum::<u64>()
    };
    assert_eq!(total(&document), 1_500);
    assert!(rows(&document, "made_by_kind").len() >= 5);
    assert_eq!(
        run(&args).document(),
        document,
        "what was made is not made again"
    );
}

#[test]
fn a_generator_without_end_has_no_end_to_wait_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("endless.yaml");
    let text = std::fs::read_to_string(root().join(specs("made")).join("made.yaml")).unwrap();
    std::fs::write(&file, text.replace("count: 1500", "")).unwrap();
    let ended = run(&["dev", file.to_str().unwrap(), "--until-idle"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("default/made has no end") && ended.stderr.contains("`count`"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_name_that_is_not_there_is_refused_with_those_that_are() {
    let counts = specs("counts");
    let ended = run(&["dev", &counts, "--until-idle", "--output", "nothing"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended
            .stderr
            .contains("default/counts/visits_once, default/counts/visits_by_kind"),
        "{}",
        ended.stderr
    );
    let ended = run(&["dev", &counts, "--send", "visit=Cargo.toml", "--until-idle"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("there are: default/visits"),
        "{}",
        ended.stderr
    );
}

const ONE_VISIT: &str = r#"{"id":"1","ts":"2026-01-01T00:00:00Z","what":{"kind":"a"},"value":4}"#;

/// The specs `counts`, beginning at the latest event.
fn latest(folder: &std::path::Path) -> std::path::PathBuf {
    let latest = folder.join("specs");
    std::fs::create_dir(&latest).unwrap();
    for name in ["source.yaml", "pipeline.yaml"] {
        let text = std::fs::read_to_string(root().join(specs("counts")).join(name)).unwrap();
        std::fs::write(
            latest.join(name),
            text.replace("{name: visits}]", "{name: visits, start: Latest}]"),
        )
        .unwrap();
    }
    latest
}

#[test]
fn the_latest_event_is_decided_once_whatever_dies() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("events"));
    let specs = latest(folder.path());
    std::fs::write(&file, ONE_VISIT).unwrap();
    let (data, specs) = (data.to_str().unwrap(), specs.to_str().unwrap());
    let dev = Running::start(&["dev", specs, "--listen", "127.0.0.1:0", "--data", data]);
    dev.address();
    // Dropping kills, before anything has come.
    drop(dev);

    // Meanwhile events come, and no pipeline runs.
    let source = format!("{specs}/source.yaml");
    let sent = ["--send", file.to_str().unwrap(), "--until-idle"];
    let ended = run(&[&["dev", &source, "--data", data][..], &sent].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    let document = run(&["dev", specs, "--data", data, "--until-idle", "-o", "json"]).document();
    assert_eq!(rows(&document, "visits_by_kind")[0]["total"], 4);
}

#[test]
fn a_pipeline_that_starts_at_the_latest_event_reads_what_is_sent_then() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (file, latest) = (folder.path().join("events"), latest(folder.path()));
    std::fs::write(&file, ONE_VISIT).unwrap();
    let (data, file) = (data.to_str().unwrap(), file.to_str().unwrap());
    let args = [
        "dev",
        latest.to_str().unwrap(),
        "--data",
        data,
        "--send",
        file,
        "--until-idle",
        "-o",
        "json",
    ];
    assert_eq!(
        rows(&run(&args).document(), "visits_by_kind")[0]["total"],
        4
    );
}

#[test]
fn a_null_in_a_file_has_an_id_made_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders");
    let line = "{\"order_id\":null,\"ts\":\"2026-01-01T00:10:00Z\",\"amount\":null}\n";
    std::fs::write(&file, line.repeat(3)).unwrap();
    let send = format!("orders={}", file.display());
    let args = ["dev", &specs("counts"), &specs("two"), "--send", &send];
    let document = run(&[&args[..], &["--until-idle", "-o", "json"]].concat()).document();
    let hours = rows(&document, "revenue_hourly");
    assert_eq!(
        (&hours[0]["orders"], &hours[0]["revenue"]),
        (&json!(3), &json!(null))
    );
    assert_eq!(document["deadLetters"], json!([]));
}

#[test]
fn kept_events_keep_their_meaning() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let source = folder.path().join("source.yaml");
    let text = std::fs::read_to_string(root().join(specs("counts")).join("source.yaml")).unwrap();
    let args = [
        "dev",
        source.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
        "--until-idle",
    ];
    std::fs::write(&source, &text).unwrap();
    assert_eq!(run(&args).code, 0);
    std::fs::write(&source, text.replace("key: [id]", "key: [kind]")).unwrap();
    let ended = run(&args);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("the key cannot change"),
        "{}",
        ended.stderr
    );
    std::fs::write(&source, &text).unwrap();
    assert_eq!(run(&args).code, 0);
}
