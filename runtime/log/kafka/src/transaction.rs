//! Holders of transactional ids.
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, Producer as _},
};
use tidewheel_kafka::Connection;
use tidewheel_log::{Home, LogError, NewRecord, Producer};

use crate::{
    client::{Context, create},
    close,
    delivery::Transactional,
    error::{ended, of_record, of_transaction, unavailable},
    lookup::Lookup,
    manifest::{Manifest, declare},
    record::{outgoing, size_bytes},
    settings,
    statistics::{Role, Statistics},
    uncommitted::Uncommitted,
};

/// How long a take-over may wait for the coordinator: it lets the transaction that the last owner left end first.
const TAKE_OVER: Duration = Duration::from_secs(30);
/// How long a commit may take from its begin, a restart of a broker included.
const COMMIT: Duration = Duration::from_millis(2 * settings::TRANSACTION_TIMEOUT_MS);
/// How long an abort may take: the next owner's take-over does it as well.
const ABORT: Duration = Duration::from_secs(3);
/// A commit that took longer met with an outage, after which a broker may have forgotten to end it.
const SUSPICIOUS: Duration = Duration::from_secs(1);
/// How long the end of a transaction may take to reach its home.
const ENDED_WITHIN: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long to sleep at least between two looks at delivery reports. The binding's `poll` cannot wait for them: it takes all of
/// the time it is given, and spins through the last millisecond of it.
const STEP: Duration = Duration::from_millis(1);
/// A long wait is looked at this many times less often: a late end costs little then, and waking up costs all the time.
const PATIENT: u32 = 8;

type Client = BaseProducer<Context<Transactional>>;

/// A holder of a transactional id on Kafka.
pub(crate) struct KafkaProducer {
    lookup: Arc<Lookup>,
    uncommitted: Arc<Uncommitted>,
    /// None until it was settled.
    home: Option<Home>,
    /// None once an error or an abandoned commit has left the client in a state that only another one can follow.
    holder: Option<Arc<Holder>>,
    transactional_id: String,
}

/// The client, which blocks.
struct Holder {
    client: Client,
    transactional_id: String,
}

/// What a commit left behind.
struct Outcome {
    result: Result<(), LogError>,
    /// Whether the client can begin another transaction.
    is_usable: bool,
}

impl KafkaProducer {
    /// Takes the id over.
    pub(crate) async fn take_over(
        connection: &Connection,
        statistics: &Statistics,
        lookup: Arc<Lookup>,
        uncommitted: Arc<Uncommitted>,
        transactional_id: &str,
    ) -> Result<Self, LogError> {
        let config = settings::transactional(connection, transactional_id);
        let deliveries = Transactional::new(settings::largest_record_bytes(&config));
        let context = Context::new(statistics, Role::Transactions, transactional_id, deliveries);
        let id = transactional_id.to_owned();
        let taken = tokio::task::spawn_blocking(move || {
            let client: Client = create(&config, context)?;
            client.init_transactions(TAKE_OVER).map_err(|error| {
                client.poll(Duration::ZERO); // it may say more
                let error = of_transaction(&error, &id);
                client.context().explain(error)
            })?;
            Ok(Holder {
                client,
                transactional_id: id,
            })
        });
        let holder = taken.await.map_err(|error| ended(&error))??;
        Ok(Self {
            lookup,
            uncommitted,
            home: None,
            holder: Some(Arc::new(holder)),
            transactional_id: transactional_id.to_owned(),
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
            self.lookup.check_all(&records).await?;
        }
        if let Some(home) = &self.home {
            declare(&mut records, home, |topic| {
                self.lookup.known_partitions(topic)
            });
        }
        let began = Instant::now();
        self.work(move |holder| holder.commit(&records)).await?;
        if began.elapsed() > SUSPICIOUS {
            self.check_that_it_ended().await?;
        }
        Ok(())
    }

    /// A broker of Kafka 4.3 that comes back may take a transaction for complete without having written its end to the partitions
    /// (KAFKA-20734). Its records are part of the next transaction of the id then, and committed with that, although nobody has
    /// read them as committed: so they are aborted, wherever the transaction wrote.
    async fn settle(&mut self, home: Home) -> Result<(), LogError> {
        let manifest = self.left_behind(&home).await?;
        let mut records = Vec::new();
        for (topic, partition) in manifest.partitions() {
            match self.lookup.check(topic, partition).await {
                Ok(()) => records.push(throwaway(topic, partition)),
                Err(LogError::UnknownPartition { .. }) => {} // deleted since, with whatever it held
                Err(error) => return Err(error),
            }
        }
        if let Some(at_home) = records
            .iter_mut()
            .find(|record| record.topic == home.topic && record.partition == Some(home.partition))
        {
            at_home.headers.push(manifest.header());
        }
        self.home = Some(home);
        if records.is_empty() {
            return Ok(());
        }
        let partitions = records.len();
        tracing::debug!(
            id = self.transactional_id,
            partitions,
            "what an earlier holder left is aborted"
        );
        self.work(move |holder| holder.abandon(&records)).await
    }
}

impl KafkaProducer {
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

