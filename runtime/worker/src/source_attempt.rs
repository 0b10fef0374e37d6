//! One attempt at the task of a source partition: take it over, go on from its state, until it is told to stop or something fails.
use std::collections::BTreeMap;

use tidewheel_engine::sabotage::{self, Bug};
use tidewheel_engine::stage1::{Recovered, SourceSetup, SourceTask, StartAt};
use tidewheel_engine::window::rows_from;
use tidewheel_engine::wire::acknowledgement::Acknowledgement;
use tidewheel_engine::wire::state::{SOURCE_PROGRESS_KEY, SourceProgress};
use tidewheel_engine::{Effects, EngineError};
use tidewheel_log::{Fetched, Log, LogError, Offsets, Producer, Reader, Record, first_record};
use tidewheel_planner::plan::StepKind;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::AttemptError;
use crate::made_anew;
use crate::pace::Pace;
use crate::recovery::{leave_word, take_over};
use crate::schemas;
use crate::status::TaskKey;
use crate::table_writers::TableWriters;
use crate::watermarks::Seen;

/// How long, in ms, the progress may leave out offsets without records, such as those of the markers of transactions. Retention may take
/// them: what is gone and not covered looks as if records had been lost.
const CATCH_UP_EVERY_MS: i64 = 5_000;

/// How many records to take at once while sinks refuse some: each that is refused costs them some statements, and others wait meanwhile
/// for what the transaction holds.
const RECORDS_AFTER_REFUSALS: usize = 1_024;

/// The task of a source partition at work.
pub(crate) struct SourceAttempt<'a> {
    context: &'a Context,
    key: &'a TaskKey,
    stop: &'a CancellationToken,
    producer: Box<dyn Producer>,
    writers: TableWriters<'a>,
    task: SourceTask,
    reader: Box<dyn Reader>,
    /// Name of the watermarks topic.
    watermarks: String,
    /// How far it was seen.
    seen: Seen,
    committed_at_ms: i64,
    /// Up to where the progress in the log goes.
    covered: i64,
    pace: Pace,
    /// Whether a sink refused some of the rows that came last.
    is_refused: bool,
    records: u64,
}

impl<'a> SourceAttempt<'a> {
    /// Takes the task over. Fences whoever had it before.
    pub(crate) async fn begin(
        context: &'a Context,
        source: usize,
        key: &'a TaskKey,
        stop: &'a CancellationToken,
    ) -> Result<Self, AttemptError> {
        let (plan, log, partition) = (&context.plan, context.log.as_ref(), key.1);
        let topic = &plan.sources[source].topic;
        let (id, home) = (context.transactional_id(key), context.names.state(&key.0));
        let (mut producer, state) = take_over(log, &id, &home, partition).await?;
        let progress = state
            .get(SOURCE_PROGRESS_KEY.as_bytes())
            .map(|bytes| SourceProgress::decode(bytes))
            .transpose()?;
        let acknowledgement = Acknowledgement::read(&state, None)?;
        let newer = progress
            .as_ref()
            .filter(|progress| progress.revision > context.generations.revision);
        if let Some(progress) = newer {
            return Err(EngineError::Outdated {
                ours: context.generations.revision,
                theirs: progress.revision,
            }
            .into());
        }
        let setup = SourceSetup {
            plan: context.plan.clone(),
            generations: context.generations.clone(),
            source,
            partition,
            source_partitions: context.source_partitions().await?,
        };
        let outputs: Vec<_> = SourceTask::tables(&setup)
            .into_iter()
            .map(|output| {
                (
                    output,
                    context
                        .generations
                        .outputs
                        .get(&plan.outputs[output].name)
                        .copied()
                        .unwrap_or(1),
                    None,
                )
            })
            .collect();
        let writers = TableWriters::open(context, key, stop, &outputs).await?;
        let watermarks = context.names.watermarks();
        let told = context
            .watermarks
            .begin(log, &watermarks, &key.0, partition);
        let told = told.await?;
        let offsets = log.offsets(topic, partition).await?;
        match &progress {
            Some(progress) => {
                made_anew::check(log, topic, partition, progress, offsets).await?;
            }
            None => made_anew::check_state(log, &home, key, &writers.positions()).await?,
        }
        let start = start_at(context, source, partition, offsets).await?;
        let decrees = if sabotage::is(Bug::ForgottenDecrees) {
            Vec::new()
        } else {
            told.decrees
        };
        let recovered = Recovered {
            progress,
            sinks: writers.positions(),
            refusals: writers.refusals(),
            decrees,
            acknowledgement: acknowledgement.clone(),
        };
        let begun = SourceTask::begin(setup, recovered, &start);
        let begun = leave_word(begun, producer.as_mut(), &home, &acknowledgement);
        let mut task = begun.await?;
        let first_words = task.begin_to_speak()?;
        if !first_words.is_empty() {
            producer.commit(first_words).await?;
        }
        told.newest
            .into_iter()
            .for_each(|record| task.observe(record));
        let from = warm_up_from(log, topic, partition, &task, start.earliest).await?;
        let reader = log.reader(topic, partition, from).await?;
        let covered = task.next_offset();
        Ok(Self {
            context,
            key,
            stop,
            producer,
            writers,
            task,
            reader,
            watermarks,
            seen: told.seen,
            committed_at_ms: context.timer.now_ms(),
            covered,
            pace: Pace::new(context.limits.batch_records),
            is_refused: false,
            records: 0,
        })
    }

