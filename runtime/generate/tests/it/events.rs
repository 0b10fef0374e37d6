//! What events are: the same ones for the same seed, as many as declared, and good under their schema.
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::Array as _;
use tidewheel_decode::Decoder;
use tidewheel_generate::{Generator, GeneratorError};

use crate::setup::{EVERYTHING, NEW_YEAR_MS, all, generator, parsed, schema, small, spec};

#[test]
fn the_first_events_of_a_seed_never_change() {
    let mut generator = generator(EVERYTHING);
    let events: Vec<_> = (0..4)
        .map(|n| String::from_utf8(generator.next(NEW_YEAR_MS + n).unwrap().to_vec()).unwrap())
        .collect();
    insta::assert_snapshot!(events.join("\n"));
}

#[test]
fn equal_seeds_make_equal_events_and_others_make_others() {
    let events = all(generator(EVERYTHING));
    assert_eq!(events, all(generator(EVERYTHING)));
    let others = all(generator(&EVERYTHING.replace("seed: 7", "seed: 8")));
    let in_common = events
        .iter()
        .filter(|event| others.contains(event))
        .take(1)
        .count();
    assert_eq!(in_common, 0);
}

#[test]
fn the_rate_decides_nothing_but_the_time() {
    let slow = all(generator(EVERYTHING));
    let fast = all(generator(
        &EVERYTHING.replace("eventsPerSecond: 500", "eventsPerSecond: 10000000"),
    ));
    assert_eq!(slow, fast);
}

#[test]
fn as_many_events_are_made_as_are_declared() {
    let mut generator = generator(EVERYTHING);
    let made = (0..30_000)
        .filter(|n| generator.next(NEW_YEAR_MS + n).is_some())
        .count();
    assert_eq!(
        (made, generator.position(), generator.is_finished()),
        (20_000, 20_000, true)
    );
}

#[test]
fn making_goes_on_at_any_event_as_if_it_had_never_stopped() {
    let events = all(generator(EVERYTHING));
    for start in [0, 1, 777, 19_999] {
        let mut sought = generator(EVERYTHING);
        sought.seek(start);
        let mut skipped = generator(EVERYTHING);
        skipped.skip(start);
        let now_ms = NEW_YEAR_MS + start as i64;
        assert_eq!(sought.next(now_ms).as_ref(), events.get(start as usize));
        assert_eq!(skipped.next(now_ms).as_ref(), events.get(start as usize));
    }
    let mut beyond = generator(EVERYTHING);
    beyond.seek(20_000);
    assert_eq!(beyond.next(NEW_YEAR_MS), None);
}

#[test]
fn every_event_decodes_under_its_schema() {
    let events = all(generator(EVERYTHING));
    let mut decoder = Decoder::new(Arc::new(schema(&spec(EVERYTHING))));
    let decoded = decoder.decode(events.iter().map(AsRef::as_ref));
    assert!(decoded.refused.is_empty(), "{:?}", decoded.refused.first());
    assert_eq!(decoded.batch.num_rows(), 20_000);

    let nulls = |name: &str| decoded.batch.column_by_name(name).unwrap().null_count();
    for required in ["id", "made_id", "ts", "user_id"] {
        assert_eq!(nulls(required), 0, "{required}");
    }
    assert_eq!((nulls("never"), nulls("not_listed")), (20_000, 20_000));
}

#[test]
fn objects_without_values_are_left_out() {
    let events = parsed(&all(generator(EVERYTHING)));
    assert!(events.iter().all(|event| event.get("not").is_none()));
    let rarely: BTreeSet<_> = events
        .iter()
        .map(|event| event.get("rarely").map(|v| v.to_string()))
        .collect();
    assert_eq!(
        rarely,
        BTreeSet::from([None, Some(r#"{"there":"here"}"#.to_owned())])
    );
}

#[test]
fn ids_are_made_where_the_schema_generates_them_and_never_come_twice() {
    let events = parsed(&all(Generator::new(&small(5_000)).unwrap()));
    let ids: BTreeSet<_> = events
        .iter()
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 5_000);
}

#[test]
fn times_are_those_of_the_clock_less_a_delay_within_the_jitter() {
    let mut generator = generator(EVERYTHING);
    let mut delays_ms = Vec::new();
    for n in 0..5_000 {
        let now_ms = NEW_YEAR_MS + n * 10;
        let event: serde_json::Value =
            serde_json::from_slice(&generator.next(now_ms).unwrap()).unwrap();
        let ms = |text: &serde_json::Value| {
            chrono::DateTime::parse_from_rfc3339(text.as_str().unwrap())
                .unwrap()
                .timestamp_millis()
        };
        assert_eq!(ms(&event["meta"]["sent"]), now_ms);
        delays_ms.push(now_ms - ms(&event["ts"]));
    }
    assert!(
        delays_ms
            .iter()
            .all(|delay_ms| (0..=5_000).contains(delay_ms))
    );
    assert!(delays_ms.iter().any(|&delay_ms| delay_ms < 100));
    assert!(delays_ms.iter().any(|&delay_ms| delay_ms > 4_900));
}

#[test]
fn what_cannot_be_made_is_refused_with_its_column() {
    let refused = |from: &str, to: &str| {
        let yaml = EVERYTHING.replace(from, to);
        assert_ne!(yaml, EVERYTHING);
        Generator::new(&spec(&yaml)).unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        refused("items, uniform: {min: 0.5, max: 6.5}", "items, uniform: {min: 0.2, max: 0.8}"),
        @"generator.fields, `items`: there is no whole number between 0.2 and 0.8, and the column is a bigint: widen the bounds"
    );
    let mut posted = spec(EVERYTHING);
    posted.generator = None;
    assert_eq!(
        Generator::new(&posted).unwrap_err(),
        GeneratorError::NoGenerator
    );
}
