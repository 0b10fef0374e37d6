//! Writes a task's tables: each output with its progress, retried until the sink has it.
use std::collections::BTreeMap;
use std::time::Duration;

use tidewheel_engine::sabotage::{self, Bug};
use tidewheel_engine::wire::refusal::Origin;
use tidewheel_engine::{Position, Refusal, TableWrite};
use tidewheel_planner::plan::{Table, TableKind};
use tidewheel_sinks::{Change, OutputId, Progress, Refused, Sink, SinkError, TaskId, Writer};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::{AttemptError, WorkerError};
use crate::status::{TaskKey, TaskStatus};

/// How long a sink may be busy with a commit before that is said.
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// The writers of one task.
pub(crate) struct TableWriters<'a> {
    context: &'a Context,
    key: &'a TaskKey,
    stop: &'a CancellationToken,
    writers: BTreeMap<usize, OutputWriter>,
}

struct OutputWriter {
    writer: Box<dyn Writer>,
    generation: i64,
    progress: Option<Progress>,
    /// What it keeps of what it refused.
    kept: Vec<Refusal>,
    /// Whether the sink keeps more than that.
    has_settled: bool,
}

impl<'a> TableWriters<'a> {
    /// Opens the outputs and makes our generations current.
    pub(crate) async fn open(
        context: &'a Context,
        key: &'a TaskKey,
        stop: &'a CancellationToken,
        outputs: &[(usize, i64, Option<i64>)],
    ) -> Result<Self, AttemptError> {
        let mut writers = BTreeMap::new();
        for &(index, generation, cut_ms) in outputs {
            let output = &context.plan.outputs[index];
            let Some(table) = output.table() else {
                continue;
            };
            let unknown = || WorkerError::UnknownSink {
                output: output.name.clone(),
                sink: output.sink.clone(),
            };
            let sink = context.sinks.get(&output.sink).ok_or_else(unknown)?;
            let id = OutputId {
                pipeline: context.pipeline(),
                output: output.name.clone(),
            };
            let task = TaskId {
                input: key.0.clone(),
                partition: key.1,
            };
            let opened = open_one(
                sink.as_ref(),
                &id,
                table,
                &task,
                (index, generation, cut_ms),
            )
            .await;
            let opened = opened.inspect_err(|error| {
                if let AttemptError::Sink(SinkError::Unavailable { .. }) = error {
                    context.board.update(key, |status| {
                        status.blocked_by_sink = Some(output.sink.clone());
                    });
                }
            });
            writers.insert(index, opened?);
        }
        Ok(Self {
            context,
            key,
            stop,
            writers,
        })
    }

    /// The progress of each output as its sink has it, by name.
    pub(crate) fn positions(&self) -> BTreeMap<String, Position> {
        let position = |progress: Progress| Position {
            next_offset: progress.next_offset,
            watermark_ms: progress.watermark_ms,
        };
        self.writers
            .iter()
            .filter_map(|(&output, writer)| {
                Some((
                    self.context.plan.outputs[output].name.clone(),
                    position(writer.progress?),
                ))
            })
            .collect()
    }

