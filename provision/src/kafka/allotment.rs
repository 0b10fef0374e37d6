//! Reads which generations are allotted to a pipeline: the names of its topics of partials depend on them.
use std::time::{Duration, Instant};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use tidewheel_kafka::Connection;
use tidewheel_planner::generations::{Allotment, KEY};

use crate::kafka::{TopicError, admin::Context};

/// How long reading may take; the topic holds one value, and a few old ones.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is allotted, as the generations topic says; none while no worker has run the pipeline.
pub(crate) async fn read(
    connection: &Connection,
    topic: &str,
) -> Result<Option<Allotment>, TopicError> {
    let config = connection.config(
        &[("client.id", "tidewheel"), ("fetch.wait.max.ms", "20")],
        &[
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            // The binding wants one where partitions are assigned; nothing is ever committed to it.
            ("group.id", "tidewheel.readers"),
            ("isolation.level", "read_committed"),
        ],
    );
    let topic = topic.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer<Context> = config
            .create_with_context(Context::default())
            .map_err(|error| TopicError::connection(&error))?;
        newest(&consumer, &topic).map_err(|error| consumer.context().unavailable(&error))
    });
    let value = reading
        .await
        .unwrap_or_else(|_| Err(TopicError::unavailable(&KafkaError::Canceled)))?;
    Ok(value.map(|value| Allotment::decode(&value)).transpose()?)
}

/// The newest value of the only key.
fn newest(consumer: &BaseConsumer<Context>, topic: &str) -> Result<Option<Vec<u8>>, KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let deadline = Instant::now() + PATIENCE;
    let mut value = None;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) if message.key() == Some(KEY.as_bytes()) => {
                value = message.payload().map(<[u8]>::to_vec);
            }
            Some(Ok(_)) | None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(value),
            Some(Err(error)) => tracing::debug!(%error, topic, "while reading generations"),
        }
    }
    Err(KafkaError::NoMessageReceived)
}
