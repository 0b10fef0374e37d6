//! Reads what tasks left in the log, and leaves word there of what keeps a task from going on.
use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_engine::EngineError;
use tidewheel_engine::wire::acknowledgement::Acknowledgement;
use tidewheel_log::{Log, LogError, Producer, keep_newest, read_to_end};

use crate::error::AttemptError;

/// The newest value of every key of a partition.
pub(crate) type State = BTreeMap<Bytes, Bytes>;

/// Takes over the transactional id of a task, and reads the state that its last owner left.
pub(crate) async fn take_over(
    log: &dyn Log,
    transactional_id: &str,
    topic: &str,
    partition: i32,
) -> Result<(Box<dyn Producer>, State), LogError> {
    let mut state = State::new();
    let each = |record| keep_newest(&mut state, record);
    let producer = tidewheel_log::take_over(log, transactional_id, (topic, partition), each);
    let producer = producer.await?;
    Ok((producer, state))
}

/// The state in a partition of a compacted topic, read to its end.
pub(crate) async fn read_compacted(
    log: &dyn Log,
    topic: &str,
    partition: i32,
) -> Result<State, LogError> {
    let mut state = State::new();
    let each = |record| keep_newest(&mut state, record);
    read_to_end(log, topic, partition, each).await?;
    Ok(state)
}

/// Where a task cannot begin before something is acknowledged, leaves word of that in its state, once: whoever is to acknowledge it finds it
/// there. Passes the failure on.
pub(crate) async fn leave_word<T>(
    begun: Result<T, EngineError>,
    producer: &mut dyn Producer,
    state_topic: &str,
    known: &Acknowledgement,
) -> Result<T, AttemptError> {
    if let Err(EngineError::Unacknowledged(waits)) = &begun
        && let Some(word) = known.wait(state_topic, &waits.place, &waits.missing)
    {
        producer.commit(vec![word]).await?;
    }
    Ok(begun?)
}
