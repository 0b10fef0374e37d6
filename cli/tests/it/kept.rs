//! Kept data: what the files say of it may change, or is refused with its place.
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::program::{Ended, Running, root, rows, run, specs};

/// A copy of the specs `counts` that is changed, and data that are kept.
struct Kept {
    folder: tempfile::TempDir,
}

impl Kept {
    /// With two events in its tables.
    fn begun() -> Self {
        let kept = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(kept.specs()).unwrap();
        kept.restore();
        assert_eq!(kept.send(0).code, 0);
        kept
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn specs(&self) -> PathBuf {
        self.path("specs")
    }

    /// The specs as they were at first.
    fn restore(&self) {
        for name in ["source.yaml", "pipeline.yaml"] {
            let from = root().join(specs("counts")).join(name);
            std::fs::copy(from, self.specs().join(name)).unwrap();
        }
    }

    /// The specs as they were at first, but for one replacement.
    fn change(&self, name: &str, from: &str, to: &str) {
        self.restore();
        self.edit(name, from, to);
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let file = self.specs().join(name);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(file, text.replace(from, to)).unwrap();
    }

    fn args(&self, rest: &[&str]) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut args = vec!["dev".to_owned(), text(&self.specs()), "--data".to_owned()];
        args.push(text(&self.path("data")));
        args.extend(rest.iter().map(|arg| (*arg).to_owned()));
        args
    }

    fn play(&self, rest: &[&str]) -> Ended {
        let args = self.args(&[&["--until-idle", "-o", "json"], rest].concat());
        run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Plays two events of a minute.
    fn send(&self, minute: u32) -> Ended {
        let file = self.path("events");
        let event = |kind: &str| {
            format!(
                r#"{{"id":"{kind}{minute}","ts":"2026-01-01T00:{minute:02}:00Z","what":{{"kind":"{kind}"}},"value":3}}"#
            )
        };
        std::fs::write(&file, [event("a"), event("b")].join("\n")).unwrap();
        self.play(&["--send", file.to_str().unwrap()])
    }

    fn serve(&self) -> Running {
        let args = self.args(&["--listen", "127.0.0.1:0"]);
        let dev = Running::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
        dev.address();
        dev
    }
}

/// Asserts that a run was refused with all of these.
fn refused(ended: &Ended, expected: &[&str]) {
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (2, ""),
        "{}",
        ended.stderr
    );
    for text in expected {
        assert!(
            ended.stderr.contains(text),
            "{text}\nis not in\n{}",
            ended.stderr
        );
    }
}

const ONCE: &str = "from: once, postgres: {sink: warehouse}";
const SECOND_SINK: &str = "
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: lake}
spec: {postgres: {connection: {secretRef: {name: lake, key: url}}}}
";

#[test]
fn an_output_keeps_its_table_its_schema_and_its_sink() {
    let kept = Kept::begun();
    kept.change(
        "pipeline.yaml",
        ONCE,
        "from: once, postgres: {sink: warehouse, table: other}",
    );
    refused(
        &kept.play(&[]),
        &[
            "error[invalid-field]: the output `visits_once` cannot move from the table `visits_once` to the table `other`",
            "pipeline.yaml:16:",
            "^^^^^\n",
            "in Pipeline default/counts, output `visits_once`",
            "give the output another name, or give it its old table `visits_once` again",
        ],
    );

    kept.change("source.yaml", "key: url}}", "key: url}}\n    schema: shop");
    let ended = kept.play(&[]);
    refused(
        &ended,
        &[
            "the output `visits_once` cannot move from the schema `public` to the schema `shop`",
            "the output `visits_by_kind` cannot move",
            "|     schema: shop\n   |             ^^^^\n",
            "in Sink default/warehouse",
            "give it its Sink the old schema `public` again",
        ],
    );

    kept.change("pipeline.yaml", ONCE, "from: once, postgres: {sink: lake}");
    kept.edit(
        "source.yaml",
        "key: url}}",
        &format!("key: url}}}}{SECOND_SINK}"),
    );
    refused(
        &kept.play(&[]),
        &[
            "the output `visits_once` cannot move from the Sink `warehouse` to the Sink `lake`",
            "^^^^\n",
            "its old Sink `warehouse`",
        ],
    );

    // Another name is another output.
    kept.edit("pipeline.yaml", "name: visits_once", "name: lake_once");
    let document = kept.send(1).document();
    assert_eq!(rows(&document, "lake_once").len(), 2);
    assert_eq!(rows(&document, "visits_by_kind").len(), 4);
}

