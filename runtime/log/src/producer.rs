//! A holder of a transactional id.
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Home, LogError, NewRecord, Producer, shared::Shared};

/// Who may commit.
pub(crate) struct Holder {
    pub(crate) transactional_id: String,
    pub(crate) epoch: u64,
}
/// A holder of a transactional id of the embedded log.
pub(crate) struct EmbeddedProducer {
    shared: Arc<Shared>,
    holder: Holder,
}

impl EmbeddedProducer {
    /// Takes the id over. An earlier holder's commit is either done or will be refused: commits hold the same lock.
    pub(crate) fn new(shared: Arc<Shared>, transactional_id: &str) -> Self {
        let epoch = {
            let mut appender = shared.appender.lock();
            let epoch = appender
                .epochs
                .entry(transactional_id.to_owned())
                .or_default();
            *epoch += 1;
            *epoch
        };
        Self {
            shared,
            holder: Holder {
                transactional_id: transactional_id.to_owned(),
                epoch,
            },
        }
    }
}

#[async_trait]
impl Producer for EmbeddedProducer {
    async fn commit(&mut self, records: Vec<NewRecord>) -> Result<(), LogError> {
        let chunks = self.shared.route(&records)?;
        let gap = i64::from(self.shared.options.transaction_markers);
        self.shared.write(chunks, gap, Some(&self.holder)).map(drop)
    }

    async fn settle(&mut self, _home: Home) -> Result<(), LogError> {
        Ok(()) // A commit writes all of its records or none, under one lock.
    }
}
