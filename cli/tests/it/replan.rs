//! Files that change while they run.
use std::path::Path;

use serde_json::json;

use crate::program::{Running, root, rows, run};

fn copy(name: &str, folder: &Path) -> String {
    let file = folder.join(name);
    std::fs::copy(root().join("cli/tests/it/specs/counts").join(name), &file).unwrap();
    file.to_str().unwrap().to_owned()
}

async fn post(url: &str, id: &str, second: u32) {
    let event = json!({"id": id, "ts": format!("2026-01-01T00:01:{second:02}Z"), "what": {"kind": "k"}, "value": 1});
    let answer = reqwest::Client::new()
        .post(url)
        .json(&event)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202);
}

#[tokio::test]
async fn a_change_is_taken_over_and_a_mistake_is_not() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = data.path().to_str().unwrap();
    copy("source.yaml", folder.path());
    let pipeline = copy("pipeline.yaml", folder.path());
    let text = std::fs::read_to_string(&pipeline).unwrap();
    let specs = folder.path().to_str().unwrap();

    let dev = Running::start(&["dev", specs, "--listen", "127.0.0.1:0", "--data", data]);
    let url = format!("{}/v1/events", dev.address());
    post(&url, "before", 1).await;

    std::fs::write(&pipeline, text.replace("FROM once", "FROM onec")).unwrap();
    dev.says("error[unknown-table]");
    dev.says("goes on until this is mended");
    post(&url, "meanwhile", 2).await;

    std::fs::write(&pipeline, text.replace("tumbling: 1m", "tumbling: 1h")).unwrap();
    dev.says("default/counts goes on as the files say now");
    post(&url, "after", 3).await;
    assert_eq!(dev.stop(), 0);

    let document = run(&["dev", specs, "--data", data, "--until-idle", "-o", "json"]).document();
    let windows = rows(&document, "visits_by_kind");
    assert_eq!(windows.len(), 1, "{windows:?}");
    assert_eq!(
        (&windows[0]["n"], &windows[0]["window_start"]),
        (&json!(3), &json!("2026-01-01T00:00:00Z"))
    );
    assert_eq!(rows(&document, "visits_once").len(), 3);
}

#[tokio::test]
async fn a_source_may_not_lose_partitions_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let source = copy("source.yaml", folder.path());
    copy("pipeline.yaml", folder.path());
    let dev = Running::start(&[
        "dev",
        folder.path().to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    dev.address();
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(&source, text.replace("partitions: 3", "partitions: 1")).unwrap();
    dev.says("partitions can be added, never removed");
    assert_eq!(dev.stop(), 0);
}

#[tokio::test]
async fn partitions_and_pipelines_can_be_added_while_events_come() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = data.path().to_str().unwrap();
    let (source, pipeline) = (
        copy("source.yaml", folder.path()),
        copy("pipeline.yaml", folder.path()),
    );
    let specs = folder.path().to_str().unwrap();
    let dev = Running::start(&["dev", specs, "--listen", "127.0.0.1:0", "--data", data]);
    let url = format!("{}/v1/events", dev.address());
    for second in 0..20 {
        post(&url, &format!("a{second}"), second).await;
    }
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(&source, text.replace("partitions: 3", "partitions: 5")).unwrap();
    dev.says("default/counts goes on as the files say now");
    let text = std::fs::read_to_string(&pipeline).unwrap();
    let second = text
        .replace("name: counts", "name: more")
        .replace("visits_once", "more_once")
        .replace("visits_by_kind", "more_by_kind");
    std::fs::write(folder.path().join("more.yaml"), second).unwrap();
    dev.says("default/more begins as the files say now");
    for second in 20..40 {
        post(&url, &format!("b{second}"), second).await;
    }
    let (code, said) = dev.stop_and_tell();
    assert_eq!(code, 0);
    // What is to be expected is no reason to warn.
    let warnings: Vec<_> = said.iter().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings, [""; 0]);
    let document = run(&["dev", specs, "--data", data, "--until-idle", "-o", "json"]).document();
    for output in ["visits_once", "more_once"] {
        assert_eq!(rows(&document, output).len(), 40, "{output}");
    }
    for output in ["visits_by_kind", "more_by_kind"] {
        assert_eq!(rows(&document, output)[0]["n"], 40, "{output}");
    }
}