    /// Works until told to stop.
    pub(crate) async fn run(&mut self) -> Result<(), AttemptError> {
        self.work().await?;
        // Who goes on comes to the same, unless that takes longer than records are kept.
        self.context.last_word(self.key, self.catch_up()).await;
        Ok(())
    }

    async fn work(&mut self) -> Result<(), AttemptError> {
        self.post(false);
        while !self.stop.is_cancelled() {
            self.observe().await?;
            let (context, most) = (self.context, self.most_records());
            let timer = context.timer.as_ref();
            let mut batch = tokio::select! {
                biased;
                batch = context.batches.next(self.reader.as_mut(), most, timer) => batch?,
                () = self.stop.cancelled() => break,
            };
            let fetched = &batch.fetched;
            self.take(fetched).await?;
            if let Some(error) = batch.failed.take() {
                return Err(error.into());
            }
            let records = fetched.records.len();
            let caught_up = fetched.at_end && self.task.next_offset() >= fetched.next_offset;
            let began_ms = batch.began_ms;
            drop(batch);
            if caught_up {
                self.rest(records == 0).await?;
            }
            self.post(caught_up);
            context.pause(began_ms, records, self.stop).await;
        }
        Ok(())
    }

    /// How many records to take at once.
    fn most_records(&self) -> usize {
        let most = self.pace.records();
        if self.is_refused {
            most.min(RECORDS_AFTER_REFUSALS)
        } else {
            most
        }
    }

    async fn take(&mut self, fetched: &Fetched) -> Result<(), AttemptError> {
        let mut rest = fetched.records.as_slice();
        self.learn(rest).await?;
        loop {
            let before = self.task.next_offset();
            let process = |now_ms| self.task.process(rest, fetched.next_offset, now_ms);
            let effects = self.pace.measure(self.context.timer.as_ref(), process)?;
            let (taken, left) = rest.split_at(effects.consumed);
            rest = left;
            let moved = self.task.next_offset() != before && effects.consumed > 0;
            if moved || !effects.log.is_empty() || !effects.writes.is_empty() {
                self.commit(effects, taken).await?;
            }
            self.records += taken.len() as u64;
            self.context.board.update(self.key, |status| {
                status.work.records += taken.len() as u64;
            });
            // Without records the position moves to the next boundary or the end; while deduplications are filled it stays.
            if rest.is_empty()
                && (self.task.next_offset() >= fetched.next_offset
                    || self.task.next_offset() == before)
            {
                return Ok(());
            }
        }
    }

    /// Learns the schemas that records name. Nothing is taken before all are there.
    async fn learn(&mut self, records: &[Record]) -> Result<(), AttemptError> {
        let ids = self.task.unknown_schemas(records);
        let task = &mut self.task;
        schemas::read(self.context, (self.key, self.stop), ids, |id, schema| {
            task.learn(id, schema);
        })
        .await
    }

    /// What there is to do at the end of the log: idleness, and closing windows where that is asked for.
    async fn rest(&mut self, nothing_came: bool) -> Result<(), AttemptError> {
        let closing_ms = *self.context.closing.borrow();
        let closed_ms = self.context.board.closed_ms(self.key);
        if let Some(closing_ms) = closing_ms
            .filter(|&closing_ms| closed_ms.is_none_or(|closed_ms| closed_ms < closing_ms))
        {
            let effects = self.task.decree(closing_ms)?;
            self.commit(effects, &[]).await?;
            self.context
                .board
                .update(self.key, |status| status.closed_ms = Some(closing_ms));
        } else if nothing_came
            && let Some(effects) = self.task.at_end(self.context.timer.now_ms())?
        {
            self.commit(effects, &[]).await?;
        } else if self.context.timer.now_ms() - self.committed_at_ms >= CATCH_UP_EVERY_MS {
            self.catch_up().await?;
        }
        Ok(())
    }

    /// Commits that offsets were passed which had no records.
    async fn catch_up(&mut self) -> Result<(), AttemptError> {
        let at = self.task.next_offset();
        if at <= self.covered {
            return Ok(());
        }
        let now_ms = self.context.timer.now_ms();
        let effects = self.task.process(&[], at, now_ms)?;
        self.commit(effects, &[]).await
    }

