//! Members of consumer groups. A member's client never fetches: the group only says who owns what.
use std::{
    collections::{BTreeSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaRespErr,
    util::AsyncRuntime,
};
use tidewheel_kafka::Connection;
use tidewheel_log::{Assignment, LogError, Member};
use tokio::sync::Notify;

use crate::{
    client::{Context, create, one},
    close,
    error::unavailable,
    settings,
    statistics::{Role, Statistics},
};

/// How long leaving may take; whoever is left behind then is passed over after the session timeout.
const LEAVE: Duration = Duration::from_secs(5);
/// How often it is looked whether a member that is told nothing is in its group.
const LOOK_EVERY: Duration = Duration::from_millis(500);

type Client = StreamConsumer<Context<Membership>, Tokio>;

/// A member on Kafka.
pub(crate) struct KafkaMember {
    connection: Connection,
    statistics: Statistics,
    group: String,
    topic: String,
    /// None once it left.
    client: Option<Client>,
    /// By the newer protocol librdkafka says nothing to a member that gets nothing; until anything was told this one may be such a member.
    may_have_nothing: bool,
    /// What was revoked and is let go at the next call.
    letting_go: Vec<i32>,
    /// What it was told to have.
    owned: BTreeSet<i32>,
    /// When the last call ended.
    asked_at: Instant,
    /// How long nobody may ask before the group passes the member over.
    patience: Duration,
}

/// What the group said and nobody was told yet; an error where the client could not do as it said, and is of no more use.
#[derive(Default)]
pub(crate) struct Membership {
    changes: Mutex<VecDeque<Result<Assignment, LogError>>>,
    changed: Notify,
    /// Nobody asks any more: what is revoked is let go at once.
    is_leaving: AtomicBool,
}

impl ConsumerContext for Context<Membership> {
    /// Runs within `next`, which polls the client. librdkafka waits for the answer to a revocation however long it takes; heartbeats go on.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let mut partitions: Vec<i32> = list.elements().iter().map(|one| one.partition()).collect();
        partitions.sort_unstable();
        let change = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => assign_paused(consumer, list)
                .map(|()| Assignment::Assigned(partitions))
                .map_err(|error| unavailable(&error)),
            _ if consumer.assignment_lost() => {
                let_go(consumer, list);
                Ok(Assignment::Lost(partitions))
            }
            _ => {
                if self.kind.is_leaving.load(Relaxed) {
                    let_go(consumer, list);
                }
                Ok(Assignment::Revoked(partitions))
            }
        };
        self.kind.changes.lock().push_back(change);
        self.kind.changed.notify_one();
    }
}

/// Takes partitions without reading them.
fn assign_paused<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    list: &mut TopicPartitionList,
) -> Result<(), KafkaError> {
    // An offset keeps librdkafka from asking for the committed one, of which nobody makes use.
    list.set_all_offsets(Offset::End)?;
    consumer.incremental_assign(list)?;
    if list.count() > 0 {
        consumer.pause(list)?;
    }
    Ok(())
}

fn let_go<C: ConsumerContext>(consumer: &impl Consumer<C>, list: &TopicPartitionList) {
    if let Err(error) = consumer.incremental_unassign(list) {
        tracing::warn!(%error, client = "member", "partitions were not let go");
    }
}

impl KafkaMember {
    pub(crate) fn join(
        connection: &Connection,
        statistics: &Statistics,
        group: &str,
        topic: &str,
    ) -> Result<Self, LogError> {
        let (client, patience) = subscribe(connection, statistics, group, topic)?;
        Ok(Self {
            connection: connection.clone(),
            statistics: statistics.clone(),
            group: group.to_owned(),
            topic: topic.to_owned(),
            client: Some(client),
            may_have_nothing: settings::has_newer_groups(connection),
            letting_go: Vec::new(),
            owned: BTreeSet::new(),
            asked_at: Instant::now(),
            patience,
        })
    }

    /// Nobody asked for so long that the group has given the partitions to others. The client may not know it yet, and
    /// might take up what it gets back as if nothing had been: another one begins anew.
    fn begin_anew(&mut self) -> Result<Option<Assignment>, LogError> {
        drop(self.close());
        self.letting_go.clear();
        let (client, _) = subscribe(&self.connection, &self.statistics, &self.group, &self.topic)?;
        self.client = Some(client);
        self.may_have_nothing = settings::has_newer_groups(&self.connection);
        self.asked_at = Instant::now();
        let lost: Vec<i32> = std::mem::take(&mut self.owned).into_iter().collect();
        Ok((!lost.is_empty()).then_some(Assignment::Lost(lost)))
    }

    fn client(&self) -> Result<&Client, LogError> {
        self.client
            .as_ref()
            .ok_or_else(|| unavailable(&KafkaError::Canceled))
    }

