//! Columns of JSON, printed as they came.
use crate::program::play_lines;

const SPECS: &str = "
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: notes}
spec:
  schema:
    fields:
      - {name: id, type: text, required: true}
      - {name: ts, type: timestamp, required: true}
      - {name: note, type: json}
  eventTime: {field: ts}
  key: [id]
  topic: {partitions: 1}
  http: {}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: db}
spec: {postgres: {connection: {secretRef: {name: db, key: url}}}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: bus}
spec: {kafka: {}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: notes}
spec:
  sources: [{name: notes}]
  outputs:
    - {name: notes, from: notes, postgres: {sink: db}}
    - {name: sent, from: notes, kafka: {sink: bus, topic: notes.v1}}
";

const NOTES: [&str; 6] = [
    "12345678901234567890123",
    r#"{"price":0.1000,"b":1,"a":2}"#,
    r#"{"k":1,"k":2}"#,
    "[1e400]",
    r#""text""#,
    "[-0.0,1E2]",
];

fn played(format: &str) -> String {
    let event = |(index, note): (usize, &&str)| {
        format!(r#"{{"id":"{index}","ts":"2026-01-01T00:00:00Z","note":{note}}}"#)
    };
    let events: Vec<String> = NOTES.iter().enumerate().map(event).collect();
    let ended = play_lines(SPECS, &events, &["-o", format, "--rows", "20"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stdout
}

#[test]
fn a_document_has_the_text_that_came() {
    let printed = played("json");
    for note in NOTES {
        let member = format!(r#""note":{note},"#);
        let found = printed.matches(&member).count();
        assert_eq!(found, 2, "{member} of table and topic in\n{printed}");
    }
}

#[test]
fn csv_and_tables_have_the_text_that_came() {
    let (csv, table) = (played("csv"), played("table"));
    for note in NOTES {
        let quoted = match note.contains(['"', ',']) {
            true => format!("\"{}\"", note.replace('"', "\"\"")),
            false => note.to_owned(),
        };
        let found = csv.matches(&format!(",{quoted},")).count();
        assert_eq!(found, 2, "{quoted} of table and topic in\n{csv}");
        assert!(
            table.matches(note).count() >= 2,
            "{note}\nis not in\n{table}"
        );
    }
}
