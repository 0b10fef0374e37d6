//! Dead letters, and letters that are sent again.
use tidewheel_engine::wire::dead_letter::Letter;
use tidewheel_engine::wire::sent_again::{Note, Unsendable};
use tidewheel_log::{Header, Record};

use super::*;
use crate::fixture::appended;

#[test]
fn headers_of_dead_letters() {
    let mut pipeline = Pipeline::new(
        plan(
            "    - {name: numbers, sql: 'SELECT id, ts, CAST(page AS BIGINT) AS n FROM clicks'}\n",
            &["numbers"],
        ),
        1,
    );
    let trace = Header {
        name: "trace".into(),
        value: "a1".into(),
    };
    let misleading = Header {
        name: "tidewheel-field".into(),
        value: "of the producer".into(),
    };
    pipeline.send(
        0,
        &[
            record(0, 0, "{\"id\": 7}"),
            Record {
                headers: vec![trace, misleading],
                ..record(1, 5, &event("a", 0, "\"page\": \"x\""))
            },
            record(2, 6, &event("b", 2 * 60 * MINUTE, "")),
        ],
    );
    let text: String = pipeline.dead.iter().map(shown).collect();
    golden("dead-letters.v2.txt", text.as_bytes());
    let letter = &pipeline.dead[2];
    let read = Letter::read(&appended(0, letter)).unwrap();
    assert_eq!(read.step.as_deref(), Some("numbers"));
    assert_eq!(read.field, None, "the producer's header is not ours");
    assert_eq!(read.headers.len(), 2);
    assert_eq!(read.topic.as_deref(), Some("shop.clicks"));
}

/// A record as the golden files have it.
fn shown(record: &NewRecord) -> String {
    let bytes = |value: &Option<Bytes>| {
        let value = value.as_ref().map(|value| value.escape_ascii().to_string());
        value.unwrap_or_default()
    };
    let headers = record.headers.iter().map(|header| {
        let value = std::str::from_utf8(&header.value).unwrap();
        format!("{}: {value}\n", header.name)
    });
    let headers: String = headers.collect();
    format!(
        "{headers}\n{}\n{}\n\n",
        bytes(&record.key),
        bytes(&record.value)
    )
}

#[test]
fn dead_letters_of_version_1_are_read() {
    let text = include_str!("../golden/dead-letters.v1.txt");
    let letters: Vec<Letter> = text
        .split("\n\n\n")
        .flat_map(|letters| letters.split("}\n\n"))
        .filter(|letter| !letter.trim().is_empty())
        .map(|letter| {
            let headers = letter.split("\n\n").next().unwrap().lines();
            let headers = headers.map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                Header {
                    name: name.into(),
                    value: Bytes::copy_from_slice(value.as_bytes()),
                }
            });
            let headers = headers.collect();
            Letter::read(&Record {
                headers,
                ..record(0, 0, "")
            })
            .unwrap()
        })
        .collect();
    let reasons: Vec<&str> = letters
        .iter()
        .map(|letter| letter.reason.as_str())
        .collect();
    assert_eq!(reasons, ["WrongType", "Future", "Evaluation"]);
    assert_eq!(letters[1].field.as_deref(), Some("ts"));
    assert_eq!((letters[2].offset, letters[2].append_time_ms), (1, T0 + 5));
    let cannot = letters[2].targets().unwrap_err();
    assert_eq!(cannot, Unsendable::WithoutOrigin);
}

#[test]
fn letters_that_are_sent_again_and_the_note_of_it() {
    let mut pipeline = Pipeline::new(
        plan(
            "    - {name: numbers, sql: 'SELECT id, ts, CAST(page AS BIGINT) AS n FROM clicks'}\n",
            &["numbers"],
        ),
        1,
    );
    let mut source = record(5, 0, &event("a", 0, "\"page\": \"x\""));
    source.headers.push(Header {
        name: "trace".into(),
        value: "a1".into(),
    });
    pipeline.send(0, &[source]);
    let mut text = String::new();
    // The second time it repeats two records.
    for offset in [9, 11] {
        let letter = appended(offset, pipeline.dead.last().unwrap());
        let again = Letter::read(&letter)
            .unwrap()
            .send_again("shop/kpis", &letter);
        let again = again.unwrap();
        assert_eq!(
            (again.topic.as_str(), again.partition),
            ("shop.clicks", Some(0))
        );
        text.push_str(&shown(&again));
        pipeline.send(0, &[appended(offset + 20, &again)]);
    }
    golden("sent-again.v1.txt", text.as_bytes());
    let note = Note::new("0b54c0f8", vec![9, 11]);
    let record = note.record("shop.kpis.dead-letters");
    golden("sent-letters.v1.txt", shown(&record).as_bytes());
    assert_eq!(Note::read(&appended(3, &record)).unwrap(), Some(note));
    assert_eq!(Note::read(&appended(3, &pipeline.dead[0])).unwrap(), None);
    let newer = Record {
        value: Some(r#"{"version":2,"more":[]}"#.into()),
        ..appended(3, &record)
    };
    let error = Note::read(&newer).unwrap_err().to_string();
    assert!(error.ends_with("version 2 is not known here"), "{error}");
}

#[test]
fn groups_of_dead_letters() {
    let steps = "
    - name: typed
      sql: >-
        SELECT ts, page, status, metric, items, items % 7 AS rest, items > 9 AS many,
        CAST(user_id AS DOUBLE) AS far, CAST(metric AS DECIMAL(6, 3)) AS exact FROM clicks
    - name: w
      aggregate:
        window: {tumbling: 1m}
        sql: >-
          SELECT page, status, ts, metric, rest, many, far, exact, sum(items) AS s
          FROM typed GROUP BY page, status, ts, metric, rest, many, far, exact";
    let mut pipeline = Pipeline::new(plan(steps, &["w"]), 1);
    // Two of the largest bigint are more than a bigint: the groups cannot be computed.
    let group = |offset: i64, page: &str, far: &str, metric: &str| {
        let members = format!(
            "\"page\": {page}, \"user_id\": {far}, \"metric\": {metric}, \"items\": {}",
            i64::MAX
        );
        record(offset, 0, &event("e", 250, &members))
    };
    let of = [
        ("\"/a \\\" b\"", "\"-inf\"", "2.5"),
        ("null", "\"NaN\"", "null"),
        ("\"\"", "\"1e300\"", "-0.125"),
    ];
    let records: Vec<Record> = (0..)
        .zip(of.iter().chain(&of))
        .map(|(offset, (page, far, metric))| group(offset, page, far, metric))
        .collect();
    pipeline.send(0, &records);
    pipeline.close();
    let mut values: Vec<&str> = pipeline
        .dead
        .iter()
        .map(|letter| std::str::from_utf8(letter.value.as_ref().unwrap()).unwrap())
        .collect();
    values.sort_unstable();
    golden("dead-letter-groups.v1.txt", values.join("\n").as_bytes());
}
