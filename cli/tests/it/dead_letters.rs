//! Dead letters: looked at, and sent again once.
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::program::{Ended, Running, command, root, rows, run};

/// What cannot be divided, what is no event, and what is fine.
const EVENTS: &[u8] = b"{\"id\":\"00000000-0000-4000-8000-000000000001\",\"ts\":\"2026-01-01T00:00:01Z\",\"page\":\"/\",\"items\":0}
{\"id\":\"00000000-0000-4000-8000-000000000002\",\"ts\":\"2026-01-01T00:00:02Z\",\"page\":\"/\",\"items\":5}
{\"id\":\"00000000-0000-4000-8000-000000000003\",\"ts\":\"2026-01-01T00:00:03Z\",\"page\":\"/\",\"items\":0}
{\"id\":\"\xff\"}
";

/// A folder with specs, data and events.
struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    /// With data in which three events of four became letters of `web/kpis`.
    fn new() -> Self {
        let ground = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(ground.path("specs")).unwrap();
        let specs = root().join("cli/tests/it/specs/letters/letters.yaml");
        std::fs::copy(specs, ground.path("specs/letters.yaml")).unwrap();
        std::fs::write(ground.path("events.ndjson"), EVENTS).unwrap();
        let (_, document) = ground.play(&["--send", &ground.text("events.ndjson")]);
        assert_eq!(rows(&document, "shares").len(), 1);
        assert_eq!(rows(&document, "clicks_once").len(), 3);
        assert_eq!(rows(&document, "ids").len(), 3);
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Divides by something else than zero.
    fn mend(&self) {
        let file = self.path("specs/letters.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, text.replace("100 / items", "100 / (items + 1)")).unwrap();
    }

    /// Runs the pipelines over all that is there.
    fn play(&self, more: &[&str]) -> (Ended, Value) {
        let (specs, data) = (self.text("specs"), self.text("data"));
        let args = ["dev", &specs, "--data", &data, "--until-idle", "-o", "json"];
        let ended = run(&[&args, more].concat());
        let document = ended.document();
        (ended, document)
    }

    fn letters(&self, command: &str, more: &[&str]) -> Ended {
        self.letters_in(&self.path("data"), command, more)
    }

    fn letters_in(&self, data: &Path, command: &str, more: &[&str]) -> Ended {
        let data = data.to_str().unwrap();
        let args = ["dead-letters", command, "web/kpis", "--data", data];
        run(&[&args, more].concat())
    }

    fn json(&self, command: &str, more: &[&str]) -> Value {
        self.letters(command, &[more, &["-o", "json"]].concat())
            .document()
    }

    /// The offset of a letter with this reason and these bytes in it.
    fn letter(&self, reason: &str, of: &str) -> String {
        let list = self.json("list", &["--reason", reason]);
        let offsets = list.as_array().unwrap().iter();
        let offsets = offsets.map(|letter| letter["offset"].to_string());
        let mut found = offsets.filter(|offset| {
            let raw = self.letters("show", &[offset, "--raw"]);
            raw.stdout.contains(of)
        });
        found.next().unwrap()
    }
}

/// The counts of the ledger of an output in stage 1: read, written, skipped.
fn counts(document: &Value, output: &str) -> [u64; 3] {
    let ledgers = document["ledgers"].as_array().unwrap();
    let ledger = ledgers.iter().find(|ledger| ledger["output"] == output);
    let ledger = ledger.unwrap();
    assert_eq!(ledger["balanced"], true, "{ledger}");
    ["read", "written", "skipped"].map(|fate| ledger["stage1"][fate].as_u64().unwrap())
}

/// How many letters had each outcome.
fn outcomes(document: &Value) -> Vec<(&str, usize)> {
    let letters = document.as_array().unwrap();
    let outcomes = ["due", "sent", "sentBefore", "cannotBeSent"].into_iter();
    let count = |outcome| {
        let of = letters.iter().filter(|letter| letter["outcome"] == outcome);
        (outcome, of.count())
    };
    outcomes
        .map(count)
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[test]
fn letters_are_listed_counted_and_shown() {
    let ground = Ground::new();
    let list = ground.json("list", &[]);
    let letters = list.as_array().unwrap();
    assert_eq!(letters.len(), 3);
    let evaluation = letters
        .iter()
        .find(|letter| letter["reason"] == "Evaluation");
    let evaluation = evaluation.unwrap();
    let says = [
        "step",
        "output",
        "source",
        "topic",
        "sentAgain",
        "cannotBeSent",
    ];
    assert_eq!(
        says.map(|name| evaluation[name].clone()),
        [
            json!("numbers"),
            Value::Null,
            json!("clicks"),
            json!("web.clicks"),
            Value::Null,
            Value::Null
        ]
    );
    let limited = ground.letters("list", &["--limit", "1"]);
    assert!(
        limited.stdout.contains("2 older ones are not listed"),
        "{}",
        limited.stdout
    );
    assert_eq!(ground.json("list", &["--step", "once"]), json!([]));
    assert_eq!(
        ground.json("list", &["--since", "2000-01-01T00:00:00Z"]),
        list
    );
    assert_eq!(
        ground.json("list", &["--since", "2199-01-01T00:00:00Z"]),
        json!([])
    );

    let groups = ground.json("reasons", &[]);
    let count = |reason: &str| {
        let groups = groups.as_array().unwrap();
        let group = groups
            .iter()
            .find(|group| group["reason"] == reason)
            .unwrap();
        (group["count"].as_u64().unwrap(), group["step"].clone())
    };
    assert_eq!(count("Evaluation"), (2, json!("numbers")));
    assert_eq!(count("InvalidUtf8"), (1, Value::Null));
    let table = ground.letters("reasons", &[]).stdout;
    let line = table.lines().nth(1).unwrap();
    let words: Vec<&str> = line.split_whitespace().take(5).collect();
    assert_eq!(words, ["2", "0", "Evaluation", "step", "numbers"]);

    let (good, bad) = (
        ground.letter("Evaluation", "0001"),
        ground.json("list", &["--reason", "InvalidUtf8"]),
    );
    let shown = ground.letters("show", &[&good]).stdout;
    assert!(shown.contains("Evaluation: "), "{shown}");
    assert!(
        shown.contains(&format!(
            "resend web/kpis {good}` sends it to step numbers and what it feeds"
        )),
        "{shown}"
    );
    assert!(shown.ends_with("\"items\":0}\n"), "{shown}");
    let bad = bad[0]["offset"].to_string();
    let shown = ground.letters("show", &[&bad]).stdout;
    assert!(
        shown.contains("00000000  7b 22 69 64 22 3a 22 ff 22 7d"),
        "{shown}"
    );
    let data = ground.text("data");
    let raw = command(&[
        "dead-letters",
        "show",
        "web/kpis",
        &bad,
        "--raw",
        "--data",
        &data,
    ]);
    let raw = { raw }.output().unwrap().stdout;
    assert_eq!(raw, b"{\"id\":\"\xff\"}");
    let json = ground.json("show", &[&bad]);
    assert_eq!(json["valueBase64"], "eyJpZCI6Iv8ifQ==");
}

#[test]
fn what_was_mended_is_sent_again_once_and_only_to_those_who_lacked_it() {
    let ground = Ground::new();
    ground.mend();
    let would = ground.json("resend", &["--reason", "Evaluation", "--dry-run"]);
    assert_eq!(outcomes(&would), [("due", 2)]);
    let one = ground.letter("Evaluation", "0001");
    let sent = ground.json("resend", &[&one]);
    assert_eq!(outcomes(&sent), [("sent", 1)]);
    assert_eq!(sent[0]["to"], json!([{"step": "numbers"}]));
    let rest = ground.letters("resend", &["--reason", "Evaluation"]);
    assert_eq!(rest.code, 0, "{}", rest.stderr);
    let told = &rest.stdout;
    assert!(
        told.contains("1 sent again to step numbers and what it feeds"),
        "{told}"
    );
    assert!(
        told.contains(&format!(
            "1 sent again before, and not once more  (offset {one})"
        )),
        "{told}"
    );

    let (_, document) = ground.play(&[]);
    assert_eq!(rows(&document, "shares").len(), 3);
    assert_eq!(rows(&document, "clicks_once").len(), 3);
    assert_eq!(rows(&document, "ids").len(), 3);
    assert_eq!(counts(&document, "shares"), [6, 3, 0]);
    assert_eq!(counts(&document, "clicks_once"), [6, 3, 2]);
    assert_eq!(counts(&document, "ids"), [6, 3, 2]);

    let again = ground.json("resend", &["--reason", "Evaluation"]);
    assert_eq!(outcomes(&again), [("sentBefore", 2)]);
    let (_, document) = ground.play(&[]);
    assert_eq!(counts(&document, "shares"), [6, 3, 0]);
    let unsent = ground.json("list", &["--unsent", "--reason", "Evaluation"]);
    assert_eq!(unsent, json!([]));
}

#[test]
fn what_fails_again_is_a_letter_of_its_own() {
    let ground = Ground::new();
    let bad = ground.json("list", &["--reason", "InvalidUtf8"])[0]["offset"].to_string();
    let sent = ground.json("resend", &[&bad]);
    assert_eq!(outcomes(&sent), [("sent", 1)]);
    assert_eq!(sent[0]["to"], json!([]), "all of the pipeline");
    ground.play(&[]);
    let list = ground.json("list", &["--reason", "InvalidUtf8"]);
    let sent: Vec<bool> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| !letter["sentAgain"].is_null())
        .collect();
    assert_eq!(sent, [true, false]);
    let (_, document) = ground.play(&[]);
    assert_eq!(
        counts(&document, "ids"),
        [5, 3, 1],
        "the other pipeline has its own letter of it"
    );
    assert_eq!(
        outcomes(&ground.json("resend", &["--reason", "InvalidUtf8"])),
        [("sent", 1), ("sentBefore", 1)]
    );
}

#[test]
fn what_is_wrong_is_said() {
    let ground = Ground::new();
    let refused = |ended: &Ended, says: &str| {
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    };
    refused(
        &ground.letters("resend", &[]),
        "nothing says which letters are meant",
    );
    refused(
        &ground.letters("resend", &["99"]),
        "there is no dead letter at offset 99",
    );
    refused(
        &ground.letters("show", &["99"]),
        "there is no dead letter at offset 99",
    );
    refused(
        &ground.letters("resend", &["1", "--step", "numbers"]),
        "cannot be used with",
    );
    refused(
        &ground.letters("list", &["--reason", "json"]),
        "there is no such reason: write one of BadText, BadTimestamp, ",
    );
    let nowhere = ground.path("nowhere");
    refused(
        &ground.letters_in(&nowhere, "list", &[]),
        "there is no log in it",
    );
    assert!(!nowhere.exists());
    let data = ground.text("data");
    refused(
        &run(&["dead-letters", "list", "web/nobody", "--data", &data]),
        "there is no Pipeline web/nobody here",
    );
    refused(
        &run(&["dead-letters", "list", "kpis", "--data", &data]),
        "write NAMESPACE/NAME of the Pipeline",
    );
    let nowhere = run(&["dead-letters", "list", "web/kpis"]);
    refused(&nowhere, "give '--kafka <WHERE>'");
    refused(&nowhere, "or give '--data <DIR>'");
    refused(
        &ground.letters("list", &["--kafka", "127.0.0.1:1"]),
        "'--kafka <WHERE>' cannot be used with '--data <DIR>'",
    );
    refused(
        &run(&["dead-letters", "list", "web/kpis", "--kafka", "here:99999"]),
        "`here:99999` is no HOST:PORT",
    );
    let mut with_variable = command(&["dead-letters", "list", "web/kpis", "--data", &data]);
    let with_variable = with_variable.env("TIDEWHEEL_KAFKA", "127.0.0.1:1");
    assert!(with_variable.output().unwrap().status.success());

    let specs = ground.text("specs");
    let running = Running::start(&["dev", &specs, "--data", &data, "--listen", "127.0.0.1:0"]);
    running.address();
    let locked = ground.letters("list", &[]);
    assert_eq!(locked.code, 1);
    assert!(
        locked
            .stderr
            .contains("is in use: stop the process that has it open"),
        "{}",
        locked.stderr
    );
    assert_eq!(running.stop(), 0);
}

#[test]
fn an_existing_topic_is_appended_to_only_where_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (specs, events, data) = (text("specs.yaml"), text("events"), text("data"));
    std::fs::write(&specs, crate::existing_topic::SPECS).unwrap();
    std::fs::write(
        &events,
        "{\"order_id\": \"x\", \"ts\": \"2026-01-01T00:00:00Z\"}",
    )
    .unwrap();
    let play = |more: &[&str]| {
        let args = ["dev", &specs, "--data", &data, "--until-idle", "-o", "json"];
        run(&[&args, more].concat()).document()
    };
    assert_eq!(
        play(&["--send", &events])["deadLetters"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let resend = |more: &[&str]| {
        let args = [
            "dead-letters",
            "resend",
            "default/orders",
            "--data",
            &data,
            "-o",
            "json",
        ];
        run(&[&args, more].concat())
    };
    let refused = resend(&["--all"]);
    let document = refused.document();
    assert_eq!(outcomes(&document), [("cannotBeSent", 1)]);
    assert!(
        document[0]["why"]
            .as_str()
            .unwrap()
            .contains("--append-to Orders.v1 sends it all the same")
    );
    let named = document[0]["offset"].to_string();
    assert_eq!(resend(&[&named]).code, 1, "what was named has to be sent");
    assert_eq!(
        outcomes(&resend(&["--all", "--append-to", "Orders.v1"]).document()),
        [("sent", 1)]
    );
    let document = play(&[]);
    assert_eq!(document["deadLetters"].as_array().unwrap().len(), 2);
    assert_eq!(counts(&document, "seen"), [2, 0, 0]);
}
