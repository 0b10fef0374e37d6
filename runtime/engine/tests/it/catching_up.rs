//! Watermarks of a source partition that reads what was appended long ago.
use std::collections::BTreeSet;
use std::sync::Arc;

use tidewheel_engine::stage1::{Recovered, SourceTask, StartAt};
use tidewheel_log::NewRecord;
use tidewheel_planner::plan::Plan;

use crate::fixture::{MINUTE, T0, event, plan_over, record, source_setup};

const BY_USER: &str = "    - name: by_user\n      aggregate: {window: {tumbling: 1m}, sql: 'SELECT user_id, count(*) AS n FROM clicks GROUP BY user_id'}";
const SECOND: i64 = 1_000;

fn sixteen_partitions() -> Arc<Plan> {
    let base = include_str!("base.yaml").replace("partitions: 2", "partitions: 16");
    plan_over(&base, BY_USER, &["by_user"])
}

fn task() -> SourceTask {
    let setup = source_setup(&sixteen_partitions(), 0, 16);
    SourceTask::begin(setup, Recovered::default(), &StartAt::default()).unwrap()
}

/// How many partitions of the partials topic are spoken to.
fn heard(log: &[NewRecord]) -> usize {
    let partials = log.iter().filter(|it| it.topic.contains(".partials"));
    let partitions: BTreeSet<_> = partials.map(|record| record.partition).collect();
    partitions.len()
}

/// Takes an event of the minute that is its offset, appended at once, when the clock is `clock_ms` after [`T0`].
fn takes(task: &mut SourceTask, minute: i64, clock_ms: i64) -> usize {
    let at = minute * MINUTE;
    let events = [record(minute, at, &event("a", at, ""))];
    let effects = task.process(&events, minute + 1, T0 + clock_ms).unwrap();
    heard(&effects.log)
}

/// How many are spoken to when nothing is read at an offset.
fn reads_nothing(task: &mut SourceTask, offset: i64, clock_ms: i64) -> usize {
    let effects = task.process(&[], offset, T0 + clock_ms).unwrap();
    heard(&effects.log)
}

#[test]
fn all_partitions_hear_of_the_past_now_and_then_and_at_its_end() {
    let (mut task, now) = (task(), 24 * 60 * MINUTE);
    assert_eq!(takes(&mut task, 10, now), 16);
    assert_eq!(takes(&mut task, 20, now + SECOND), 1, "who gets partials");
    assert_eq!(takes(&mut task, 30, now + 6 * SECOND), 16);
    assert_eq!(takes(&mut task, 40, now + 7 * SECOND), 1);
    assert_eq!(
        reads_nothing(&mut task, 41, now + 7 * SECOND),
        15,
        "the others"
    );
    assert_eq!(reads_nothing(&mut task, 41, now + 7 * SECOND), 0);
}

#[test]
fn all_partitions_hear_at_once_of_what_happens_now() {
    let mut task = task();
    for minute in [10, 11, 12] {
        assert_eq!(takes(&mut task, minute, minute * MINUTE + SECOND), 16);
    }
    assert_eq!(reads_nothing(&mut task, 13, 12 * MINUTE + SECOND), 0);
}

#[test]
fn a_decree_is_heard_by_all_also_by_who_reads_the_past() {
    let (mut task, now) = (task(), 24 * 60 * MINUTE);
    takes(&mut task, 10, now);
    takes(&mut task, 20, now);
    let decreed = task.decree(T0 + 30 * MINUTE).unwrap();
    assert_eq!(heard(&decreed.log), 16);
}
