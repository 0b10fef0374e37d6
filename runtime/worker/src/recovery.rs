//! Reads what tasks left in the log, and leaves word there of what keeps a task from going on.
use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_engine::EngineError;
use tidewheel_engine::wire::acknowledgement::Acknowledgement;
use tidewheel_log::{Home, Log, LogError, Producer, read_to_end};

use crate::error::AttemptError;

/// The newest value of every key of a partition.
pub(crate) type State = BTreeMap<Bytes, Bytes>;

/// Takes over the transactional id of a task, and reads the state that its last owner left: what that one did not commit never will be.
pub(crate) async fn take_over(
    log: &dyn Log,
    transactional_id: &str,
    topic: &str,
    partition: i32,
) -> Result<(Box<dyn Producer>, State), LogError> {
    let mut producer = log.producer(transactional_id).await?;
    let (state, undecided_from) = read_state(log, topic, partition).await?;
    let home = Home {
        topic: topic.to_owned(),
        partition,
        undecided_from,
    };
    producer.settle(home).await?;
    Ok((producer, state))
}

/// The state in a partition of a compacted topic, read to its end.
pub(crate) async fn read_compacted(
    log: &dyn Log,
    topic: &str,
    partition: i32,
) -> Result<State, LogError> {
    let (state, _) = read_state(log, topic, partition).await?;
    Ok(state)
}

/// The same, and what comes after the transaction of its last record.
async fn read_state(log: &dyn Log, topic: &str, partition: i32) -> Result<(State, i64), LogError> {
    let mut state = State::new();
    let mut undecided_from = 0;
    read_to_end(log, topic, partition, |record| {
        undecided_from = record.offset + 2; // a marker comes right behind it
        let Some(key) = record.key else { return };
        match record.value {
            Some(value) => state.insert(key, value),
            None => state.remove(&key),
        };
    })
    .await?;
    Ok((state, undecided_from))
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
