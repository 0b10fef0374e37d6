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
    places::Places,
    statistics::Statistics,
};

/// A holder of a transactional id on Kafka.
pub(crate) struct KafkaProducer {
    lookup: Arc<Lookup>,
    leftovers: Leftovers,
    /// None until it was settled.
    home: Option<Home>,
    /// Where the last transaction wrote, until it was seen that it has ended, and when it was committed.
    newest: Places,
    ended_at: Instant,
    /// Where earlier ones wrote behind something of somebody else's that stays open, so that nobody can tell.
    doubtful: Places,
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
            newest: Places::default(),
            ended_at: Instant::now(),
            doubtful: Places::default(),
            holder: Some(Arc::new(holder)),
            transactional_id: transactional_id.to_owned(),
        })
    }

    /// Does something that takes a transaction from its begin to its end. Where that wrote.
    async fn work(
        &mut self,
        transaction: impl FnOnce(&Holder) -> Outcome + Send + 'static,
    ) -> Result<Places, LogError> {
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

    /// Where transactions wrote of which it is not certain that the broker has ended them.
    fn unended(&self) -> Places {
        let mut unended = self.doubtful.clone();
        unended.add_all(&self.newest);
        unended
    }

    /// Looks back at what was committed, where an outage may have come since.
    async fn look_back(&mut self) -> Result<(), LogError> {
        let mut unended = self.unended();
        if self.leftovers.await_ends(&mut unended).await? {
            return Err(self.forgotten());
        }
        self.doubtful = unended;
        self.newest = Places::default();
        Ok(())
    }

    /// Looks back before a transaction is begun, which would share the fate of one that was forgotten. What stays at home goes with it
    /// altogether, as if it had never been committed.
    async fn look_back_if_due(&mut self, home: &Home) -> Result<(), LogError> {
        let is_due = self.ended_at.elapsed() > PROMPT;
        if is_due && self.holder.is_some() && !self.unended().manifest().stays_at(home) {
            self.look_back().await?;
        }
        Ok(())
    }

    /// Nobody commits after a transaction that the broker did not end.
    fn forgotten(&mut self) -> LogError {
        drop(close::elsewhere(self.holder.take()));
        let id = &self.transactional_id;
        LogError::Unavailable {
            reason: format!(
                "the broker took a transaction under {id} for complete and did not end it (KAFKA-20734): take the id over again"
            ),
        }
    }

    /// Ends what is committed at home, and open elsewhere.
    async fn commit_leftovers(&mut self, endings: Vec<NewRecord>) -> Result<(), LogError> {
        if endings.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            id = self.transactional_id,
            partitions = endings.len(),
            "a committed transaction that the broker did not end is ended"
        );
        let began = Instant::now();
        self.newest = self.work(move |holder| holder.commit(&endings)).await?;
        self.ended_at = Instant::now();
        if began.elapsed() > PROMPT {
            return Err(LogError::Unavailable {
                reason: "ending a transaction took so long that an outage may have come between: take the id over again".to_owned(),
            });
        }
        self.look_back().await
    }

    /// Ends what is not committed at home.
    async fn abort_leftovers(&mut self, throwaways: Vec<NewRecord>) -> Result<(), LogError> {
        let Some(home) = self.home.clone().filter(|_| !throwaways.is_empty()) else {
            return Ok(());
        };
        tracing::warn!(
            id = self.transactional_id,
            partitions = throwaways.len(),
            "a transaction that the broker did not end is aborted"
        );
        self.work(move |holder| holder.abandon(&throwaways)).await?;
        // Nobody else leaves anything open there.
        let mut at_home = Manifest::default();
        at_home.add(&home.topic, home.partition);
        match self.leftovers.open(&at_home).await?.is_empty() {
            true => Ok(()),
            false => Err(self.forgotten()),
        }
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
        let home = self.home.clone();
        if let Some(home) = &home {
            self.look_back_if_due(home).await?;
            let before = self.unended().manifest();
            Manifest::of(&records).declare(&before, &mut records, home);
        }
        let began = Instant::now();
        let written = self.work(move |holder| holder.commit(&records)).await?;
        self.ended_at = Instant::now();
        if home.is_none() {
            return Ok(()); // It leaves nothing to anybody.
        }
        if began.elapsed() > PROMPT {
            self.newest.add_all(&written);
            return self.look_back().await;
        }
        self.newest = written;
        Ok(())
    }

    async fn settle(&mut self, home: Home) -> Result<(), LogError> {
        let amends = self.leftovers.amends(&home).await?;
        self.home = Some(home);
        self.commit_leftovers(amends.endings).await?;
        self.abort_leftovers(amends.throwaways).await
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        drop(close::elsewhere(self.holder.take()));
    }
}