    /// What the sinks have kept of what they refused, of which the log may not know.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        let writers = self.writers.values();
        writers.flat_map(|writer| writer.kept.clone()).collect()
    }

    /// Commits writes, each with the progress `position`. What the sinks refused for its data. What they refused before they keep, but for
    /// that of below `settled_below`: nobody takes back what the log says of it.
    pub(crate) async fn commit(
        &mut self,
        writes: &[TableWrite],
        position: Position,
        settled_below: i64,
    ) -> Result<Vec<Refusal>, AttemptError> {
        for output in self.writers.values_mut() {
            let before = output.kept.len();
            let is_settled = |refusal: &Refusal| refusal.origin.is_below(settled_below);
            output.kept.retain(|refusal| !is_settled(refusal));
            output.has_settled |= output.kept.len() < before;
        }
        let mut refusals = Vec::new();
        for write in writes {
            let change = match self.context.plan.outputs[write.output].kind() {
                TableKind::Rows => Change::Append(write.rows.clone()),
                TableKind::Windows { .. } => {
                    let deletes = write
                        .deletes
                        .clone()
                        .unwrap_or_else(|| write.rows.slice(0, 0));
                    Change::Windows {
                        upserts: write.rows.clone(),
                        deletes,
                    }
                }
            };
            let next = Progress {
                next_offset: position.next_offset,
                watermark_ms: position.watermark_ms,
            };
            refusals.extend(self.commit_one(write, &change, next).await?);
        }
        self.release().await;
        Ok(refusals)
    }

    /// Lets sinks forget what is settled, also where an output had nothing to write: it may never have again.
    async fn release(&mut self) {
        for output in self
            .writers
            .values_mut()
            .filter(|output| output.has_settled)
        {
            // Nothing depends on it: where it fails, the output's next commit does the same.
            output.has_settled = false;
            let Some(at) = output.progress else { continue };
            let kept: Vec<Refused> = output.kept.iter().map(refused).collect();
            let (generation, none) = (output.generation, |_| String::new());
            let release =
                output
                    .writer
                    .commit(generation, &Change::Nothing, Some(at), at, &kept, &none);
            if let Err(error) = release.await {
                tracing::debug!(task = ?self.key, %error, "a sink keeps what is settled for longer");
            }
        }
    }

    async fn commit_one(
        &mut self,
        write: &TableWrite,
        change: &Change,
        next: Progress,
    ) -> Result<Vec<Refusal>, AttemptError> {
        let Some(output) = self.writers.get_mut(&write.output) else {
            return Ok(Vec::new());
        };
        let origin = |row| write.origin(row).encode();
        let kept: Vec<Refused> = output.kept.iter().map(refused).collect();
        let sink = self.context.plan.outputs[write.output].sink.as_str();
        let mut pause = Duration::from_millis(50);
        let newest = loop {
            if sabotage::is(Bug::ProgressNotCompared) {
                output.progress = output.writer.last_commit().await?.map(|(at, _)| at);
            }
            let expected = output.progress;
            let commit =
                output
                    .writer
                    .commit(write.generation, change, expected, next, &kept, &origin);
            let reason = match watched(self.context, self.key, sink, commit).await {
                Ok(committed) => break committed.refused,
                Err(error @ SinkError::Unavailable { .. }) => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            tracing::warn!(task = ?self.key, %reason, "the sink does not answer; trying again");
            wait_for(self.context, self.key, sink, reason);
            tokio::select! {
                biased;
                () = self.context.timer.sleep(pause) => {}
                () = self.stop.cancelled() => return Err(AttemptError::Stopped),
            }
            pause = (pause * 2).min(self.context.limits.longest_pause);
            // The answer may have been lost, not the commit.
            if let Ok(Some((found, mut all))) = output.writer.last_commit().await
                && found == next
            {
                break all.split_off(kept.len().min(all.len()));
            }
        };
        let refused = output.moved(next, refusals(write.output, &newest)?);
        self.unblock();
        Ok(refused)
    }

    fn unblock(&self) {
        self.context.board.update(self.key, TaskStatus::unblock);
    }
}

impl OutputWriter {
    /// It was committed up to `next`, and this refused.
    fn moved(&mut self, next: Progress, refused: Vec<Refusal>) -> Vec<Refusal> {
        self.progress = Some(next);
        self.has_settled = false;
        self.kept.extend_from_slice(&refused);
        refused
    }
}

/// Says that a task waits for a sink.
fn wait_for(context: &Context, key: &TaskKey, sink: &str, reason: String) {
    context.board.update(key, |status| {
        status.blocked = Some(reason);
        status.blocked_until_mended = false;
        status.blocked_by_sink = Some(sink.to_owned());
    });
}

/// A commit to a sink; one that takes long is said before it fails.
async fn watched<T>(
    context: &Context,
    key: &TaskKey,
    sink: &str,
    commit: impl Future<Output = T>,
) -> T {
    let mut commit = std::pin::pin!(commit);
    tokio::select! {
        biased;
        committed = &mut commit => return committed,
        () = context.timer.sleep(SLOW_AFTER) => {}
    }
    // What was said of an attempt before says more.
    if !context.board.is_blocked(key) {
        let reason = format!("it has not answered for {} s", SLOW_AFTER.as_secs());
        wait_for(context, key, sink, reason);
    }
    commit.await
}

/// Opens an output and makes our generation, with its cut, current.
async fn open_one(
    sink: &dyn Sink,
    id: &OutputId,
    table: &Table,
    task: &TaskId,
    (output, generation, cut_ms): (usize, i64, Option<i64>),
) -> Result<OutputWriter, AttemptError> {
    let mut writer = sink.writer(id, table, task).await?;
    let cut_ms = cut_ms.filter(|_| !sabotage::is(Bug::UncutTables));
    writer
        .begin_generation(generation, cut_ms)
        .await
        .map_err(|error| match error {
            SinkError::Fenced { .. } => AttemptError::Superseded(error),
            other => other.into(),
        })?;
    let (progress, kept) = writer.last_commit().await?.unzip();
    Ok(OutputWriter {
        writer,
        generation,
        progress,
        has_settled: false,
        kept: refusals(output, &kept.unwrap_or_default())?,
    })
}

fn refused(refusal: &Refusal) -> Refused {
    Refused {
        origin: refusal.origin.encode(),
        reason: refusal.reason.clone(),
    }
}

fn refusals(output: usize, refused: &[Refused]) -> Result<Vec<Refusal>, AttemptError> {
    let refusal = |row: &Refused| {
        Ok(Refusal {
            output,
            origin: Origin::decode(&row.origin)?,
            reason: row.reason.clone(),
        })
    };
    refused.iter().map(refusal).collect()
}
