//! One attempt at the task of a partition of partials: take it over, go on from its state, until it is told to stop or something fails.
use std::collections::BTreeMap;

use tidewheel_engine::Effects;
use tidewheel_engine::stage2::{RecoveredStep, StepSetup, StepTask};
use tidewheel_engine::wire::acknowledgement::Acknowledgement;
use tidewheel_engine::wire::state::StepKey;
use tidewheel_log::{Fetched, Producer, Reader};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::AttemptError;
use crate::outdated::outdated;
use crate::pace::Pace;
use crate::recovery::{leave_word, take_over};
use crate::status::TaskKey;
use crate::table_writers::TableWriters;

/// How often, in ms, the list of open windows is made for the status.
const LOOK_EVERY_MS: i64 = 200;
/// How long, in ms, the progress may leave out partials that have only gone into open windows. A transaction costs the log about the
/// same, however little it says, and whoever goes on from an older progress reads those partials once more and comes to the same.
const CATCH_UP_EVERY_MS: i64 = 1_000;

/// The task of a partition of partials at work.
pub(crate) struct StepAttempt<'a> {
    context: &'a Context,
    key: &'a TaskKey,
    stop: &'a CancellationToken,
    topic: String,
    producer: Box<dyn Producer>,
    writers: TableWriters<'a>,
    task: StepTask,
    reader: Box<dyn Reader>,
    pace: Pace,
    /// Where partials begin that the newest snapshot leaves to be read.
    retained_from: i64,
    looked_at_ms: i64,
    committed_at_ms: i64,
    /// Whether partials were taken that the progress in the log leaves out.
    is_ahead: bool,
    records: u64,
}

impl<'a> StepAttempt<'a> {
    /// Takes the task over. Fences whoever had it before.
    pub(crate) async fn begin(
        context: &'a Context,
        step: usize,
        key: &'a TaskKey,
        stop: &'a CancellationToken,
    ) -> Result<Self, AttemptError> {
        let (log, partition) = (context.log.as_ref(), key.1);
        let generation = context.generations.steps.get(&key.0).copied();
        let number = generation.map_or(1, |generation| generation.number);
        let cut_ms = generation.and_then(|generation| generation.cut_ms);
        // Where nothing of the generations before is final, nothing of them stays.
        let cut_ms = cut_ms.or((number > 1).then_some(i64::MIN));
        let topic = context.names.partials(&key.0, number);
        let (id, home) = (context.transactional_id(key), context.names.state(&key.0));
        let (mut producer, state) = take_over(log, &id, &home, partition).await?;
        let setup = StepSetup {
            plan: context.plan.clone(),
            generations: context.generations.clone(),
            step,
            partition,
            feeders: context.feeders(&key.0),
            snapshot_every: context.limits.snapshot_every,
        };
        let outputs: Vec<_> = StepTask::tables(&setup)
            .into_iter()
            .map(|output| (output, number, cut_ms))
            .collect();
        let writers = TableWriters::open(context, key, stop, &outputs).await?;
        let earliest = log.offsets(&topic, partition).await?.earliest;
        let is_new = !state.contains_key(&StepKey::Progress.encode(number));
        let outdated = match cut_ms.filter(|_| is_new) {
            Some(cut_ms) => outdated(log, &setup, number, cut_ms).await?,
            None => BTreeMap::new(),
        };
        let acknowledgement = Acknowledgement::read(&state, Some(number))?;
        let begun = StepTask::begin(
            setup,
            &RecoveredStep {
                state,
                sinks: writers.positions(),
                refusals: writers.refusals(),
                earliest,
                outdated,
            },
        );
        let begun = leave_word(begun, producer.as_mut(), &home, &acknowledgement);
        let task = begun.await?;
        let reader = log.reader(&topic, partition, task.next_offset()).await?;
        Ok(Self {
            context,
            key,
            stop,
            topic,
            producer,
            writers,
            task,
            reader,
            pace: Pace::new(context.limits.batch_records),
            retained_from: earliest,
            looked_at_ms: 0,
            committed_at_ms: context.timer.now_ms(),
            is_ahead: false,
            records: 0,
        })
    }

