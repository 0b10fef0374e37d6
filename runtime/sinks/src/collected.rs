//! A sink that keeps windows until somebody takes them: for windows of the past, which go to their tables when all of them are computed.
use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::TimestampMicrosecondType,
};
use async_trait::async_trait;
use parking_lot::Mutex;
use tidewheel_planner::plan::Table;

use crate::{
    Change, Committed, Guarantee, Origin, OutputId, Progress, Refused, Sink, SinkError, TaskId,
    Writer, fencing,
};

/// Windows by output, in memory. Clones share them.
///
/// It takes each row of a window once: windows that are amended are for tables.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// Starts of the windows that are kept, ms, by output; of outputs that are not listed nothing is.
    wanted: Arc<BTreeMap<String, RangeInclusive<i64>>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    commits: BTreeMap<Task, (Progress, Vec<Refused>)>,
    rows: BTreeMap<String, Vec<RecordBatch>>,
}

/// An output of a pipeline, and the input and partition of a task.
type Task = (String, String, String, i32);

impl Collected {
    /// Keeps the windows of these outputs whose starts, ms, are among these.
    #[must_use]
    pub fn new(wanted: BTreeMap<String, RangeInclusive<i64>>) -> Self {
        Self {
            wanted: Arc::new(wanted),
            state: Arc::default(),
        }
    }

    /// What has come for an output since it was last taken, with the columns of its table.
    #[must_use]
    pub fn take(&self, output: &str) -> Vec<RecordBatch> {
        self.with(|state| state.rows.remove(output).unwrap_or_default())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock())
    }
}

#[async_trait]
impl Sink for Collected {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    async fn writer(
        &self,
        output: &OutputId,
        table: &Table,
        task: &TaskId,
    ) -> Result<Box<dyn Writer>, SinkError> {
        let name = table.key().first();
        let starts = table
            .columns
            .iter()
            .position(|column| name == Some(&column.name));
        let starts = starts.ok_or_else(|| misfit(output, "only windows are collected"))?;
        Ok(Box::new(Collector {
            collected: self.clone(),
            task: (
                output.pipeline.clone(),
                output.output.clone(),
                task.input.clone(),
                task.partition,
            ),
            output: output.clone(),
            starts,
        }))
    }
}

struct Collector {
    collected: Collected,
    output: OutputId,
    task: Task,
    /// The column with the starts of windows.
    starts: usize,
}

impl Collector {
    /// The rows of windows that are wanted.
    fn wanted(&self, rows: &RecordBatch) -> Result<RecordBatch, SinkError> {
        let wanted = self.collected.wanted.get(&self.output.output);
        let starts = rows
            .column(self.starts)
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| misfit(&self.output, "a window's start is no time"))?;
        let is_wanted = |start_us: Option<i64>| {
            let start_ms = start_us.map(|start_us| start_us.div_euclid(1_000));
            start_ms.is_some_and(|ms| wanted.is_some_and(|wanted| wanted.contains(&ms)))
        };
        let mask: BooleanArray = starts.iter().map(|start| Some(is_wanted(start))).collect();
        filter_record_batch(rows, &mask).map_err(|error| misfit(&self.output, &error.to_string()))
    }
}

#[async_trait]
impl Writer for Collector {
    async fn begin_generation(
        &mut self,
        _generation: i64,
        _cut_ms: Option<i64>,
    ) -> Result<(), SinkError> {
        Ok(())
    }

    async fn last_commit(&mut self) -> Result<Option<(Progress, Vec<Refused>)>, SinkError> {
        Ok(self
            .collected
            .with(|state| state.commits.get(&self.task).cloned()))
    }

