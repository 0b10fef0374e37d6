//! Holders of transactional ids.
use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use tidewheel_kafka::Connection;
use tidewheel_log::{Home, LogError, NewRecord, Producer};

use crate::{
    close,
    error::ended,
    holder::{Holder, Outcome, PROMPT},
    leftovers::Leftovers,
    lookup::Lookup,
    manifest::Manifest,
    statistics::Statistics,
};

/// A holder of a transactional id on Kafka.
pub(crate) struct KafkaProducer {
    lookup: Arc<Lookup>,
    leftovers: Leftovers,
    /// None until it was settled.
    home: Option<Home>,
    /// None once an error or an abandoned commit has left the client in a state that only another one can follow.
    holder: Option<Arc<Holder>>,
    transactional_id: String,
}

impl KafkaProducer {
    /// Takes the id over.
    pub(crate) async fn take_over(
        connection: &Connection,
        statistics: &Statistics,
        lookup: Arc<Lookup>,
        leftovers: Leftovers,
        transactional_id: &str,
    ) -> Result<Self, LogError> {
        let (connection, statistics) = (connection.clone(), statistics.clone());
        let id = transactional_id.to_owned();
        let taken =
            tokio::task::spawn_blocking(move || Holder::take_over(&connection, &statistics, &id));
        let holder = taken.await.map_err(|error| ended(&error))??;
        Ok(Self {
            lookup,
            leftovers,
            home: None,
            holder: Some(Arc::new(holder)),
            transactional_id: transactional_id.to_owned(),
        })
    }

    /// Does something that takes a transaction from its begin to its end.
    async fn work(
        &mut self,
        transaction: impl FnOnce(&Holder) -> Outcome + Send + 'static,
    ) -> Result<(), LogError> {
        // Taken, so that a commit that nobody waits for any more is not followed by another one.
        let Some(holder) = self.holder.take() else {
            let id = &self.transactional_id;
            return Err(LogError::Unavailable {
                reason: format!(
                    "what became of a commit under {id} is not known: take the id over again"
                ),
            });
        };
        let working = holder.clone();
        let work = tokio::task::spawn_blocking(move || transaction(&working));
        let outcome = work.await.map_err(|error| ended(&error))?;
        if outcome.is_usable {
            self.holder = Some(holder);
        } else {
            drop(close::elsewhere(holder));
        }
        if let Err(LogError::UnknownPartition { topic, .. }) = &outcome.result {
            self.lookup.forget(topic);
        }
        outcome.result
    }

    /// Whether the broker ended the last transaction, looked at where nobody else leaves one open.
    async fn check_that_it_ended(&mut self) -> Result<(), LogError> {
        let Some(home) = &self.home else {
            return Ok(());
        };
        if !self.leftovers.is_open(&home.topic, home.partition).await? {
            return Ok(());
        }
        // Nobody commits after a transaction that the broker did not end.
        drop(close::elsewhere(self.holder.take()));
        let id = &self.transactional_id;
        Err(LogError::Unavailable {
            reason: format!(
                "the broker took a transaction under {id} for complete and did not end it (KAFKA-20734): take the id over again"
            ),
        })
    }
}

#[async_trait]
impl Producer for KafkaProducer {
    async fn commit(&mut self, mut records: Vec<NewRecord>) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        if self.holder.is_some() {
            self.lookup.place(&mut records).await?;
            self.lookup.check_all(&records).await?;
        }
        if let Some(home) = &self.home {
            Manifest::of(&records).declare(&mut records, home);
        }
        let began = Instant::now();
        self.work(move |holder| holder.commit(&records)).await?;
        if began.elapsed() > PROMPT {
            self.check_that_it_ended().await?;
        }
        Ok(())
    }

    async fn settle(&mut self, home: Home) -> Result<(), LogError> {
        let throwaways = self.leftovers.throwaways(&home).await?;
        self.home = Some(home);
        if throwaways.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            id = self.transactional_id,
            partitions = throwaways.len(),
            "a transaction that the broker did not end is aborted"
        );
        self.work(move |holder| holder.abandon(&throwaways)).await?;
        self.check_that_it_ended().await
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        drop(close::elsewhere(self.holder.take()));
    }
}
