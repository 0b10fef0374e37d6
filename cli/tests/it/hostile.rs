//! Broken input: named, kept with its bytes, and in nobody's way.
use std::collections::BTreeMap;

use serde_json::Value;

use crate::program::{Ended, play_lines, rows, run, specs};

fn good(id: usize) -> String {
    format!(
        r#"{{"id":"g{id}","ts":"2026-01-01T00:00:{:02}Z","what":{{"kind":"good"}},"value":{id}}}"#,
        id % 60
    )
}

/// Each is refused for the reason beside it.
fn bad() -> Vec<(Vec<u8>, &'static str)> {
    let deep = format!(
        r#"{{"id":"x","ts":"2026-01-01T00:00:00Z","x":{}1{}}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    let large = format!(
        r#"{{"id":"x","ts":"2026-01-01T00:00:00Z","x":"{}"}}"#,
        "a".repeat(20 << 20)
    );
    let event =
        |rest: &str| format!(r#"{{"id":"x","ts":"2026-01-01T00:00:00Z",{rest}}}"#).into_bytes();
    vec![
        (br#"{"id":"x","ts":"2026-01-01T0"#.to_vec(), "Malformed"),
        (b"not json".to_vec(), "Malformed"),
        (b"\x00\x00\x00".to_vec(), "Malformed"),
        (b"{\"id\":\"\xff\"}".to_vec(), "InvalidUtf8"),
        (event(r#""value":1e400"#), "OutOfRange"),
        (event(r#""value":"seven""#), "WrongType"),
        (event(r#""value":1,"value":2"#), "DuplicateField"),
        (deep.into_bytes(), "TooDeep"),
        (large.into_bytes(), "TooLarge"),
        (
            br#"{"id":"x","ts":"2026-01-01T00:00:00"}"#.to_vec(),
            "NoZone",
        ),
        (br#"{"id":"x"}"#.to_vec(), "Missing"),
        (br#"[1,2,3]"#.to_vec(), "NotAnObject"),
        (
            br#"{"id":"x","ts":"9999-01-01T00:00:00Z"}"#.to_vec(),
            "Future",
        ),
    ]
}

fn play(file: &std::path::Path) -> Value {
    send(file).document()
}

fn send(file: &std::path::Path) -> Ended {
    run(&[
        "dev",
        &specs("counts"),
        "--send",
        file.to_str().unwrap(),
        "--until-idle",
        "-o",
        "json",
    ])
}

#[test]
fn every_broken_line_is_a_dead_letter_with_its_bytes_and_good_ones_are_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hostile.ndjson");
    let mut text = b"\xef\xbb\xbf".to_vec();
    for (index, (line, _)) in bad().iter().enumerate() {
        text.extend(format!("{}\r\n\r\n", good(index)).as_bytes());
        text.extend(line);
        text.push(b'\n');
    }
    text.extend(good(bad().len()).as_bytes());
    std::fs::write(&file, text).unwrap();

    let document = play(&file);
    let total = bad().len() as u64 + 1;
    let windows = rows(&document, "visits_by_kind");
    assert_eq!(windows.len(), 1);
    assert_eq!(
        (windows[0]["n"].as_u64(), windows[0]["total"].as_u64()),
        (Some(total), Some((0..total).sum()))
    );

    let letters = document["deadLetters"].as_array().unwrap();
    let mut reasons: BTreeMap<String, String> = BTreeMap::new();
    for letter in letters {
        reasons
            .entry(bytes_of(letter))
            .or_insert(letter["reason"].as_str().unwrap().to_owned());
    }
    for (line, reason) in bad() {
        let found = reasons.get(&hex(&line));
        assert_eq!(
            found.map(String::as_str),
            Some(reason),
            "{:?}",
            String::from_utf8_lossy(&line[..line.len().min(80)])
        );
    }
    assert_eq!(letters.len(), bad().len());
    assert!(
        document["ledgers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|ledger| ledger["balanced"] == true)
    );
}

fn bytes_of(letter: &Value) -> String {
    use base64::Engine as _;
    match (letter["value"].as_str(), letter["valueBase64"].as_str()) {
        (Some(text), None) => hex(text.as_bytes()),
        (None, Some(text)) => hex(&base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap()),
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(200)
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        + &bytes.len().to_string()
}

#[test]
fn a_number_without_room_is_a_dead_letter_and_never_another_number() {
    let nines = "9".repeat(38);
    let event = |id: &str, items: i64, amount: &str| {
        format!(
            r#"{{"id":"{id}","ts":"2026-01-01T00:00:00Z","items":{items},"amount":"{amount}"}}"#
        )
    };
    let events = [
        event("good", i64::MAX - 1, &nines[1..]),
        event("bigint", i64::MAX, "1"),
        event("decimal", 1, &nines),
    ];
    let document = play_lines(SUMS, &events, &["-o", "json"]).document();
    let rows = rows(&document, "sums");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["next"].to_string(), i64::MAX.to_string());
    let amount = rows[0]["more"].to_string();
    assert_eq!(amount.trim_matches('"'), format!("1{}", "0".repeat(37)));
    let letters = document["deadLetters"].as_array().unwrap();
    assert_eq!(letters.len(), 2, "{letters:?}");
    for letter in letters {
        assert_eq!(
            (&letter["reason"], &letter["step"]),
            (&"Evaluation".into(), &"sums".into())
        );
    }
}

const SUMS: &str = "
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: orders}
spec:
  schema:
    fields:
      - {name: id, type: text, required: true}
      - {name: ts, type: timestamp, required: true}
      - {name: items, type: bigint}
      - {name: amount, type: text}
  eventTime: {field: ts}
  key: [id]
  http: {}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: warehouse}
spec: {postgres: {connection: {secretRef: {name: warehouse, key: url}}}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: sums}
spec:
  sources: [{name: orders}]
  steps:
    - {name: sums, sql: 'SELECT id, items + 1 AS next, CAST(amount AS numeric(38,0)) + 1 AS more FROM orders'}
  outputs:
    - {name: sums, from: sums, postgres: {sink: warehouse}}
";

#[test]
fn an_empty_file_gives_empty_tables() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("empty", &b""[..]),
        ("mark", b"\xef\xbb\xbf"),
        ("array", b"[]"),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let document = play(&file);
        assert!(
            rows(&document, "visits_by_kind").is_empty()
                && rows(&document, "visits_once").is_empty()
        );
    }
}

#[test]
fn an_array_is_played_as_its_lines_are() {
    let folder = tempfile::tempdir().unwrap();
    let events: Vec<String> = (0..50).map(good).collect();
    let (lines, array) = (folder.path().join("lines"), folder.path().join("array"));
    std::fs::write(&lines, events.join("\n")).unwrap();
    std::fs::write(&array, format!("[\n{}\n]", events.join(",\n"))).unwrap();
    assert_eq!(play(&lines), play(&array));
}

#[test]
fn a_file_that_ends_in_the_middle_of_its_gzip_is_named_after_what_it_held() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.gz");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..5_000).for_each(|index| writeln!(gzip, "{}", good(index)).unwrap());
    let whole = gzip.finish().unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let ended = send(&file);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains("cut.gz") && ended.stderr.contains("were sent"),
        "{}",
        ended.stderr
    );
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(!rows(&document, "visits_once").is_empty());
}

#[test]
fn an_array_that_is_cut_is_named_after_what_it_held() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.json");
    let text = format!("[{},{}", good(1), good(2));
    std::fs::write(&file, &text).unwrap();
    let ended = send(&file);
    assert_eq!(ended.code, 1);
    let reason = format!("the array ends at byte {}", text.len());
    for part in ["cut.json", &reason, "2 events of it were sent"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(rows(&document, "visits_once").len(), 2);
}
