//! The client behind a transactional id: one transaction at a time, from its begin to its end.
use std::{
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{BaseProducer, Producer as _},
};
use tidewheel_kafka::Connection;
use tidewheel_log::{LogError, NewRecord};

use crate::{
    client::{Context, create},
    delivery::Transactional,
    error::{of_record, of_transaction, unavailable},
    places::Places,
    record::{outgoing, size_bytes},
    settings,
    statistics::{Role, Statistics},
};

/// How long a take-over may wait for the coordinator: it lets the transaction that the last owner left end first.
const TAKE_OVER: Duration = Duration::from_secs(30);
/// How long a commit may take from its begin, a restart of a broker included.
const COMMIT: Duration = Duration::from_millis(2 * settings::TRANSACTION_TIMEOUT_MS);
/// How long an abort may take: the next owner's take-over does it as well.
const ABORT: Duration = Duration::from_secs(3);
/// A transaction that took longer, or began so long after the last one, may have met with an outage, in which a broker may have forgotten
/// the end of either: no broker dies and comes back in less.
pub(crate) const PROMPT: Duration = Duration::from_secs(1);
/// How long to sleep at least between two looks at delivery reports. The binding's `poll` cannot wait for them: it takes all of
/// the time it is given, and spins through the last millisecond of it.
const STEP: Duration = Duration::from_millis(1);
/// A long wait is looked at this many times less often: a late end costs little then, and waking up costs all the time.
const PATIENT: u32 = 8;

type Client = BaseProducer<Context<Transactional>>;

/// The client that has an id. Its calls block.
pub(crate) struct Holder {
    client: Client,
    transactional_id: String,
}

/// What became of a transaction.
pub(crate) struct Outcome {
    /// Where it wrote.
    pub(crate) result: Result<Places, LogError>,
    /// Whether the client can begin another transaction.
    pub(crate) is_usable: bool,
}

impl Holder {
    /// Takes the id over, once what the last owner left open has ended.
    pub(crate) fn take_over(
        connection: &Connection,
        statistics: &Statistics,
        transactional_id: &str,
    ) -> Result<Self, LogError> {
        let config = settings::transactional(connection, transactional_id);
        let deliveries = Transactional::new(settings::largest_record_bytes(&config));
        let context = Context::new(statistics, Role::Transactions, transactional_id, deliveries);
        let client: Client = create(&config, context)?;
        client.init_transactions(TAKE_OVER).map_err(|error| {
            client.poll(Duration::ZERO); // it may say more
            let error = of_transaction(&error, transactional_id);
            client.context().explain(error)
        })?;
        Ok(Self {
            client,
            transactional_id: transactional_id.to_owned(),
        })
    }

    /// One transaction.
    pub(crate) fn commit(&self, records: &[NewRecord]) -> Outcome {
        self.transaction(records, Client::commit_transaction)
    }

    /// One transaction of which nothing is to be seen. It ends what is open under the id in the partitions that it writes to.
    pub(crate) fn abandon(&self, records: &[NewRecord]) -> Outcome {
        self.transaction(records, Client::abort_transaction)
    }

    fn transaction(
        &self,
        records: &[NewRecord],
        end: fn(&Client, Duration) -> KafkaResult<()>,
    ) -> Outcome {
        let deadline = Instant::now() + COMMIT;
        if let Err(error) = self.client.begin_transaction() {
            return self.spent(&error);
        }
        let written = match self.write(records, deadline) {
            Ok(written) => written,
            Err(error) => return self.give_up(error),
        };
        match end(&self.client, remaining(deadline)) {
            Ok(()) => Outcome {
                result: Ok(written),
                is_usable: true,
            },
            Err(error) => self.spent(&error),
        }
    }

    /// Sends all records and waits until they are stored.
    fn write(&self, records: &[NewRecord], deadline: Instant) -> Result<Places, LogError> {
        for record in records {
            self.send(record, deadline)?;
        }
        if !self.drain(deadline) {
            return Err(LogError::Unavailable {
                reason: "the records of a transaction were not stored in time".to_owned(),
            });
        }
        self.deliveries().take()
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
        let began = Instant::now();
        let deadline = began + ABORT;
        self.client.purge(PurgeConfig::default().queue());
        // An abort waits until every record was reported, and nobody else takes the reports.
        self.drain(deadline);
        let aborted = self.client.abort_transaction(remaining(deadline));
        let _ = self.deliveries().take(); // it is known why, and nothing of it is to be seen
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
            is_usable: is_refusal && aborted.is_ok() && began.elapsed() < PROMPT,
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

fn remaining(deadline: Instant) -> Duration {
    // Kafka waits for ever on a negative time, and not at all on none.
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_secs(1))
}
