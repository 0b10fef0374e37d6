//! A topic, written and read by librdkafka alone.
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::Stack;
use crate::Failure;

const PATIENCE: Duration = Duration::from_secs(120);
/// How long the consumer is waited for at a time.
const STEP: Duration = Duration::from_secs(1);

/// The events of the pipeline's topic.
pub(crate) struct Topic {
    pub(crate) partitions: u32,
    pub(crate) events: usize,
}

/// A producer with the properties that tidewheel's own have.
pub(crate) type Sender = ThreadedProducer<DefaultProducerContext>;

impl Topic {
    /// Writes events to all partitions by turns. Seconds from the first until all are acknowledged.
    pub(crate) fn fill(&self, stack: &Stack, events: &[Bytes]) -> Result<f64, Failure> {
        let (sender, topic) = (self.sender(stack)?, stack.topic());
        let begin = Instant::now();
        for (index, event) in events.iter().enumerate() {
            send(
                &sender,
                &topic,
                (index % self.partitions as usize) as i32,
                event,
            )?;
        }
        sender.flush(PATIENCE)?;
        Ok(begin.elapsed().as_secs_f64())
    }

    pub(crate) fn sender(&self, stack: &Stack) -> Result<Sender, Failure> {
        let mut config = stack.client();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "5");
        Ok(config.create()?)
    }

    /// How many events it has, where nobody writes transactions to it.
    pub(crate) fn count(&self, stack: &Stack) -> Result<i64, Failure> {
        let consumer: BaseConsumer = stack.client().create()?;
        let mut count = 0;
        for partition in 0..self.partitions {
            let (first, end) =
                consumer.fetch_watermarks(&stack.topic(), partition as i32, PATIENCE)?;
            count += end - first;
        }
        Ok(count)
    }

    /// Reads all events and does nothing with them. Seconds.
    pub(crate) fn read_alone(&self, stack: &Stack) -> Result<f64, Failure> {
        let consumer: BaseConsumer = stack.client().set("group.id", "bare").create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(&stack.topic(), partition as i32, Offset::Beginning)?;
        }
        let begin = Instant::now();
        consumer.assign(&list)?;
        let mut read = 0;
        while read < self.events {
            // Nothing is also what it answers when it had something to say of itself.
            match consumer.poll(STEP) {
                Some(event) => {
                    event?;
                    read += 1;
                }
                None if begin.elapsed() > PATIENCE => {
                    return Err("the topic has too few events".into());
                }
                None => {}
            }
        }
        Ok(begin.elapsed().as_secs_f64())
    }
}

/// Sends an event, after waiting for room where there is none.
pub(crate) fn send(
    sender: &Sender,
    topic: &str,
    partition: i32,
    event: &[u8],
) -> Result<(), Failure> {
    let mut record: BaseRecord<'_, [u8], [u8]> =
        BaseRecord::to(topic).partition(partition).payload(event);
    loop {
        match sender.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                std::thread::sleep(Duration::from_millis(1));
                record = back;
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}
