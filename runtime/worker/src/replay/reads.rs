//! What is read of each partition of the sources.
use tidewheel_engine::window::{closes_at, first_from};
use tidewheel_engine::wire::state::SourceProgress;
use tidewheel_log::{Log, LogError, Offsets};
use tidewheel_planner::generations::Allotment;
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Plan, Source, StepKind};

use super::reach::{reaches_back_to, within_ms};
use super::{ReplayError, ReplayedOutput};
use crate::context::sources_of;
use crate::progress;

/// What is read of a partition of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The source.
    pub source: String,
    /// Its topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset whose record may count.
    pub from: i64,
    /// The first offset that is not read any more.
    pub to: i64,
    /// The oldest offset that must be there to the end: deduplications read from before `from`.
    pub(super) kept_from: i64,
}

impl Read {
    /// Reads what the other one does as well.
    pub(super) fn widen(&mut self, other: &Self) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.kept_from = self.kept_from.min(other.kept_from);
    }
}

/// What is to be read of every partition of every source, in their order. Fails where the topics do not reach far enough back.
pub(super) async fn reads(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
    outputs: &[ReplayedOutput],
    known: &Allotment,
) -> Result<Vec<Read>, ReplayError> {
    let mut reads = Vec::new();
    let mut gone: Option<ReplayError> = None;
    for (index, source) in plan.sources.iter().enumerate() {
        let steps = fed_by(plan, outputs, index);
        let info = log.topic(&source.topic).await?;
        let info = info.ok_or_else(|| LogError::UnknownPartition {
            topic: source.topic.clone(),
            partition: 0,
        })?;
        for partition in 0..info.partitions {
            let offsets = log.offsets(&source.topic, partition).await?;
            let progress = progress::of_source(log, names, &source.name, partition).await?;
            let first = first_offset(source, partition, known, progress.as_ref());
            let (place, bounds) = ((source, partition), (first, offsets.earliest));
            let reaches_ms = reaches_back_to(log, place, progress.as_ref(), bounds).await?;
            for fed in &steps {
                // Deduplications have to know what came `within` before.
                let reaches_ms = reaches_ms.map(|ms| ms.saturating_add(fed.within_ms));
                if let Some(reaches_ms) = reaches_ms.filter(|&ms| ms > fed.first_ms) {
                    let found = fed.out_of_reach(place, bounds, reaches_ms);
                    gone = Some(farther(gone, found));
                }
            }
            reads.push(read(log, place, offsets, (first, progress.as_ref()), &steps).await?);
        }
    }
    match gone {
        Some(gone) => Err(gone),
        None => Ok(reads),
    }
}

/// A replayed step that a source feeds.
struct Fed {
    window: tidewheel_planner::plan::Window,
    /// When its first window starts, ms.
    first_ms: i64,
    /// The watermark at which its last window takes no more rows, ms.
    closes_ms: i64,
    /// The horizon of the deduplications before it, ms.
    within_ms: i64,
}

impl Fed {
    fn out_of_reach(
        &self,
        (source, partition): (&Source, i32),
        (first, earliest): (i64, i64),
        reaches_ms: i64,
    ) -> ReplayError {
        ReplayError::OutOfReach {
            topic: source.topic.clone(),
            partition,
            earliest,
            first,
            from_ms: first_from(self.window, reaches_ms),
        }
    }
}

fn fed_by(plan: &Plan, outputs: &[ReplayedOutput], source: usize) -> Vec<Fed> {
    let mut fed = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let StepKind::Aggregate(aggregate) = &step.kind else {
            continue;
        };
        let replayed = outputs.iter().find(|output| output.step == step.name);
        let Some(replayed) = replayed.filter(|_| sources_of(plan, index).contains(&source)) else {
            continue;
        };
        fed.push(Fed {
            window: aggregate.window,
            first_ms: *replayed.starts_ms.start(),
            closes_ms: closes_at(aggregate.window, aggregate.late, *replayed.starts_ms.end()),
            within_ms: within_ms(plan, index),
        });
    }
    fed
}

/// Where the pipeline began to read a partition.
fn first_offset(
    source: &Source,
    partition: i32,
    known: &Allotment,
    progress: Option<&SourceProgress>,
) -> i64 {
    let allotted = || {
        let first = &known.sources.get(&source.name)?.first;
        first.get(usize::try_from(partition).ok()?).copied()
    };
    let began = progress.map(|progress| progress.start_offset);
    began.or_else(allotted).unwrap_or(0)
}

async fn read(
    log: &dyn Log,
    (source, partition): (&Source, i32),
    Offsets { earliest, end }: Offsets,
    (first, progress): (i64, Option<&SourceProgress>),
    steps: &[Fed],
) -> Result<Read, LogError> {
    let oldest = first.max(earliest).min(end);
    let place = |from: i64, to: i64, kept_from: i64| Read {
        source: source.name.clone(),
        topic: source.topic.clone(),
        partition,
        from,
        to: to.max(from),
        kept_from,
    };
    let Some(first_ms) = steps.iter().map(|fed| fed.first_ms).min() else {
        // Nothing that is replayed comes from it.
        return Ok(place(end, end, end));
    };
    let max_future_ms = i64::try_from(source.max_future_ms).unwrap_or(i64::MAX);
    let since_ms = first_ms.saturating_sub(max_future_ms);
    let from = log.offset_at(&source.topic, partition, since_ms).await?;
    let from = from.clamp(oldest, end);
    let within_ms = steps.iter().map(|fed| fed.within_ms).max().unwrap_or(0);
    let kept_from = match within_ms {
        0 => from,
        _ => {
            let horizon_ms = since_ms.saturating_sub(within_ms);
            let since = log.offset_at(&source.topic, partition, horizon_ms).await?;
            since.clamp(earliest.min(from), from)
        }
    };
    let closes_ms = steps
        .iter()
        .map(|fed| fed.closes_ms)
        .max()
        .unwrap_or(i64::MAX);
    let to = closed_at(source, progress, closes_ms).map_or(end, |closed| closed.min(end));
    Ok(place(from, to, kept_from))
}

/// The first position that the pipeline remembers at which the watermark is at least `closes_ms`: what follows there is late.
///
/// The source judges by the `maxOutOfOrder` that it has now. Where the pipeline's was less, its watermarks were farther on.
fn closed_at(source: &Source, progress: Option<&SourceProgress>, closes_ms: i64) -> Option<i64> {
    let progress = progress?;
    let least_ms = progress.out_of_order.map_or(0, |known| known.least_ms);
    let farther_ms = (source.out_of_order_ms() - least_ms).max(0);
    let closes_ms = closes_ms.saturating_add(farther_ms);
    let closed = progress.checkpoints.iter().find(|checkpoint| {
        let watermark_ms = checkpoint.position.watermark_ms;
        watermark_ms.is_some_and(|watermark_ms| watermark_ms >= closes_ms)
    });
    closed.map(|checkpoint| checkpoint.position.next_offset)
}

/// The one of two obstacles that leaves less: both have to be out of the way.
fn farther(known: Option<ReplayError>, found: ReplayError) -> ReplayError {
    let from_ms = |error: &ReplayError| match error {
        ReplayError::OutOfReach { from_ms, .. } => from_ms.unwrap_or(i64::MAX),
        _ => i64::MIN,
    };
    match known {
        Some(known) if from_ms(&known) >= from_ms(&found) => known,
        _ => found,
    }
}