    /// Works until told to stop.
    pub(crate) async fn run(&mut self) -> Result<(), AttemptError> {
        self.work().await?;
        // Who reads them again comes to the same; that it need not is all that this is for.
        if self.is_ahead {
            self.context.last_word(self.key, self.catch_up()).await;
        }
        Ok(())
    }

    async fn work(&mut self) -> Result<(), AttemptError> {
        self.take(&Fetched {
            next_offset: self.task.next_offset(),
            ..Fetched::default()
        })
        .await?;
        while !self.stop.is_cancelled() {
            let (context, most) = (self.context, self.pace.records());
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
            self.trim().await?;
            self.post(caught_up);
            context.pause(began_ms, records, self.stop).await;
        }
        Ok(())
    }

    async fn take(&mut self, fetched: &Fetched) -> Result<(), AttemptError> {
        let mut rest = fetched.records.as_slice();
        loop {
            let process = |now_ms| self.task.process(rest, fetched.next_offset, now_ms);
            let effects = self.pace.measure(self.context.timer.as_ref(), process)?;
            self.records += effects.consumed as u64;
            self.context.board.update(self.key, |status| {
                status.work.records += effects.consumed as u64;
            });
            rest = &rest[effects.consumed..];
            self.is_ahead |= effects.consumed > 0;
            let says_something = !effects.log.is_empty() || !effects.writes.is_empty();
            if says_something || self.task.owes_letters() || self.is_far_ahead() {
                self.commit(effects).await?;
            }
            if rest.is_empty() && self.task.next_offset() >= fetched.next_offset {
                return Ok(());
            }
        }
    }

    /// Whether the progress in the log is due.
    fn is_far_ahead(&self) -> bool {
        let since_ms = self.context.timer.now_ms() - self.committed_at_ms;
        self.is_ahead && since_ms >= CATCH_UP_EVERY_MS
    }

    /// Commits what was taken.
    async fn catch_up(&mut self) -> Result<(), AttemptError> {
        let effects =
            self.task
                .process(&[], self.task.next_offset(), self.context.timer.now_ms())?;
        self.commit(effects).await
    }

    async fn commit(&mut self, effects: Effects) -> Result<(), AttemptError> {
        let began_ms = self.context.timer.now_ms();
        let refusals = self
            .writers
            .commit(&effects.writes, effects.position, self.task.settled_below())
            .await?;
        let committed: Vec<usize> = effects.writes.iter().map(|write| write.output).collect();
        let mut log = effects.log;
        log.extend(self.task.seal(&committed, &refusals));
        if !log.is_empty() {
            self.producer.commit(log).await?;
        }
        self.is_ahead = false;
        self.committed_at_ms = self.context.timer.now_ms();
        self.context.committed(self.key, began_ms);
        Ok(())
    }

    /// Lets the log forget the partials that the newest snapshot covers.
    async fn trim(&mut self) -> Result<(), AttemptError> {
        let retained = self.task.retained_from();
        if retained <= self.retained_from {
            return Ok(());
        }
        // A commit that was acknowledged may still be undone by an outage, but none of those before the last one.
        let below = std::mem::replace(&mut self.retained_from, retained);
        let log = &self.context.log;
        Ok(log.delete_below(&self.topic, self.key.1, below).await?)
    }

    fn post(&mut self, at_end: bool) {
        let now_ms = self.context.timer.now_ms();
        let look = at_end || now_ms - self.looked_at_ms >= LOOK_EVERY_MS;
        let windows = look.then(|| (self.task.open_windows(), self.task.state_bytes()));
        if look {
            self.looked_at_ms = now_ms;
        }
        self.context.board.update(self.key, |status| {
            status.stage = 2;
            status.next_offset = self.task.next_offset();
            status.at_end = at_end;
            status.watermark_ms = self.task.watermark_ms();
            status.records = self.records;
            status.ledgers = self.task.ledgers();
            status.step_ledgers = self.task.step_ledgers();
            if let Some((open_windows, state_bytes)) = windows {
                status.open_windows = open_windows;
                status.state_bytes = state_bytes;
            }
            status.unblock();
        });
    }
}
