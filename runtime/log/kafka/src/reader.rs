//! Reading one partition in order.
use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use tidewheel_log::{Fetched, LogError, Reader, Record};
use tokio::sync::Notify;

use crate::{
    ending,
    error::unavailable,
    lookup::Lookup,
    pool::{Pool, Queue, ReaderClient, Seat},
    record::Copier,
};

/// How long it holds that the log said where the end is.
const PROOF_HOLDS: Duration = Duration::from_millis(2_500);

/// A reader on Kafka.
pub(crate) struct KafkaReader {
    lookup: Arc<Lookup>,
    pool: Weak<Pool>,
    client: Arc<ReaderClient>,
    seat: Arc<Seat>,
    queue: Queue,
    /// Rung when something comes into the empty queue.
    bell: Arc<Notify>,
    /// The next offset to hand out.
    next_offset: i64,
    copier: Copier,
    /// A record that did not fit into the last answer.
    held: Option<Record>,
    /// What went wrong behind the records of the last answer.
    failed: Option<KafkaError>,
}

/// What there is now.
struct Taken {
    records: Vec<Record>,
    bytes: usize,
    /// Whether the log said that this was the end.
    is_news: bool,
}

impl KafkaReader {
    pub(crate) async fn open(
        lookup: Arc<Lookup>,
        pool: &Arc<Pool>,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Self, LogError> {
        let offsets = lookup.offsets(topic, partition).await?;
        if !(offsets.earliest..=offsets.end).contains(&from) {
            return Err(LogError::OutOfRange {
                topic: topic.to_owned(),
                partition,
                offset: from,
                earliest: offsets.earliest,
            });
        }
        let partitions = lookup.known_partitions(topic);
        let (client, seat, mut queue) =
            pool.open((topic, partition), partitions, from, offsets.end)?;
        let bell = Arc::new(Notify::new());
        let ringing = bell.clone();
        queue.set_nonempty_callback(move || ringing.notify_one());
        Ok(Self {
            lookup,
            pool: Arc::downgrade(pool),
            client,
            seat,
            queue,
            bell,
            next_offset: from,
            copier: Copier::default(),
            held: None,
            failed: None,
        })
    }

    /// What there is now, without waiting.
    fn take(&mut self, max_records: usize, max_bytes: usize) -> Taken {
        let mut taken = Taken {
            records: Vec::new(),
            bytes: 0,
            is_news: false,
        };
        while self.failed.is_none() {
            let Some(record) = self.held.take().or_else(|| self.poll(&mut taken.is_news)) else {
                break;
            };
            let bytes = record.payload_bytes();
            let is_full = taken.records.len() >= max_records.max(1)
                || taken.bytes.saturating_add(bytes) > max_bytes;
            if is_full && !taken.records.is_empty() {
                self.held = Some(record);
                break;
            }
            self.next_offset = record.offset + 1;
            taken.bytes += bytes;
            taken.is_news = false;
            taken.records.push(record);
        }
        if self.held.is_none() && self.failed.is_none() {
            self.pass_markers(&mut taken.is_news);
        }
        taken
    }

    /// The next record of the queue.
    fn poll(&mut self, is_news: &mut bool) -> Option<Record> {
        loop {
            match self.queue.poll(Duration::ZERO)? {
                Ok(message) if is_ahead(&message, self.next_offset) => {
                    let record = self.copier.record(&message);
                    if !ending::is_one(&record) {
                        return Some(record);
                    }
                    self.next_offset = record.offset + 1;
                    *is_news = false;
                }
                Ok(_) => {}
                Err(KafkaError::PartitionEOF(_)) => {
                    // librdkafka does not say at which offset; all before it was taken.
                    let position = self.client.position(&self.seat).unwrap_or(i64::MIN);
                    self.next_offset = self.next_offset.max(position);
                    self.seat.told(self.next_offset, Instant::now());
                    *is_news = true;
                }
                Err(error) => {
                    self.failed = Some(error);
                    return None;
                }
            }
        }
    }

    /// Goes beyond the marker of the transaction that was read last, where that is all there is up to the end.
    fn pass_markers(&mut self, is_news: &mut bool) {
        let (end, _) = self.seat.tail();
        if self.next_offset < end
            && let Some(position) = self.client.position(&self.seat)
        {
            let before = self.next_offset;
            // Beyond the end are records that came since and are handed out next.
            self.next_offset = before.max(position.min(end));
            *is_news |= before < end && self.next_offset == end;
        }
    }

    /// Whether the reader has everything, as the log said a moment ago.
    fn is_at_end(&self) -> bool {
        let (end, told_at) = self.seat.tail();
        self.held.is_none() && self.next_offset == end && told_at.elapsed() < PROOF_HOLDS
    }

    async fn failure(&mut self) -> Result<(), LogError> {
        let Some(error) = self.failed.take() else {
            return Ok(());
        };
        let Seat {
            topic, partition, ..
        } = self.seat.as_ref();
        let error = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                LogError::OutOfRange {
                    topic: topic.clone(),
                    partition: *partition,
                    offset: self.next_offset,
                    earliest: self.lookup.offsets(topic, *partition).await?.earliest,
                }
            }
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => {
                self.lookup.forget(topic);
                LogError::UnknownPartition {
                    topic: topic.clone(),
                    partition: *partition,
                }
            }
            Some(RDKafkaErrorCode::BadMessage | RDKafkaErrorCode::InvalidMessage) => {
                let offset = self.next_offset;
                LogError::Damaged {
                    reason: format!(
                        "what follows offset {offset} of {topic}/{partition} fails its checksum"
                    ),
                }
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => LogError::Unavailable {
                reason: format!(
                    "the user may not read topic {topic}: grant Read and Describe on it"
                ),
            },
            _ => unavailable(&error),
        };
        Err(error)
    }
}

#[async_trait]
impl Reader for KafkaReader {
    async fn fetch(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        max_wait: Duration,
    ) -> Result<Fetched, LogError> {
        let deadline = tokio::time::Instant::now() + max_wait;
        loop {
            self.failure().await?;
            let bell = self.bell.clone();
            let mut rung = std::pin::pin!(bell.notified());
            rung.as_mut().enable(); // from here on nothing is missed
            let taken = self.take(max_records, max_bytes);
            self.seat.waits(taken.records.is_empty());
            let is_answer = !taken.records.is_empty() || taken.is_news || max_wait.is_zero();
            if is_answer && (self.failed.is_none() || !taken.records.is_empty()) {
                return Ok(self.fetched(taken.records));
            }
            if self.failed.is_none() && tokio::time::timeout_at(deadline, rung).await.is_err() {
                return Ok(self.fetched(Vec::new()));
            }
        }
    }
}

impl KafkaReader {
    fn fetched(&self, records: Vec<Record>) -> Fetched {
        Fetched {
            records,
            next_offset: self.next_offset,
            at_end: self.is_at_end(),
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.client.end(&self.seat, &self.queue);
        if let Some(pool) = self.pool.upgrade() {
            pool.tidy();
        }
    }
}

/// What is behind was handed out already; librdkafka does not go back, but a batch is fetched whole.
fn is_ahead(message: &BorrowedMessage<'_>, next_offset: i64) -> bool {
    use rdkafka::Message;
    message.offset() >= next_offset
}