    /// Closes the client; the receiver hears when it has left.
    fn close(&mut self) -> Option<tokio::sync::oneshot::Receiver<()>> {
        let client = self.client.take()?;
        let leaving = &client.context().kind.is_leaving;
        leaving.store(true, Relaxed);
        if !self.letting_go.is_empty() {
            let_go(&client, &list_of(&self.topic, &self.letting_go));
        }
        Some(close::elsewhere(client))
    }
}

/// A call under way; however it ends, that is when.
struct Asking<'a>(&'a mut Instant);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        *self.0 = Instant::now();
    }
}

#[async_trait]
impl Member for KafkaMember {
    async fn next(&mut self) -> Result<Assignment, LogError> {
        if self.asked_at.elapsed() > self.patience
            && let Some(lost) = self.begin_anew()?
        {
            return Ok(lost);
        }
        let letting_go = std::mem::take(&mut self.letting_go);
        let client = self
            .client
            .as_ref()
            .ok_or_else(|| unavailable(&KafkaError::Canceled))?;
        if !letting_go.is_empty() {
            let_go(client, &list_of(&self.topic, &letting_go));
        }
        let asking = Asking(&mut self.asked_at);
        let change = next_change(client, &self.topic, self.may_have_nothing).await?;
        drop(asking);
        self.may_have_nothing = false;
        match &change {
            Assignment::Assigned(partitions) => self.owned.extend(partitions),
            Assignment::Lost(partitions) => {
                self.owned.retain(|owned| !partitions.contains(owned));
            }
            Assignment::Revoked(partitions) => {
                self.owned.retain(|owned| !partitions.contains(owned));
                self.letting_go.clone_from(partitions);
            }
        }
        Ok(change)
    }

    async fn report(&mut self, partition: i32, next_offset: i64) -> Result<(), LogError> {
        let client = self.client()?;
        let mut list = one(&self.topic, partition);
        list.set_all_offsets(Offset::Offset(next_offset))
            .and_then(|()| client.commit(&list, CommitMode::Async))
            .map_err(|error| unavailable(&error))
    }

    async fn leave(mut self: Box<Self>) -> Result<(), LogError> {
        let Some(left) = self.close() else {
            return Ok(());
        };
        if tokio::time::timeout(LEAVE, left).await.is_err() {
            tracing::warn!(
                topic = self.topic,
                "the group did not answer while it was left"
            );
        }
        Ok(())
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        drop(self.close());
    }
}

/// Joins the group with a new client. How long that may be silent.
fn subscribe(
    connection: &Connection,
    statistics: &Statistics,
    group: &str,
    topic: &str,
) -> Result<(Client, Duration), LogError> {
    let context = Context::new(statistics, Role::Member, group, Membership::default());
    let config = settings::member(connection, group);
    let patience = settings::longest_poll_interval(&config);
    let client: Client = create(&config, context)?;
    client
        .subscribe(&[topic])
        .map_err(|error| unavailable(&error))?;
    Ok((client, patience))
}

/// Polls a client until the group says something, or it is clear that it will not.
async fn next_change(
    client: &Client,
    topic: &str,
    may_have_nothing: bool,
) -> Result<Assignment, LogError> {
    let membership = &client.context().kind;
    loop {
        let change = membership.changes.lock().pop_front();
        if let Some(change) = change {
            return change;
        }
        tokio::select! {
            () = membership.changed.notified() => {}
            received = client.recv() => if let Err(error) = received {
                heed(&error, topic)?;
            },
            () = tokio::time::sleep(LOOK_EVERY), if may_have_nothing => {
                if client.context().is_with_coordinator() {
                    return Ok(Assignment::Assigned(Vec::new()));
                }
            }
        }
    }
}

/// What of a client's errors a member cannot mend by waiting.
fn heed(error: &KafkaError, topic: &str) -> Result<(), LogError> {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition,
        ) => Err(LogError::UnknownPartition {
            topic: topic.to_owned(),
            partition: 0,
        }),
        Some(
            RDKafkaErrorCode::Fatal
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::InconsistentGroupProtocol,
        ) => Err(unavailable(error)),
        _ => {
            // Brokers that cannot be reached, a poll that came late: the client goes on by itself, or says that all is lost.
            tracing::debug!(%error, topic, "a member of a group");
            Ok(())
        }
    }
}

fn list_of(topic: &str, partitions: &[i32]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topic, *partition);
    }
    list
}

/// The runtime that wakes a member now and then, so that a group knows it from one that hangs.
struct Tokio;

impl AsyncRuntime for Tokio {
    type Delay = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn spawn<T: Future<Output = ()> + Send + 'static>(task: T) {
        tokio::spawn(task);
    }

    fn delay_for(duration: Duration) -> Self::Delay {
        Box::pin(tokio::time::sleep(duration))
    }
}
