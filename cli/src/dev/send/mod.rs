//! `--send`: plays files into sources.
mod cut;
mod file;
mod position;
mod target;

use std::num::NonZeroU32;
use std::time::Duration;

use futures::future::try_join_all;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tidewheel_log::{Home, Log};
use tokio::time::Instant;

use crate::failure::Failure;
use file::{Batch, Feed};
use position::Position;
pub(crate) use position::SENDS_TOPIC;
pub(crate) use target::Target;

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Events, those that were refused included.
    pub(crate) events: u64,
    /// Events that ingestion would have refused. They are in the log as they came, and become dead letters.
    pub(crate) refused: u64,
    /// Events that were sent by a run before this one.
    pub(crate) before: u64,
}

/// Plays all files: those for one source one after the other, sources side by side, so that none falls behind the others. Progress is shown on a
/// terminal only.
pub(crate) async fn send_all(
    log: &dyn Log,
    targets: &[Target],
    rate: Option<NonZeroU32>,
    shows_progress: bool,
) -> Result<Sent, Failure> {
    let bars = MultiProgress::new();
    if !shows_progress {
        bars.set_draw_target(ProgressDrawTarget::hidden());
    }
    let mut sources: Vec<&str> = targets
        .iter()
        .map(|target| target.source.topic.as_str())
        .collect();
    sources.sort_unstable();
    sources.dedup();
    let of_source = |topic: &str| {
        let (bars, topic) = (bars.clone(), topic.to_owned());
        async move {
            let mut sent = Sent::default();
            for target in targets.iter().filter(|target| target.source.topic == topic) {
                let file = send(log, target, rate, &bars).await?;
                sent.add(file);
            }
            Ok::<_, Failure>(sent)
        }
    };
    let mut sent = Sent::default();
    try_join_all(sources.into_iter().map(of_source))
        .await?
        .into_iter()
        .for_each(|source| sent.add(source));
    Ok(sent)
}

/// Forgets how far files were sent: the next run sends them anew.
pub(crate) async fn forget_positions(log: &dyn Log, targets: &[Target]) -> Result<(), Failure> {
    for target in targets {
        log.producer(&target.transactional_id())
            .await?
            .commit(vec![Position::cleared(target)])
            .await?;
    }
    Ok(())
}

impl Sent {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.refused += other.refused;
        self.before += other.before;
    }
}

async fn send(
    log: &dyn Log,
    target: &Target,
    rate: Option<NonZeroU32>,
    bars: &MultiProgress,
) -> Result<Sent, Failure> {
    let mut producer = log.producer(&target.transactional_id()).await?;
    let home = Home {
        topic: SENDS_TOPIC.to_owned(),
        partition: 0,
        undecided_from: log.offsets(SENDS_TOPIC, 0).await?.end,
        newest_headers: Vec::new(),
    };
    let start = Position::read(log, target).await?;
    producer.settle(home).await?;
    let partitions = log
        .topic(&target.source.topic)
        .await?
        .map_or(1, |topic| topic.partitions);
    let mut feed: Feed = Feed::open(target, partitions, start, rate)?;
    let bar = bars.add(progress_bar(target, feed.size_bytes()));
    let mut position = start;
    let mut pace = Pace::new(rate);
    while let Some(batch) = feed.next().await {
        let Batch {
            mut records,
            events,
            refused,
            read_bytes,
        } = batch.map_err(|error| {
            Failure::Run(format!(
                "{}: {error}; {} events of it were sent",
                target.path.display(),
                position.events
            ))
        })?;
        position.events += events;
        position.refused += refused;
        records.push(position.record(target));
        producer.commit(records).await?;
        bar.set_position(read_bytes);
        bar.set_message(format!("{} events", position.events));
        pace.after(events).await;
    }
    bar.finish();
    Ok(Sent {
        events: position.events,
        refused: position.refused,
        before: start.events,
    })
}

/// Shows itself on a terminal only.
fn progress_bar(target: &Target, size_bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {percent:>3} %  {msg}, {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let name = target
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    ProgressBar::new(size_bytes)
        .with_style(style)
        .with_prefix(name)
}

/// Keeps to a rate, without making up for a pause.
struct Pace {
    events_per_second: Option<f64>,
    due: Instant,
}

impl Pace {
    fn new(rate: Option<NonZeroU32>) -> Self {
        Self {
            events_per_second: rate.map(|rate| f64::from(rate.get())),
            due: Instant::now(),
        }
    }

    async fn after(&mut self, events: u64) {
        let Some(events_per_second) = self.events_per_second else {
            return;
        };
        self.due = self.due.max(Instant::now() - Duration::from_secs(1))
            + Duration::from_secs_f64(events as f64 / events_per_second);
        tokio::time::sleep_until(self.due).await;
    }
}
