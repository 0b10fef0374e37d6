//! Acknowledges what a task waits for.
use std::time::Duration;

use tidewheel_engine::wire::acknowledgement::{Acknowledged, Acknowledgement, Place};
use tidewheel_log::{Log, LogError};
use tidewheel_planner::names::PipelineNames;

use crate::error::WorkerError;
use crate::recovery::take_over;

/// How often the task is taken over once more where its worker has just tried again.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Writes into the state of a task that what it waits for is acknowledged, and whether it waits for exactly that. `generation`: of an
/// aggregate step's task.
///
/// Takes the task over for that, as a worker would: so nobody else writes its state meanwhile. Its worker begins again.
///
/// # Errors
/// The log failed, or what stands in the state cannot be read. [`LogError::Unavailable`]: it is not known whether it was written.
pub async fn acknowledge(
    log: &dyn Log,
    names: &PipelineNames,
    (place, generation): (&Place, Option<i64>),
    acknowledged: &Acknowledged,
) -> Result<bool, WorkerError> {
    let (input, partition) = (place.input.as_str(), place.partition);
    let (id, home) = (names.task(input, partition), names.state(input));
    let mut tries = 0;
    loop {
        let (mut producer, state) = take_over(log, &id, &home, partition).await?;
        let known = Acknowledgement::read(&state, generation)?;
        let Some(answer) = known.answer(&home, place, acknowledged) else {
            return Ok(false);
        };
        tries += 1;
        match producer.commit(vec![answer]).await {
            Err(LogError::Fenced { .. }) if tries < TRIES => tokio::time::sleep(PAUSE).await,
            committed => return Ok(committed.map(|()| true)?),
        }
    }
}