#[test]
fn an_output_may_be_given_a_retention_which_embedded_tables_do_not_need() {
    let kept = Kept::begun();
    kept.change(
        "pipeline.yaml",
        "postgres: {sink: warehouse}",
        "postgres: {sink: warehouse, retention: 1d}",
    );
    let document = kept.send(1).document();
    assert_eq!(rows(&document, "visits_once").len(), 4);
    assert_eq!(rows(&document, "visits_by_kind").len(), 4);
    let shown = rows(&document, "visits_once")[0].as_object().unwrap();
    assert!(shown.keys().all(|name| name != "_append_time"), "{shown:?}");
    kept.restore();
    assert_eq!(rows(&kept.send(2).document(), "visits_once").len(), 6);
}

const BUS: &str = "
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: bus}
spec: {kafka: {}}
";

#[test]
fn an_output_keeps_its_topic_and_a_folder_that_does_not_know_topics_is_taken_over() {
    let kept = Kept::begun();
    let sinks = format!("key: url}}}}{BUS}");
    let told = |postgres: &str| format!("{ONCE}}}\n    - {{name: told, from: once, {postgres}");
    kept.change("source.yaml", "key: url}}", &sinks);
    kept.edit(
        "pipeline.yaml",
        ONCE,
        &told("kafka: {sink: bus, topic: told}"),
    );
    let document = kept.send(1).document();
    assert_eq!(rows(&document, "told").len(), 2);

    kept.change("source.yaml", "key: url}}", &sinks);
    kept.edit(
        "pipeline.yaml",
        ONCE,
        &told("kafka: {sink: bus, topic: said}"),
    );
    let ended = kept.play(&[]);
    refused(
        &ended,
        &[
            "error[invalid-field]: the output `told` cannot move from the topic `told` to the topic `said`",
            "^^^^\n",
            "in Pipeline default/counts, output `told`",
            "give the output another name, or give it its old topic `told` again",
        ],
    );
    assert_eq!(
        ended.stderr.matches("error[").count(),
        1,
        "{}",
        ended.stderr
    );
    kept.change("source.yaml", "key: url}}", &sinks);
    kept.edit("pipeline.yaml", ONCE, &told("postgres: {sink: warehouse}"));
    let ended = kept.play(&[]);
    let moved = "the output `told` cannot move from the topic `told` to the table `told`";
    refused(&ended, &[moved]);
    assert_eq!(
        ended.stderr.matches("error[").count(),
        1,
        "{}",
        ended.stderr
    );

    let file = kept.path("data/resources.json");
    let mut stored: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let topics = stored.as_object_mut().unwrap().remove("topics");
    assert_eq!(topics, Some(json!({"default/counts": {"told": "told"}})));
    stored["version"] = 2.into();
    std::fs::write(&file, stored.to_string()).unwrap();
    kept.restore();
    assert_eq!(rows(&kept.send(2).document(), "visits_once").len(), 6);
    let stored: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(stored["version"], 3);
}

#[test]
fn an_output_keeps_its_table_while_it_runs() {
    let kept = Kept::begun();
    let dev = kept.serve();
    kept.change(
        "pipeline.yaml",
        ONCE,
        "from: once, postgres: {sink: warehouse, table: other}",
    );
    dev.says("cannot move from the table `visits_once` to the table `other`");
    dev.says("pipeline.yaml:16:");
    dev.says("goes on until this is mended");
    // An output that was taken away and comes back is the one it was.
    let text = format!("    - {{name: visits_once, {ONCE}}}\n");
    kept.change("pipeline.yaml", &text, "");
    dev.says("default/counts goes on as the files say now");
    kept.change(
        "pipeline.yaml",
        ONCE,
        "from: once, postgres: {sink: warehouse, table: third}",
    );
    dev.says("cannot move from the table `visits_once` to the table `third`");
    assert_eq!(dev.stop(), 0);
}

#[test]
fn a_deduplication_keeps_its_columns_also_where_its_pipeline_was_away() {
    let kept = Kept::begun();
    let expected = [
        "`by` cannot change",
        "pipeline.yaml:10:",
        "in Pipeline default/counts, step `once`",
    ];
    kept.change("pipeline.yaml", "by: [id]", "by: [id, kind]");
    refused(&kept.play(&[]), &expected);

    std::fs::remove_file(kept.specs().join("pipeline.yaml")).unwrap();
    assert_eq!(kept.play(&[]).code, 0);
    kept.change("pipeline.yaml", "by: [id]", "by: [id, kind]");
    refused(&kept.play(&[]), &expected);

    kept.restore();
    assert_eq!(rows(&kept.send(1).document(), "visits_once").len(), 4);
}