    async fn commit(
        &mut self,
        _generation: i64,
        change: &Change,
        expected: Option<Progress>,
        next: Progress,
        kept: &[Refused],
        _origin: Origin<'_>,
    ) -> Result<Committed, SinkError> {
        let rows = match change {
            Change::Nothing => None,
            Change::Windows { upserts, deletes } if deletes.num_rows() == 0 => {
                Some(self.wanted(upserts)?)
            }
            Change::Windows { .. } | Change::Append(_) => {
                return Err(misfit(
                    &self.output,
                    "only windows that are emitted once are collected",
                ));
            }
        };
        self.collected.with(|state| {
            let found = state.commits.get(&self.task).map(|(progress, _)| *progress);
            if found != expected {
                return Err(SinkError::Fenced {
                    output: self.output.to_string(),
                    found: fencing::other_progress(found, expected),
                });
            }
            state
                .commits
                .insert(self.task.clone(), (next, kept.to_vec()));
            if let Some(rows) = rows.filter(|rows| rows.num_rows() > 0) {
                let all = state.rows.entry(self.output.output.clone()).or_default();
                all.push(rows);
            }
            Ok(Committed::default())
        })
    }
}

fn misfit(output: &OutputId, reason: &str) -> SinkError {
    SinkError::Misfit {
        output: output.to_string(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
    use tidewheel_planner::plan::{Column, ColumnType, TableKind};

    use super::*;

    fn table() -> Table {
        let column = |name: &str, data_type: ColumnType| Column {
            name: name.to_owned(),
            data_type,
            nullable: false,
        };
        Table {
            schema: "public".to_owned(),
            name: "t".to_owned(),
            columns: vec![
                column("n", ColumnType::Bigint),
                column("window_start", ColumnType::Timestamp),
            ],
            kind: TableKind::Windows {
                key: vec!["window_start".to_owned()],
            },
            retention_ms: None,
        }
    }

    fn windows(starts_ms: &[i64]) -> RecordBatch {
        let counts: ArrayRef = Arc::new(Int64Array::from(vec![1; starts_ms.len()]));
        let starts = starts_ms.iter().map(|ms| ms * 1_000);
        let starts = TimestampMicrosecondArray::from_iter_values(starts).with_timezone("+00:00");
        RecordBatch::try_from_iter([
            ("n", counts),
            ("window_start", Arc::new(starts) as ArrayRef),
        ])
        .unwrap()
    }

    fn at(next_offset: i64) -> Progress {
        Progress {
            next_offset,
            watermark_ms: None,
        }
    }

    async fn write(
        writer: &mut dyn Writer,
        starts_ms: &[i64],
        (expected, next): (Option<i64>, i64),
    ) -> Result<Committed, SinkError> {
        let upserts = windows(starts_ms);
        let change = Change::Windows {
            deletes: upserts.slice(0, 0),
            upserts,
        };
        let none = |_| String::new();
        writer
            .commit(1, &change, expected.map(at), at(next), &[], &none)
            .await
    }

    #[tokio::test]
    async fn windows_that_are_wanted_are_kept_once_whoever_writes_again() {
        let collected = Collected::new([("kpi".to_owned(), 10..=20)].into());
        let output = OutputId {
            pipeline: "shop/kpis".to_owned(),
            output: "kpi".to_owned(),
        };
        let task = TaskId {
            input: "per_minute".to_owned(),
            partition: 0,
        };
        let table = table();
        let mut first = collected.writer(&output, &table, &task).await.unwrap();
        write(first.as_mut(), &[0, 10], (None, 5)).await.unwrap();
        // Whoever goes on knows how far the first has come; the first knows no more.
        let mut second = collected.writer(&output, &table, &task).await.unwrap();
        let found = second.last_commit().await.unwrap().unwrap().0;
        assert_eq!(found, at(5));
        write(second.as_mut(), &[20, 30], (Some(5), 9))
            .await
            .unwrap();
        let zombie = write(first.as_mut(), &[20], (Some(5), 8)).await;
        assert!(
            matches!(zombie, Err(SinkError::Fenced { .. })),
            "{zombie:?}"
        );

        let taken = collected.take("kpi");
        let rows: Vec<usize> = taken.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [1, 1]);
        assert!(collected.take("kpi").is_empty());
    }
}