    async fn commit(&mut self, effects: Effects, records: &[Record]) -> Result<(), AttemptError> {
        let began_ms = self.context.timer.now_ms();
        self.commit_in_order(effects, records).await?;
        self.covered = self.task.next_offset();
        self.committed_at_ms = self.context.timer.now_ms();
        self.context.committed(self.key, began_ms);
        Ok(())
    }

    async fn commit_in_order(
        &mut self,
        effects: Effects,
        records: &[Record],
    ) -> Result<(), AttemptError> {
        let settled = self.task.settled_below();
        if sabotage::is(Bug::LogBeforeSinks) {
            let mut log = effects.log;
            log.extend(self.task.seal(records, &[], &[]));
            self.producer.commit(log).await?;
            self.writers
                .commit(&effects.writes, effects.position, settled)
                .await?;
            return Ok(());
        }
        let refusals = self
            .writers
            .commit(&effects.writes, effects.position, settled)
            .await?;
        if !effects.writes.is_empty() {
            self.is_refused = !refusals.is_empty();
        }
        let committed: Vec<usize> = effects.writes.iter().map(|write| write.output).collect();
        let mut log = effects.log;
        if sabotage::is(Bug::ProgressApart) {
            self.producer.commit(std::mem::take(&mut log)).await?;
        }
        log.extend(self.task.seal(records, &committed, &refusals));
        Ok(self.producer.commit(log).await?)
    }

    async fn observe(&mut self) -> Result<(), AttemptError> {
        let Context {
            watermarks, log, ..
        } = self.context;
        let news = watermarks.news(log.as_ref(), &self.watermarks, &mut self.seen);
        for record in news.await? {
            self.task.observe(record);
        }
        Ok(())
    }

    fn post(&self, at_end: bool) {
        let ledgers = self.task.ledgers();
        self.context.board.update(self.key, |status| {
            status.stage = 1;
            status.next_offset = self.task.next_offset();
            status.at_end = at_end;
            status.watermark_ms = self.task.watermark_ms();
            status.records = self.records;
            status.closing_watermark_ms = self.task.closing_watermark_ms();
            status.ledgers = ledgers.outputs;
            status.step_ledgers = ledgers.steps;
            status.unblock();
        });
    }
}

async fn start_at(
    context: &Context,
    source: usize,
    partition: i32,
    offsets: Offsets,
) -> Result<StartAt, AttemptError> {
    let (log, declared) = (context.log.as_ref(), &context.plan.sources[source]);
    let first = context.first(&declared.name, partition);
    let (mut cuts, mut oldest) = (BTreeMap::new(), BTreeMap::new());
    for step in &context.plan.steps {
        let StepKind::Aggregate(aggregate) = &step.kind else {
            continue;
        };
        let promised = context.oldest(&step.name, &declared.name, partition);
        oldest.extend(promised.map(|offset| (step.name.clone(), offset)));
        let cut_ms = context
            .generations
            .steps
            .get(&step.name)
            .and_then(|generation| generation.cut_ms);
        if let Some(cut_ms) = cut_ms {
            let max_future_ms = i64::try_from(declared.max_future_ms).unwrap_or(i64::MAX);
            let since_ms = rows_from(aggregate.window, cut_ms).saturating_sub(max_future_ms);
            cuts.insert(
                step.name.clone(),
                log.offset_at(&declared.topic, partition, since_ms).await?,
            );
        }
    }
    Ok(StartAt {
        earliest: offsets.earliest,
        first: first.unwrap_or(offsets.earliest),
        cuts,
        oldest,
    })
}

/// Where reading begins so that deduplications know their horizon when the task's own first record comes.
async fn warm_up_from(
    log: &dyn Log,
    topic: &str,
    partition: i32,
    task: &SourceTask,
    earliest: i64,
) -> Result<i64, LogError> {
    let at = task.next_offset();
    let Some(horizon_ms) = task
        .horizon_ms()
        .filter(|_| at > earliest && !sabotage::is(Bug::ForgottenKeys))
    else {
        return Ok(task.append_times_from().max(earliest).min(at));
    };
    let mut probe = log.reader(topic, partition, at).await?;
    let first = first_record(probe.as_mut()).await?;
    // With no record there yet, the next one comes after the last of those before it.
    let append_time_ms = match first {
        Some(record) => task
            .last_append_ms()
            .map_or(record.append_time_ms, |ms| ms.max(record.append_time_ms)),
        None => task.last_append_ms().unwrap_or(i64::MIN),
    };
    let since_ms = append_time_ms.saturating_sub(i64::try_from(horizon_ms).unwrap_or(i64::MAX));
    Ok(log
        .offset_at(topic, partition, since_ms)
        .await?
        .min(task.append_times_from())
        .clamp(earliest, at))
}
