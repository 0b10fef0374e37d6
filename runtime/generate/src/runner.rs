//! Events into the log, at their rate.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewheel_crds::EventSourceSpec;
use tidewheel_ingest::{Checker, Source};
use tidewheel_log::{Clock, Log, NewRecord, Producer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::RunnerError;
use crate::generator::Generator;
use crate::pace::Pacer;
use crate::position::{self, Found, Position};

/// Most events in a transaction.
const BATCH_EVENTS: usize = 1_000;
/// No event is added to a transaction from this size on.
const BATCH_BYTES: usize = 1 << 20;
/// The shortest time between two transactions that are not full: events are then made a few at a time.
const TICK: Duration = Duration::from_millis(20);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a step may go on after the runner was told to stop.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

/// Makes the events of one EventSource and appends them to its topic.
///
/// Its position is committed together with the events, so each event is in the log once, however often a runner is killed
/// and opened again. Of several runners for one EventSource the newest works and the others fail as fenced.
///
/// Where the events that are there were made by another declaration (another seed, other columns or values), numbers go on and
/// the declared count is made anew: a changed generator makes events again, and none of their ids is one that is there already.
pub struct Runner {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    topic: String,
    positions: String,
    generator: Generator,
    /// Whether the log holds the generator's declaration.
    is_declared: bool,
    checker: Checker,
    pacer: Pacer,
    /// None where the last commit's outcome is unknown.
    producer: Option<Box<dyn Producer>>,
    made: watch::Sender<u64>,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Events that were committed.
    pub made: usize,
    /// How long there is nothing more to do; none when all events were made.
    pub rest: Option<Duration>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All declared events were made.
    Finished,
    /// It was told to stop.
    Stopped,
}

impl Runner {
    /// Takes the generation of `source`'s events over and goes on where it was left.
    ///
    /// `spec` is the EventSource of `source`. `positions` is a compacted topic of one partition, for the position of this
    /// generator alone. Both topics exist.
    ///
    /// # Errors
    /// [`RunnerError`]; try again where [`RunnerError::is_transient`].
    pub async fn open(
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        spec: &EventSourceSpec,
        source: &Source,
        positions: &str,
    ) -> Result<Self, RunnerError> {
        let generator = Generator::new(spec)?;
        let mut runner = Self {
            topic: source.topic.clone(),
            positions: positions.to_owned(),
            checker: Checker::new(source),
            pacer: Pacer::new(generator.events_per_second(), clock.now_ms()),
            producer: None,
            is_declared: false,
            made: watch::Sender::new(0),
            log,
            clock,
            generator,
        };
        let producer = runner.take_over().await?;
        runner.producer = Some(producer);
        Ok(runner)
    }

    /// How many events were made in all, since ever.
    pub fn made(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    /// Makes the events that are due by the clock, up to a full transaction.
    ///
    /// # Errors
    /// [`RunnerError`]; where [`RunnerError::is_transient`], the next step finds out what became of this one's events.
    pub async fn step(&mut self) -> Result<Step, RunnerError> {
        let mut producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.take_over().await?,
        };
        let first = self.generator.position();
        let now_ms = self.clock.now_ms();
        let events = self.due(now_ms);
        let mut records = self.records(&events, first)?;
        if !records.is_empty() {
            let next = self.generator.position();
            let position = Position::new(self.generator.first(), next);
            records.push(position.record(&self.positions, &self.topic)?);
            if !self.is_declared {
                let declaration = self.generator.declaration();
                records.push(position::declaration_record(
                    &self.positions,
                    &self.topic,
                    declaration,
                ));
            }
            producer.commit(records).await?;
            self.is_declared = true;
            self.made.send_replace(next);
        }
        self.producer = Some(producer);
        Ok(Step {
            made: events.len(),
            rest: self.rest(now_ms),
        })
    }

    /// Makes events until all are made or `stop`; waits out a log that is unavailable.
    ///
    /// # Errors
    /// [`RunnerError`], none of them transient.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Ended, RunnerError> {
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            let Some(step) = in_time(self.step(), &stop).await else {
                return Ok(Ended::Stopped);
            };
            let rest = match step {
                Ok(Step { rest: None, .. }) => return Ok(Ended::Finished),
                Ok(Step {
                    rest: Some(rest), ..
                }) => {
                    pause = FIRST_PAUSE;
                    rest
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(topic = self.topic, %error, "generated events wait for the log");
                    let rest = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    rest
                }
                Err(error) => return Err(error),
            };
            if rest.is_zero() {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(Ended::Stopped)
    }

    /// Goes on where earlier runners were.
    async fn take_over(&mut self) -> Result<Box<dyn Producer>, RunnerError> {
        let taken = position::take_over(self.log.as_ref(), &self.positions, &self.topic);
        let (producer, found) = taken.await?;
        let Found {
            position,
            declaration,
        } = found;
        let next = position.map_or(0, |position| position.next_event);
        self.is_declared = declaration.as_ref() == Some(self.generator.declaration());
        let first = match position {
            Some(position) if self.is_declared => position.first_event,
            _ => next,
        };
        self.generator.resume(first, next);
        self.made.send_replace(next);
        Ok(producer)
    }

    fn due(&mut self, now_ms: i64) -> Vec<Bytes> {
        let mut events = Vec::new();
        let mut size_bytes = 0;
        while events.len() < BATCH_EVENTS
            && size_bytes < BATCH_BYTES
            && !self.generator.is_finished()
        {
            let event = self
                .pacer
                .take(now_ms)
                .and_then(|due_ms| self.generator.next(due_ms));
            let Some(event) = event else { break };
            size_bytes += event.len();
            events.push(event);
        }
        events
    }

    /// The events as ingestion would have stored them.
    fn records(&mut self, events: &[Bytes], first: u64) -> Result<Vec<NewRecord>, RunnerError> {
        let checked = self.checker.check(events);
        match checked.refused.into_iter().next() {
            None => Ok(checked.records),
            Some(refused) => Err(RunnerError::Refused {
                index: first + u64::from(refused.index),
                field: refused
                    .field
                    .map(|name| format!("{name}: "))
                    .unwrap_or_default(),
                reason: refused.reason,
            }),
        }
    }

    fn rest(&self, now_ms: i64) -> Option<Duration> {
        if self.generator.is_finished() {
            return None;
        }
        let ahead_ms = self.pacer.next_due_ms().saturating_sub(now_ms);
        Some(match u64::try_from(ahead_ms) {
            Ok(ahead_ms) if ahead_ms > 0 => Duration::from_millis(ahead_ms).max(TICK),
            _ => Duration::ZERO,
        })
    }
}

/// A step to its end, or none where it was told to stop and the log does not answer: whoever goes on finds out what became of it.
async fn in_time<T>(step: impl Future<Output = T>, stop: &CancellationToken) -> Option<T> {
    let too_long = async {
        stop.cancelled().await;
        tokio::time::sleep(FINISH_WITHIN).await;
    };
    tokio::select! {
        biased;
        done = step => Some(done),
        () = too_long => None,
    }
}