    /// Where transactions wrote that came after the last committed one.
    async fn left_behind(&self, home: &Home) -> Result<Manifest, LogError> {
        let Home {
            topic,
            partition,
            next_offset,
        } = home;
        // Right behind the last committed record is the marker of its transaction.
        let from = next_offset + i64::from(*next_offset > 0);
        let mut manifest = Manifest::default();
        let mut is_left = false;
        let each = |record| {
            is_left = true;
            manifest.add_from(&record);
        };
        self.uncommitted.read(topic, *partition, from, each).await?;
        if is_left {
            manifest.add(topic, *partition);
        }
        Ok(manifest)
    }

    /// Whether the end of the last transaction is at home, where nobody else leaves anything open.
    async fn check_that_it_ended(&mut self) -> Result<(), LogError> {
        let Some(Home {
            topic, partition, ..
        }) = &self.home
        else {
            return Ok(());
        };
        let deadline = Instant::now() + ENDED_WITHIN;
        loop {
            let written = self.uncommitted.end(topic, *partition).await?;
            if self.lookup.offsets(topic, *partition).await?.end >= written {
                return Ok(());
            }
            if Instant::now() > deadline {
                drop(close::elsewhere(self.holder.take()));
                return Err(LogError::Unavailable {
                    reason: format!(
                        "the broker took a transaction under {} for committed and did not end it (KAFKA-20734)",
                        self.transactional_id
                    ),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        drop(close::elsewhere(self.holder.take()));
    }
}

impl Holder {
    /// One transaction.
    fn commit(&self, records: &[NewRecord]) -> Outcome {
        let deadline = Instant::now() + COMMIT;
        if let Err(error) = self.client.begin_transaction() {
            return self.spent(&error);
        }
        if let Err(error) = self.write(records, deadline) {
            return self.give_up(error);
        }
        match self.client.commit_transaction(remaining(deadline)) {
            Ok(()) => Outcome {
                result: Ok(()),
                is_usable: true,
            },
            Err(error) => self.spent(&error),
        }
    }

    /// One transaction of which nothing is to be seen: it ends whatever was open under the id in the partitions that it writes to.
    fn abandon(&self, records: &[NewRecord]) -> Outcome {
        let deadline = Instant::now() + COMMIT;
        if let Err(error) = self.client.begin_transaction() {
            return self.spent(&error);
        }
        if let Err(error) = self.write(records, deadline) {
            return self.give_up(error);
        }
        match self.client.abort_transaction(remaining(deadline)) {
            Ok(()) => Outcome {
                result: Ok(()),
                is_usable: true,
            },
            Err(error) => self.spent(&error),
        }
    }

    /// Sends all records and waits until they are stored.
    fn write(&self, records: &[NewRecord], deadline: Instant) -> Result<(), LogError> {
        for record in records {
            self.send(record, deadline)?;
        }
        if !self.drain(deadline) {
            return Err(LogError::Unavailable {
                reason: "the records of a transaction were not stored in time".to_owned(),
            });
        }
        match self.deliveries().take_failure() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Waits until what became of every record was reported; whether that was in time.
    fn drain(&self, deadline: Instant) -> bool {
        let began = Instant::now();
        while self.client.in_flight_count() > 0 {
            if Instant::now() > deadline {
                return false;
            }
            let before = self.client.in_flight_count();
            self.client.poll(Duration::ZERO); // takes one thing: the reports of a batch, or a line of the client's
            if self.client.in_flight_count() == before {
                thread::sleep(STEP.max(began.elapsed() / PATIENT));
            }
        }
        true
    }

    fn send(&self, record: &NewRecord, deadline: Instant) -> Result<(), LogError> {
        loop {
            let Err((error, _)) = self.client.send(outgoing(record, ())) else {
                return Ok(());
            };
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
                    if Instant::now() < deadline =>
                {
                    self.client.poll(Duration::ZERO);
                    thread::sleep(STEP);
                }
                // Another producer has the id, or a record sent before was refused: that one says why.
                KafkaError::MessageProduction(
                    RDKafkaErrorCode::Fatal | RDKafkaErrorCode::State | RDKafkaErrorCode::Fenced,
                ) => return Err(self.why(&error)),
                KafkaError::MessageProduction(code) => {
                    let partition = record.partition.unwrap_or(0);
                    let (size, limit) = (size_bytes(record), self.deliveries().limit_bytes);
                    return Err(of_record(code, &record.topic, partition, size, limit));
                }
                error => return Err(unavailable(&error)),
            }
        }
    }

    /// Ends a transaction of which nothing is to be seen. What the log will never take is no reason for a new client.
    fn give_up(&self, error: LogError) -> Outcome {
        use rdkafka::producer::PurgeConfig;
        let deadline = Instant::now() + ABORT;
        self.client.purge(PurgeConfig::default().queue());
        // An abort waits until every record was reported, and nobody else takes the reports.
        self.drain(deadline);
        let aborted = self.client.abort_transaction(remaining(deadline));
        self.deliveries().take_failure();
        let is_refusal = !matches!(
            error,
            LogError::Unavailable { .. } | LogError::Fenced { .. }
        );
        let error = match &aborted {
            Err(failed) => match of_transaction(failed, &self.transactional_id) {
                fenced @ LogError::Fenced { .. } => fenced,
                _ => error,
            },
            Ok(()) => error,
        };
        Outcome {
            result: Err(error),
            is_usable: is_refusal && aborted.is_ok(),
        }
    }

    fn spent(&self, error: &KafkaError) -> Outcome {
        Outcome {
            result: Err(self.why(error)),
            is_usable: false,
        }
    }

    fn why(&self, error: &KafkaError) -> LogError {
        // A client that was fenced says so once, and after that only that it is of no use any more.
        let fatal = self.client.client().fatal_error();
        let is_fenced = fatal.is_some_and(|(code, _)| {
            matches!(
                code,
                RDKafkaErrorCode::Fenced
                    | RDKafkaErrorCode::ProducerFenced
                    | RDKafkaErrorCode::InvalidProducerEpoch
            )
        });
        if is_fenced {
            return LogError::Fenced {
                transactional_id: self.transactional_id.clone(),
            };
        }
        of_transaction(error, &self.transactional_id)
    }

    fn deliveries(&self) -> &Transactional {
        &self.client.context().kind
    }
}

/// A record that nobody is ever to see.
fn throwaway(topic: &str, partition: i32) -> NewRecord {
    NewRecord {
        topic: topic.to_owned(),
        partition: Some(partition),
        key: Some(Bytes::from_static(b"aborted")), // compacted topics refuse records without one
        ..NewRecord::default()
    }
}

fn remaining(deadline: Instant) -> Duration {
    // Kafka waits for ever on a negative time, and not at all on none.
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_secs(1))
}
