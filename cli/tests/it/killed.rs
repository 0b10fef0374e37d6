//! `kill -9` at any moment, and the same command again.
use std::fmt::Write as _;
use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{Running, command, rows, run, specs};

fn events(count: u64) -> String {
    let mut text = String::new();
    let mut random = 7u64;
    for index in 0..count {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let pick = random >> 33;
        let seconds = index / 200;
        let (id, kind, value) = (
            index - pick % 3,
            ["a", "b", "noise", "c"][(pick % 4) as usize],
            pick % 1000,
        );
        let ts = format!(
            "2026-01-01T{:02}:{:02}:{:02}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        match pick % 97 {
            0 => text.push_str("{\"id\":\"broken\"\n"),
            1 => writeln!(
                text,
                r#"{{"id":"{id}","ts":"2025-01-01T00:00:00Z","what":{{"kind":"late"}}}}"#
            )
            .unwrap(),
            _ => writeln!(
                text,
                r#"{{"id":"{id}","ts":"{ts}","what":{{"kind":"{kind}"}},"value":{value}}}"#
            )
            .unwrap(),
        }
    }
    text
}

#[test]
fn a_run_that_was_killed_again_and_again_ends_as_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    std::fs::write(&file, events(150_000)).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (counts, file) = (specs("counts"), path("events.ndjson"));
    let play = |data: &str| {
        let args = [
            "dev",
            &counts,
            "--data",
            data,
            "--send",
            &file,
            "--until-idle",
            "-o",
            "json",
        ];
        args.map(str::to_owned)
    };
    let as_args = |args: &[String; 9]| args.iter().map(|arg| arg.to_owned()).collect::<Vec<_>>();
    let undisturbed = as_args(&play(&path("whole")));
    let expected = run(&undisturbed.iter().map(String::as_str).collect::<Vec<_>>()).document();

    let disturbed = as_args(&play(&path("killed")));
    let disturbed: Vec<&str> = disturbed.iter().map(String::as_str).collect();
    let mut kills = 0;
    let found: Value = loop {
        let printed = path("printed");
        let mut child = command(&disturbed)
            .stdout(File::create(&printed).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(40 + 35 * kills));
        // Killed after its last word, it has done all that it was asked to.
        child.kill().unwrap();
        child.wait().unwrap();
        if let Ok(document) = serde_json::from_str(&std::fs::read_to_string(&printed).unwrap()) {
            break document;
        }
        kills += 1;
    };
    assert!(kills > 3, "it was killed {kills} times only");
    for part in ["outputs", "ledgers", "deadLetters"] {
        let items = |document: &Value| document[part].as_array().unwrap().len();
        assert_eq!(items(&found), items(&expected), "{part}");
        assert!(found[part] == expected[part], "{part} differ");
    }
}

#[test]
fn ctrl_c_before_the_end_prints_what_there_is_and_the_same_command_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    let text: String = (0..200)
        .map(|id| format!("{{\"id\":\"{id}\",\"ts\":\"2026-01-01T00:00:01Z\",\"what\":{{\"kind\":\"a\"}},\"value\":1}}\n"))
        .collect();
    std::fs::write(&file, text).unwrap();
    let (counts, data) = (specs("counts"), folder.path().join("data"));
    let (file, data) = (file.to_str().unwrap(), data.to_str().unwrap());
    let args = ["dev", &counts, "--data", data, "--send", file];
    let print = ["--until-idle", "-o", "json"];
    // It has minutes to go when it is stopped.
    let child = command(&[&args[..], &["--rate", "1"], &print].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Past the point where signals are listened for: the log's folder is made after that.
    while !std::path::Path::new(data).join("log").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .unwrap();
    let ended = child.wait_with_output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{told}");
    assert!(
        told.contains("stopped before the end of the input"),
        "{told}"
    );
    let partial: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert!(rows(&partial, "visits_once").len() < 200);

    let whole = run(&[&args[..], &print].concat()).document();
    assert_eq!(rows(&whole, "visits_by_kind")[0]["total"], 200);
}

#[tokio::test]
async fn what_was_answered_202_survives_a_kill_and_is_counted_once() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let counts = specs("counts");
    let mut accepted = 0;
    for round in 0..4 {
        let dev = Running::start(&["dev", &counts, "--listen", "127.0.0.1:0", "--data", data]);
        let url = format!("{}/v1/events", dev.address());
        let client = reqwest::Client::new();
        for request in 0..(10 + 15 * round) {
            let event = |index: u32| json!({"id": format!("{round}-{request}-{index}"), "ts": "2026-01-01T00:00:01Z", "what": {"kind": "http"}, "value": 1});
            let events: Vec<Value> = (0..50).map(event).collect();
            let answer = client.post(&url).json(&events).send().await.unwrap();
            assert_eq!(answer.status(), 202);
            accepted += events.len();
        }
        // Dropping kills, while the pipeline still works on what has come.
        drop(dev);
    }
    let document = run(&["dev", &counts, "--data", data, "--until-idle", "-o", "json"]).document();
    assert_eq!(rows(&document, "visits_once").len(), accepted);
    assert_eq!(rows(&document, "visits_by_kind")[0]["total"], accepted);
    assert!(
        document["ledgers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|ledger| ledger["balanced"] == true)
    );
}
