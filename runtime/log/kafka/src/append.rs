//! Appending outside of transactions: one client for all, whose delivery reports a thread of its own takes.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    producer::BaseProducer,
};
use tidewheel_kafka::Connection;
use tidewheel_log::{Appended, LogError, NewRecord};

use crate::{
    client::{Context, create},
    close,
    delivery::{Appending, Batch, Ticket},
    error::of_record,
    record::{outgoing, size_bytes},
    settings,
    statistics::{Role, Statistics},
};

/// How long the thread waits for reports before it looks whether it is still wanted.
const REPORTS_WAIT: Duration = Duration::from_millis(500);
/// How long to wait for room in a full queue before trying again.
const ROOM_WAIT: Duration = Duration::from_millis(5);

type Client = BaseProducer<Context<Appending>>;

/// The client that appends.
pub(crate) struct Appender {
    /// None while this is being dropped.
    client: Option<Arc<Client>>,
    limit_bytes: usize,
    is_over: Arc<AtomicBool>,
}

impl Appender {
    pub(crate) fn new(connection: &Connection, statistics: &Statistics) -> Result<Self, LogError> {
        let config = settings::appending(connection);
        let limit_bytes = settings::largest_record_bytes(&config);
        let context = Context::new(statistics, Role::Append, "", Appending { limit_bytes });
        let client: Arc<Client> = Arc::new(create(&config, context)?);
        let is_over = Arc::new(AtomicBool::new(false));
        let (reports, over) = (client.clone(), is_over.clone());
        let thread = thread::Builder::new().name("kafka-reports".to_owned());
        thread
            .spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    reports.poll(REPORTS_WAIT);
                }
            })
            .map_err(|error| LogError::Unavailable {
                reason: format!("no thread to be had: {error}"),
            })?;
        Ok(Self {
            client: Some(client),
            limit_bytes,
            is_over,
        })
    }

    pub(crate) async fn append(&self, records: &[NewRecord]) -> Result<Vec<Appended>, LogError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let (batch, heard) = Batch::new(records.len());
        for (index, record) in records.iter().enumerate() {
            self.send(record, &batch, index).await;
        }
        heard.await.unwrap_or_else(|_| {
            Err(LogError::Unavailable {
                reason: "the client was closed before everything was stored".to_owned(),
            })
        })
    }

    /// Hands a record over; what is refused at once counts as answered.
    async fn send(&self, record: &NewRecord, batch: &Arc<Batch>, index: usize) {
        let refused = |code| {
            let partition = record.partition.unwrap_or(0);
            let (size, limit) = (size_bytes(record), self.limit_bytes);
            batch.answer(
                index,
                Err(of_record(code, &record.topic, partition, size, limit)),
            );
        };
        while let Some(client) = &self.client {
            let batch = batch.clone();
            let ticket = Box::new(Ticket { batch, index });
            let error = match client.send(outgoing(record, ticket)) {
                Ok(()) => return,
                Err((error, _)) => error,
            };
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => {
                    tokio::time::sleep(ROOM_WAIT).await;
                }
                error => {
                    let code = error.rdkafka_error_code();
                    return refused(code.unwrap_or(RDKafkaErrorCode::InvalidTopic));
                }
            }
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(close::elsewhere(self.client.take()));
    }
}
