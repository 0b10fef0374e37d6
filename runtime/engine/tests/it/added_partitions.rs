//! Source partitions that are added while windows are open: who is waited for, and from when on.
use std::sync::Arc;

use tidewheel_engine::stage1::{Recovered, SourceTask, StartAt};
use tidewheel_engine::stage2::{RecoveredStep, StepTask};
use tidewheel_engine::wire::partial::{self, PartialHeader};
use tidewheel_engine::wire::state::SourceProgress;
use tidewheel_log::Record;
use tidewheel_planner::plan::{Plan, StepKind};

use crate::fixture::{plan, source_setup, step_setup};

const STEPS: &str = "
    - {name: w, aggregate: {window: {tumbling: 1m}, sql: 'SELECT page, count(*) AS n FROM clicks GROUP BY page'}}";

/// What a source partition says, record by record: its number and its watermark, ms.
fn said(words: &[(i32, Option<i64>)]) -> Vec<Record> {
    let record = |(offset, &(partition, watermark_ms)): (i64, &(i32, Option<i64>))| {
        let header = PartialHeader {
            source: "clicks".to_owned(),
            partition,
            from: offset,
            to: offset + 1,
            watermark_ms,
            windows_from_ms: None,
        };
        Record {
            offset,
            append_time_ms: offset,
            key: None,
            value: Some(partial::encode(&header, None).unwrap()),
            headers: Vec::new(),
        }
    };
    (0..).zip(words).map(record).collect()
}

/// The watermark after each batch of a task whose generation began with two partitions.
fn watermarks(plan: &Arc<Plan>, records: &[Record], batch: usize) -> Vec<(i64, Option<i64>)> {
    let mut task = StepTask::begin(step_setup(plan, 0, 2), &RecoveredStep::default()).unwrap();
    let take = |records: &[Record]| {
        let to = records.last().unwrap().offset + 1;
        task.process(records, to, 0).unwrap();
        (to, task.watermark_ms())
    };
    records.chunks(batch).map(take).collect()
}

#[test]
fn a_partition_that_was_added_is_waited_for_from_when_it_speaks_however_batches_are_cut() {
    let plan = plan(STEPS, &["w"]);
    let records = said(&[
        (0, Some(60)),
        (1, Some(70)),
        (2, None),
        (0, Some(90)),
        (1, Some(95)),
        (2, Some(50)),
        (2, Some(80)),
    ]);
    let one_by_one = watermarks(&plan, &records, 1);
    let expected = [
        None,
        Some(60),
        Some(60),
        Some(60),
        Some(60),
        Some(60),
        Some(80),
    ];
    assert_eq!(
        one_by_one.iter().map(|(_, ms)| *ms).collect::<Vec<_>>(),
        expected
    );
    for batch in 2..=records.len() {
        for at in watermarks(&plan, &records, batch) {
            assert!(one_by_one.contains(&at), "{at:?} in batches of {batch}");
        }
    }
}

#[test]
fn a_task_says_once_that_it_is_there() {
    let plan = plan(STEPS, &["w"]);
    let begin = |progress| {
        let recovered = Recovered {
            progress,
            ..Recovered::default()
        };
        let start = StartAt {
            first: 7,
            ..StartAt::default()
        };
        SourceTask::begin(source_setup(&plan, 2, 3), recovered, &start).unwrap()
    };
    let first_words = begin(None).begin_to_speak().unwrap();
    let (progress, words) = first_words.split_last().unwrap();
    let StepKind::Aggregate(aggregate) = &plan.steps[0].kind else {
        panic!("no aggregate step")
    };
    assert_eq!(words.len(), aggregate.partitions as usize);
    for (target, word) in (0..).zip(words) {
        assert_eq!(word.partition, Some(target));
        let value = word.value.as_ref().unwrap();
        let (header, partials) = partial::decode(value, &aggregate.partial_schema).unwrap();
        assert_eq!((header.partition, header.watermark_ms), (2, None));
        assert!(partials.is_none());
    }
    let progress = SourceProgress::decode(progress.value.as_ref().unwrap()).unwrap();
    assert_eq!((progress.start_offset, progress.main.next_offset), (7, 7));
    assert!(begin(Some(progress)).begin_to_speak().unwrap().is_empty());
}
