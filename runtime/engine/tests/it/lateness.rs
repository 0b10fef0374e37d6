//! Watermarks, windows that close, and what becomes of events that come later.
use tidewheel_log::Record;

use crate::fixture::{MINUTE, Pipeline, T0, event, plan, record};

fn counting(late: &str) -> String {
    format!(
        "    - name: w\n      aggregate: {{window: {{tumbling: 1m}}, late: {late}, sql: SELECT count(*) AS n FROM clicks}}\n"
    )
}

/// An event at `ms`; the watermark is then at least a minute before it.
fn at(offset: i64, ms: i64) -> Record {
    record(offset, 10 * MINUTE, &event("e", ms, ""))
}

fn counts(pipeline: &Pipeline) -> Vec<(String, String)> {
    pipeline
        .rows("w")
        .into_iter()
        .map(|row| (row["n"].clone(), row["_revision"].clone()))
        .collect()
}

#[test]
fn a_window_is_emitted_when_every_partition_has_passed_its_end() {
    let mut pipeline = Pipeline::new(plan(&counting("{policy: Amend}"), &["w"]), 2);
    pipeline.send(0, &[at(0, 0), at(1, 2 * MINUTE)]);
    assert!(counts(&pipeline).is_empty(), "partition 1 has not spoken");
    pipeline.send(1, &[at(0, 2 * MINUTE - 1)]);
    assert!(
        counts(&pipeline).is_empty(),
        "partition 1 is a millisecond short"
    );
    pipeline.send(1, &[at(1, 2 * MINUTE)]);
    assert_eq!(counts(&pipeline), [("1".to_owned(), "1".to_owned())]);
}

#[test]
fn amend_emits_at_the_end_and_again_until_the_allowance_is_over() {
    let mut pipeline = Pipeline::new(plan(&counting("{allowed: 1m, policy: Amend}"), &["w"]), 1);
    pipeline.send(0, &[at(0, 0), at(1, 2 * MINUTE)]);
    assert_eq!(counts(&pipeline), [("1".to_owned(), "1".to_owned())]);
    pipeline.send(0, &[at(2, 1)]);
    assert_eq!(counts(&pipeline), [("2".to_owned(), "2".to_owned())]);
    pipeline.send(0, &[at(3, 3 * MINUTE), at(4, 2)]);
    assert_eq!(
        counts(&pipeline)[0],
        ("2".to_owned(), "2".to_owned()),
        "the allowance was over"
    );
    assert_eq!(
        pipeline.dead_letters(),
        [("Late".to_owned(), "w".to_owned(), 4)]
    );
}

#[test]
fn an_amendment_may_be_of_groups_that_were_not_there() {
    // What no value at all comes to is nothing that every function can say.
    let steps = "    - name: w\n      aggregate: {window: {tumbling: 1m}, late: {allowed: 1m, policy: Amend}, sql: 'SELECT page, first_value(user_id) AS first FROM clicks GROUP BY page'}\n";
    let mut pipeline = Pipeline::new(plan(steps, &["w"]), 1);
    let click = |offset: i64, ms: i64, page: &str| {
        let members = format!("\"page\": \"{page}\", \"user_id\": \"u{offset}\"");
        record(offset, 10 * MINUTE, &event("e", ms, &members))
    };
    pipeline.send(0, &[click(0, 0, "/"), click(1, 2 * MINUTE, "/")]);
    pipeline.send(0, &[click(2, 1, "/new")]);
    let rows = pipeline.rows("w").into_iter();
    let rows: Vec<_> = rows
        .map(|row| (row["page"].clone(), row["first"].clone()))
        .collect();
    assert_eq!(
        rows,
        [("/", "u0"), ("/new", "u2")].map(|(page, first)| (page.to_owned(), first.to_owned()))
    );
}

#[test]
fn dead_letter_and_drop_emit_once_when_the_allowance_is_over() {
    for (policy, letters, dropped) in [("DeadLetter", 1, 0), ("Drop", 0, 1)] {
        let mut pipeline = Pipeline::new(
            plan(
                &counting(&format!("{{allowed: 1m, policy: {policy}}}")),
                &["w"],
            ),
            1,
        );
        pipeline.send(0, &[at(0, 0), at(1, 2 * MINUTE), at(2, 1)]);
        assert!(
            counts(&pipeline).is_empty(),
            "{policy}: late events are still allowed"
        );
        pipeline.send(0, &[at(3, 3 * MINUTE), at(4, 2)]);
        assert_eq!(
            counts(&pipeline),
            [("2".to_owned(), "1".to_owned())],
            "{policy}"
        );
        assert_eq!(pipeline.dead.len(), letters, "{policy}");
        assert_eq!(
            pipeline.sources[0].ledgers().steps["w"].late,
            dropped,
            "{policy}"
        );
    }
}

#[test]
fn lateness_is_judged_record_by_record_and_not_by_the_batch() {
    let records = [at(0, 0), at(1, 1), at(2, 10 * MINUTE), at(3, 2), at(4, 3)];
    let verdicts = |sizes: usize| {
        let mut pipeline = Pipeline::new(plan(&counting("{policy: Amend}"), &["w"]), 1);
        records
            .chunks(sizes)
            .for_each(|records| pipeline.send(0, records));
        pipeline.close();
        (counts(&pipeline), pipeline.dead_letters())
    };
    let (rows, dead) = verdicts(records.len());
    assert_eq!(rows[0].0, "2");
    assert_eq!(
        dead.iter()
            .map(|(_, _, offset)| *offset)
            .collect::<Vec<_>>(),
        [3, 4]
    );
    for sizes in 1..records.len() {
        let (other_rows, other_dead) = verdicts(sizes);
        let numbers = |rows: &[(String, String)]| {
            rows.iter()
                .map(|(count, _)| count.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (numbers(&rows), &dead),
            (numbers(&other_rows), &other_dead),
            "batches of {sizes}"
        );
    }
}

#[test]
fn a_decree_closes_windows_and_what_is_older_is_late_afterwards() {
    let mut pipeline = Pipeline::new(plan(&counting("{policy: Amend}"), &["w"]), 1);
    pipeline.send(0, &[at(0, 0)]);
    pipeline.decree(T0 + MINUTE);
    assert_eq!(counts(&pipeline), [("1".to_owned(), "1".to_owned())]);
    pipeline.send(0, &[at(1, 1), at(2, MINUTE)]);
    pipeline.close();
    assert_eq!(
        pipeline.dead_letters(),
        [("Late".to_owned(), "w".to_owned(), 1)]
    );
    assert_eq!(pipeline.rows("w").len(), 2);
}

#[test]
fn a_duplicate_is_a_key_appended_within_the_horizon_kept_or_not() {
    let steps = "    - {name: once, deduplicate: {from: clicks, by: [id], within: 1m}}\n";
    let mut pipeline = Pipeline::new(plan(steps, &["once"]), 1);
    let appended = [0, 50_000, 100_000, 170_000, 170_000];
    let records: Vec<Record> = (0..)
        .zip(appended)
        .map(|(offset, append_ms)| record(offset, append_ms, &event("same", 0, "")))
        .collect();
    records
        .chunks(2)
        .for_each(|records| pipeline.send(0, records));
    let kept: Vec<String> = pipeline
        .rows("once")
        .iter()
        .map(|row| row["_offset"].clone())
        .collect();
    assert_eq!(
        kept,
        ["0", "3"],
        "100 s is within a minute of the repeat at 50 s; 170 s is not of that at 100 s"
    );
    assert_eq!(pipeline.sources[0].ledgers().outputs["once"].duplicate, 3);
}
