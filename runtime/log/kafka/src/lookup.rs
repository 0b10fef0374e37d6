//! Questions about topics and offsets. Each blocks for a round trip, on a thread that may.
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use tidewheel_kafka::Connection;
use tidewheel_log::{LogError, NewRecord, Offsets, TopicInfo, partition_of};
use tokio::sync::OnceCell;

use crate::{
    client::{Context, Plain, create, create_bare, one},
    close,
    error::{ended, unavailable},
    places::Places,
    settings::{self, Isolation},
    statistics::{Role, Statistics},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before asking again who has no leader at the moment, or another one than the client knows.
const LEADER_COMES: Duration = Duration::from_millis(100);
/// How long the number of a topic's partitions holds for records that go by it: added ones are used after this time.
const COUNT_HOLDS: Duration = Duration::from_secs(30);
/// How often the client's own lines and statistics are looked at.
const TEND_EVERY: Duration = Duration::from_secs(1);

type Client = BaseConsumer<Context<Plain>>;

/// The client for questions.
pub(crate) struct Lookup {
    connection: Connection,
    isolation: Isolation,
    client: Option<Arc<Client>>,
    admin: OnceCell<AdminClient<DefaultClientContext>>,
    cluster_id: OnceCell<String>,
    /// Partitions of topics that were asked for, and when: they only grow, so that an answer that suffices once does so for ever.
    partitions: Mutex<BTreeMap<String, (i32, Instant)>>,
    /// Where the next record goes that has neither partition nor key.
    any: AtomicI32,
}

impl Lookup {
    pub(crate) fn new(
        connection: &Connection,
        statistics: &Statistics,
        isolation: Isolation,
    ) -> Result<Self, LogError> {
        let context = Context::new(statistics, Role::Lookup, "", Plain);
        let client = create(&settings::asking(connection, isolation), context)?;
        Ok(Self {
            connection: connection.clone(),
            isolation,
            client: Some(Arc::new(client)),
            admin: OnceCell::new(),
            cluster_id: OnceCell::new(),
            partitions: Mutex::default(),
            any: AtomicI32::default(),
        })
    }

    /// Serves the client's lines and statistics for as long as it is there.
    pub(crate) fn tend(&self) {
        let Some(client) = self.client.as_ref().map(Arc::downgrade) else {
            return;
        };
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TEND_EVERY).await;
                let Some(client) = client.upgrade() else {
                    return;
                };
                serve(&client);
            }
        });
    }

    /// What is known of a topic; none where it does not exist.
    pub(crate) async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        let Some(partitions) = self.ask_partitions(topic).await? else {
            return Ok(None);
        };
        let cluster = self.cluster_id.get_or_try_init(|| async {
            let id = self
                .blocking(|client| Ok(client.client().fetch_cluster_id(PATIENCE)))
                .await?;
            id.ok_or_else(|| LogError::Unavailable {
                reason: "the cluster did not say its id".to_owned(),
            })
        });
        Ok(Some(TopicInfo {
            id: format!("{}/{topic}", cluster.await?),
            partitions,
        }))
    }

    async fn ask_partitions(&self, topic: &str) -> Result<Option<i32>, LogError> {
        let name = topic.to_owned();
        let found = self
            .blocking(move |client| {
                let metadata = client.fetch_metadata(Some(&name), PATIENCE)?;
                let topic = metadata.topics().iter().find(|topic| topic.name() == name);
                match topic.map(|topic| (topic.error(), topic.partitions().len())) {
                    None => Ok(None),
                    Some((None, partitions)) => Ok(Some(partitions)),
                    Some((Some(error), _)) => match RDKafkaErrorCode::from(error) {
                        RDKafkaErrorCode::UnknownTopicOrPartition
                        | RDKafkaErrorCode::UnknownTopic
                        | RDKafkaErrorCode::InvalidTopic => Ok(None),
                        code => Err(KafkaError::MetadataFetch(code)),
                    },
                }
            })
            .await?;
        let partitions = found
            .filter(|partitions| *partitions > 0)
            .and_then(|partitions| i32::try_from(partitions).ok());
        let mut known = self.partitions.lock();
        match partitions {
            Some(partitions) => known.insert(topic.to_owned(), (partitions, Instant::now())),
            None => known.remove(topic),
        };
        Ok(partitions)
    }

    /// Whether a partition exists.
    pub(crate) async fn check(&self, topic: &str, partition: i32) -> Result<(), LogError> {
        let has = |partitions: i32| (0..partitions).contains(&partition);
        let known = self.partitions.lock().get(topic).copied();
        if known.is_some_and(|(partitions, _)| has(partitions))
            || self.ask_partitions(topic).await?.is_some_and(has)
        {
            return Ok(());
        }
        Err(LogError::UnknownPartition {
            topic: topic.to_owned(),
            partition,
        })
    }

    /// Whether all partitions exist that records are for: librdkafka would wait for those that do not.
    pub(crate) async fn check_all(&self, records: &[NewRecord]) -> Result<(), LogError> {
        let mut last: Option<(&str, i32)> = None;
        for record in records {
            let place = (record.topic.as_str(), record.partition.unwrap_or(0));
            if last != Some(place) {
                self.check(place.0, place.1).await?;
            }
            last = Some(place);
        }
        Ok(())
    }

    /// Gives each record a partition that has none: that of its key, or any.
    pub(crate) async fn place(&self, records: &mut [NewRecord]) -> Result<(), LogError> {
        let without = records
            .iter_mut()
            .filter(|record| record.partition.is_none());
        for record in without {
            let count = self.newest_partitions(&record.topic).await?;
            record.partition = Some(match &record.key {
                Some(key) => partition_of(key, count),
                None => self.any.fetch_add(1, Relaxed).rem_euclid(count),
            });
        }
        Ok(())
    }

    /// How many partitions a topic has, or had not long ago.
    async fn newest_partitions(&self, topic: &str) -> Result<i32, LogError> {
        let known = self.partitions.lock().get(topic).copied();
        if let Some((count, _)) = known.filter(|(_, at)| at.elapsed() < COUNT_HOLDS) {
            return Ok(count);
        }
        let asked = self.ask_partitions(topic).await?;
        asked.ok_or_else(|| LogError::UnknownPartition {
            topic: topic.to_owned(),
            partition: 0,
        })
    }

    /// How many partitions a topic had when it was last asked for.
    pub(crate) fn known_partitions(&self, topic: &str) -> i32 {
        self.partitions.lock().get(topic).map_or(1, |known| known.0)
    }

    /// Forgets what is known of a topic, because it turned out to be wrong.
    pub(crate) fn forget(&self, topic: &str) {
        self.partitions.lock().remove(topic);
    }

    /// The oldest retained offset and the end of what the client gets to see.
    pub(crate) async fn offsets(&self, topic: &str, partition: i32) -> Result<Offsets, LogError> {
        self.check(topic, partition).await?;
        let name = topic.to_owned();
        let asked = self
            .blocking(move |client| client.fetch_watermarks(&name, partition, PATIENCE))
            .await;
        match asked {
            Ok((earliest, end)) => Ok(Offsets { earliest, end }),
            Err(error) => {
                // The topic may be gone since it was last asked for.
                self.forget(topic);
                self.check(topic, partition).await?;
                Err(error)
            }
        }
    }

    /// The end of what the client gets to see of each of these partitions, but for those that exist no more.
    pub(crate) async fn ends(&self, of: &Places) -> Result<Places, LogError> {
        let mut list = TopicPartitionList::new();
        for (topic, partition, _) in of.iter() {
            match self.check(topic, partition).await {
                Ok(()) => {
                    list.add_partition(topic, partition);
                }
                Err(LogError::UnknownPartition { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if list.count() == 0 {
            return Ok(Places::default());
        }
        // The end is a time as well, for Kafka: the latest.
        list.set_all_offsets(Offset::End)
            .map_err(|error| unavailable(&error))?;
        let told = self.blocking(move |client| {
            let told = client.offsets_for_times(list.clone(), PATIENCE)?;
            let mut ends = Places::default();
            for partition in told.elements() {
                partition.error()?;
                if let Offset::Offset(end) = partition.offset() {
                    ends.add(partition.topic(), partition.partition(), end);
                }
            }
            Ok(ends)
        });
        told.await.inspect_err(|_| {
            // One of the topics may be gone since it was last asked for.
            of.iter().for_each(|(topic, _, _)| self.forget(topic));
        })
    }

    /// The offset of the first record at or after a time; the end where there is none.
    pub(crate) async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        append_time_ms: i64,
    ) -> Result<i64, LogError> {
        let offsets = self.offsets(topic, partition).await?;
        let mut asked = one(topic, partition);
        // Negative times stand for the ends of the log in Kafka's protocol.
        asked
            .set_all_offsets(Offset::Offset(append_time_ms.max(0)))
            .map_err(|error| unavailable(&error))?;
        let told = self.blocking(move |client| {
            let told = client.offsets_for_times(asked.clone(), PATIENCE)?;
            let elements = told.elements();
            elements
                .first()
                .map(|partition| partition.error().map(|()| partition.offset()))
                .transpose()
        });
        match told.await? {
            Some(Offset::Offset(offset)) => Ok(offset.clamp(offsets.earliest, offsets.end)),
            _ => Ok(offsets.end),
        }
    }

    /// Lets the log forget what is below an offset.
    pub(crate) async fn delete_below(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), LogError> {
        let known = self.offsets(topic, partition).await?;
        if offset <= known.earliest {
            return Ok(());
        }
        let mut below = one(topic, partition);
        // Beyond the end Kafka refuses, and what is not committed yet is not ours to delete.
        below
            .set_all_offsets(Offset::Offset(offset.min(known.end)))
            .map_err(|error| unavailable(&error))?;
        let admin = self
            .admin
            .get_or_try_init(|| async {
                create_bare(&settings::asking(&self.connection, self.isolation))
            })
            .await?;
        let options = AdminOptions::new()
            .request_timeout(Some(PATIENCE))
            .operation_timeout(Some(PATIENCE));
        let deleted = admin.delete_records(&below, &options).await;
        let refused = deleted.and_then(|deleted| {
            let elements = deleted.elements();
            elements.iter().try_for_each(|partition| partition.error())
        });
        refused.map_err(|error| unavailable(&error))
    }

    /// Asks on a thread that may block; again while leaders change.
    async fn blocking<T: Send + 'static>(
        &self,
        ask: impl Fn(&Client) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, LogError> {
        let Some(client) = self.client.clone() else {
            return Err(LogError::Unavailable {
                reason: "the client is being closed".to_owned(),
            });
        };
        let asked = tokio::task::spawn_blocking(move || {
            while_leaders_change(|| ask(&client)).map_err(|error| {
                serve(&client);
                client.context().explain(unavailable(&error))
            })
        });
        asked.await.map_err(|error| ended(&error))?
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        drop(close::elsewhere((self.client.take(), self.admin.take())));
    }
}

/// Serves what a client has to say. Each poll takes one thing.
pub(crate) fn serve<K>(client: &BaseConsumer<K>)
where
    K: rdkafka::consumer::ConsumerContext,
{
    const AT_ONCE: usize = 64;
    for _ in 0..AT_ONCE {
        if client.poll(Duration::ZERO).is_none() {
            // Nothing there, or something that was served: the next round takes what is left.
        }
    }
}

/// Asks again, for a while, where the answer is that another broker has to be asked: who does that has heard by then which.
fn while_leaders_change<T>(ask: impl Fn() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let began = Instant::now();
    loop {
        match ask() {
            Err(error) if is_of_leaders(&error) && began.elapsed() < PATIENCE => {
                std::thread::sleep(LEADER_COMES);
            }
            answer => return answer,
        }
    }
}

fn is_of_leaders(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn who_has_no_leader_yet_is_asked_again_and_other_errors_are_told() {
        let asked = Cell::new(0);
        let answer = while_leaders_change(|| {
            asked.set(asked.get() + 1);
            match asked.get() {
                1 => Err(KafkaError::MetadataFetch(
                    RDKafkaErrorCode::LeaderNotAvailable,
                )),
                2 => Err(KafkaError::MetadataFetch(
                    RDKafkaErrorCode::NotLeaderForPartition,
                )),
                _ => Ok(7),
            }
        });
        assert_eq!((answer.unwrap(), asked.get()), (7, 3));
        let denied = KafkaError::MetadataFetch(RDKafkaErrorCode::TopicAuthorizationFailed);
        while_leaders_change::<()>(|| Err(denied.clone())).unwrap_err();
    }
}