#[test]
fn a_folder_that_knows_its_sources_only_is_taken_over() {
    let kept = Kept::begun();
    let (old, new) = (
        kept.path("data/sources.json"),
        kept.path("data/resources.json"),
    );
    let stored: Value = serde_json::from_slice(&std::fs::read(&new).unwrap()).unwrap();
    std::fs::remove_file(&new).unwrap();
    std::fs::write(
        &old,
        json!({"version": 1, "sources": stored["sources"]}).to_string(),
    )
    .unwrap();
    kept.change("source.yaml", "partitions: 3", "partitions: 2");
    refused(&kept.play(&[]), &["partitions can be added, never removed"]);
    kept.restore();
    assert_eq!(rows(&kept.send(1).document(), "visits_once").len(), 4);
    assert!(new.exists() && !old.exists());
    kept.change("pipeline.yaml", "by: [id]", "by: [id, kind]");
    refused(&kept.play(&[]), &["`by` cannot change"]);
}

#[test]
fn a_file_of_another_version_is_refused() {
    let kept = Kept::begun();
    let file = kept.path("data/resources.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"version\": 3", "\"version\": 4")).unwrap();
    refused(
        &kept.play(&[]),
        &["resources.json cannot be read: version 4 is not known to this build"],
    );
}

#[test]
fn tables_that_do_not_fit_are_named_together_with_their_places() {
    let kept = Kept::begun();
    kept.change(
        "pipeline.yaml",
        "sum(value) AS total, min(value) AS low",
        "avg(value) AS total, min(id) AS low",
    );
    kept.edit(
        "pipeline.yaml",
        "name: visits_once, from: once, postgres: {sink: warehouse}",
        "name: renamed, from: once, postgres: {sink: warehouse, table: visits_once}",
    );
    let ended = kept.play(&[]);
    refused(
        &ended,
        &[
            "error[unstorable-output]: column `total` of table `visits_by_kind` holds bigint and would get double",
            "column `low` of table `visits_by_kind` holds bigint and would get text",
            "table `visits_once` holds output `visits_once` of pipeline `default/counts`: give this output another table",
            "pipeline.yaml:16:14",
            "pipeline.yaml:17:14",
            "in Pipeline default/counts, output `visits_by_kind`",
        ],
    );
    kept.change("pipeline.yaml", "SELECT kind, count(*) AS n, sum(value) AS total, min(value) AS low, max(value) AS high FROM once GROUP BY kind", "SELECT value, count(*) AS n FROM once GROUP BY value");
    refused(
        &kept.play(&[]),
        &["identified by (window_start, kind) and would be by (window_start, value)"],
    );
    kept.restore();
    assert_eq!(rows(&kept.send(1).document(), "visits_once").len(), 4);
}

#[test]
fn a_run_whose_table_has_lost_its_progress_ends_and_says_so() {
    let kept = Kept::begun();
    for file in std::fs::read_dir(kept.path("data/tables")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let ended = kept.send(1);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("error: default/counts, visits/"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("the sink has lost its progress"),
        "{}",
        ended.stderr
    );
    // What there is was printed.
    serde_json::from_str::<Value>(&ended.stdout).unwrap();
}

#[test]
fn tables_that_have_lost_their_progress_are_filled_again_once_that_is_acknowledged() {
    let kept = Kept::begun();
    let data = kept.path("data");
    let acknowledge = |more: &[&str]| {
        let data = data.to_str().unwrap();
        let args = ["acknowledge", "default/counts", "--data", data];
        run(&[&args, more].concat())
    };
    let listed = || -> Vec<Value> {
        let document = acknowledge(&["-o", "json"]).document();
        document.as_array().unwrap().clone()
    };
    let nothing = acknowledge(&[]);
    assert_eq!(
        (nothing.code, nothing.stdout.as_str()),
        (0, "nothing waits to be acknowledged\n")
    );
    for file in std::fs::read_dir(kept.path("data/tables")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let mut ended = kept.play(&[]);
    for _ in 0..20 {
        let waiting = listed();
        if waiting.is_empty() {
            break;
        }
        let hashes = waiting.iter().map(|waits| waits["hash"].as_str().unwrap());
        let given: Vec<&str> = hashes.flat_map(|hash| ["--hash", hash]).collect();
        let unsaid = acknowledge(&given);
        assert_eq!(unsaid.code, 2);
        assert!(
            unsaid
                .stderr
                .contains("it is not said how its outputs go on"),
            "{}",
            unsaid.stderr
        );
        let done = acknowledge(&[given, vec!["--refill"]].concat());
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(
            done.stdout.contains("fills its outputs again"),
            "{}",
            done.stdout
        );
        ended = kept.play(&[]);
    }
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let document = ended.document();
    assert_eq!(rows(&document, "visits_once").len(), 2, "{document}");
    assert_eq!(rows(&document, "visits_by_kind").len(), 2, "{document}");
    let later = kept.send(1);
    assert_eq!(later.code, 0, "{}", later.stderr);
    assert_eq!(rows(&later.document(), "visits_once").len(), 4);
}
