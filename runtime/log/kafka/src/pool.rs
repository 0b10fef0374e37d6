//! The clients that read. Each reads many partitions; a partition that is read twice at a time needs two clients.
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, base_consumer::PartitionQueue},
    error::KafkaError,
};
use tidewheel_kafka::Connection;
use tidewheel_log::LogError;
use tokio::task::AbortHandle;

use crate::{
    client::{Context, Plain, create, one},
    close,
    error::unavailable,
    lookup::serve,
    settings::{self, Isolation},
    statistics::{Role, Statistics},
};

/// How many partitions a client reads at most.
const MOST_PARTITIONS: usize = 64;
/// How often it is asked whether readers that wait are still at the end.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(5);

type Client = BaseConsumer<Context<Plain>>;
/// The queue of a partition.
pub(crate) type Queue = PartitionQueue<Context<Plain>>;

/// The clients that read.
pub(crate) struct Pool {
    connection: Connection,
    statistics: Statistics,
    isolation: Isolation,
    clients: Mutex<Vec<Arc<ReaderClient>>>,
}

/// A client and the partitions that it reads.
pub(crate) struct ReaderClient {
    /// What it reads ahead of each of them, KiB.
    ahead_kb: i32,
    /// None while this is being dropped.
    client: Option<Arc<Client>>,
    seats: Mutex<BTreeMap<(String, i32), Arc<Seat>>>,
    tending: Mutex<Option<AbortHandle>>,
}

/// What a reader and its client know of a partition.
pub(crate) struct Seat {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The end of what is committed, and when the log said so.
    tail: Mutex<(i64, Instant)>,
    /// Whether the reader found nothing when it looked last.
    is_waiting: AtomicBool,
}

impl Seat {
    /// The end of what is committed, as it was told last, and when.
    pub(crate) fn tail(&self) -> (i64, Instant) {
        *self.tail.lock()
    }

    /// The log said where the end is.
    pub(crate) fn told(&self, end: i64, at: Instant) {
        let mut tail = self.tail.lock();
        if end >= tail.0 {
            *tail = (end, at);
        }
    }

    pub(crate) fn waits(&self, is_waiting: bool) {
        self.is_waiting.store(is_waiting, Ordering::Relaxed);
    }
}

impl Pool {
    pub(crate) fn new(
        connection: &Connection,
        statistics: &Statistics,
        isolation: Isolation,
    ) -> Self {
        Self {
            connection: connection.clone(),
            statistics: statistics.clone(),
            isolation,
            clients: Mutex::default(),
        }
    }

    /// Begins to read a partition whose end was `end` just now, of a topic that has so many.
    pub(crate) fn open(
        &self,
        (topic, partition): (&str, i32),
        partitions: i32,
        from: i64,
        end: i64,
    ) -> Result<(Arc<ReaderClient>, Arc<Seat>, Queue), LogError> {
        let seat = Arc::new(Seat {
            topic: topic.to_owned(),
            partition,
            tail: Mutex::new((end, Instant::now())),
            is_waiting: AtomicBool::new(false),
        });
        let client = self.seat(&seat, settings::read_ahead_kb(partitions))?;
        match client.begin(&seat, from) {
            Ok(queue) => Ok((client, seat, queue)),
            Err(error) => {
                client.seats.lock().remove(&(topic.to_owned(), partition));
                Err(error)
            }
        }
    }

    /// A client that does not read the partition yet, and reads so much ahead.
    fn seat(&self, seat: &Arc<Seat>, ahead_kb: i32) -> Result<Arc<ReaderClient>, LogError> {
        let key = (seat.topic.clone(), seat.partition);
        let mut clients = self.clients.lock();
        for client in clients.iter() {
            let mut seats = client.seats.lock();
            let has_room = client.ahead_kb == ahead_kb && seats.len() < MOST_PARTITIONS;
            if has_room && !seats.contains_key(&key) {
                seats.insert(key, seat.clone());
                return Ok(client.clone());
            }
        }
        let config = settings::reading(&self.connection, self.isolation, ahead_kb);
        let client = Arc::new(ReaderClient::new(&config, ahead_kb, &self.statistics)?);
        client.seats.lock().insert(key, seat.clone());
        client.tend();
        clients.push(client.clone());
        Ok(client)
    }

    /// Ends the clients that read nothing, except for one.
    pub(crate) fn tidy(&self) {
        let mut clients = self.clients.lock();
        let mut kept = false;
        clients.retain(|client| {
            let is_idle = client.seats.lock().is_empty();
            let keep = !is_idle || !kept;
            kept |= is_idle;
            keep
        });
    }
}

impl ReaderClient {
    fn new(
        config: &ClientConfig,
        ahead_kb: i32,
        statistics: &Statistics,
    ) -> Result<Self, LogError> {
        let context = Context::new(statistics, Role::Reader, "", Plain);
        let client: Client = create(config, context)?;
        Ok(Self {
            ahead_kb,
            client: Some(Arc::new(client)),
            seats: Mutex::default(),
            tending: Mutex::default(),
        })
    }

    /// Assigns a partition.
    fn begin(&self, seat: &Seat, from: i64) -> Result<Queue, LogError> {
        let Some(client) = &self.client else {
            return Err(closed());
        };
        // Before it is assigned, so that no record goes to the queue that all share.
        let queue = client
            .split_partition_queue(&seat.topic, seat.partition)
            .ok_or_else(closed)?;
        let mut list = one(&seat.topic, seat.partition);
        list.set_all_offsets(Offset::Offset(from))
            .and_then(|()| client.incremental_assign(&list))
            .map_err(|error| unavailable(&error))?;
        Ok(queue)
    }

    /// Ends the reading of a partition.
    pub(crate) fn end(&self, seat: &Seat, queue: &Queue) {
        if let Some(client) = &self.client
            && let Err(error) = client.incremental_unassign(&one(&seat.topic, seat.partition))
        {
            tracing::debug!(%error, topic = seat.topic, partition = seat.partition, "a partition was not unassigned");
        }
        // What was read ahead is out of date now, and freed as it is found.
        while queue.poll(Duration::ZERO).is_some() {}
        let key = (seat.topic.clone(), seat.partition);
        self.seats.lock().remove(&key);
    }

    /// Where the reading of a partition has come to, transaction markers included; none before its first record.
    pub(crate) fn position(&self, seat: &Seat) -> Option<i64> {
        let positions = self.client.as_ref()?.position().ok()?;
        match positions
            .find_partition(&seat.topic, seat.partition)?
            .offset()
        {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// Serves the client's lines and statistics, and asks for the ends of partitions whose readers wait, for as long as it is there.
    fn tend(self: &Arc<Self>) {
        let client = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(TEND_EVERY).await;
                let Some(client) = client.upgrade() else {
                    return;
                };
                let asked = tokio::task::spawn_blocking(move || client.look_after());
                if asked.await.is_err() {
                    return;
                }
            }
        });
        *self.tending.lock() = Some(task.abort_handle());
    }

    fn look_after(&self) {
        let Some(client) = &self.client else {
            return;
        };
        serve(client);
        let mut list = TopicPartitionList::new();
        let waiting: Vec<Arc<Seat>> = {
            let seats = self.seats.lock();
            let waiting = |seat: &&Arc<Seat>| seat.is_waiting.load(Ordering::Relaxed);
            seats.values().filter(waiting).cloned().collect()
        };
        for seat in &waiting {
            list.add_partition(&seat.topic, seat.partition);
        }
        if waiting.is_empty() {
            return;
        }
        let asked_at = Instant::now();
        // The end is a time as well, for Kafka: the latest.
        let told = list
            .set_all_offsets(Offset::End)
            .and_then(|()| client.offsets_for_times(list, PATIENCE));
        match told {
            Ok(told) => tell(&waiting, &told, asked_at),
            Err(error) => tracing::debug!(%error, "the ends of partitions are not known"),
        }
    }
}

fn tell(seats: &[Arc<Seat>], told: &TopicPartitionList, asked_at: Instant) {
    for seat in seats {
        let found = told.find_partition(&seat.topic, seat.partition);
        let found = found.map(|partition| partition.error().map(|()| partition.offset()));
        if let Some(Ok(Offset::Offset(end))) = found {
            seat.told(end, asked_at);
        }
    }
}

fn closed() -> LogError {
    unavailable(&KafkaError::Canceled)
}

impl Drop for ReaderClient {
    fn drop(&mut self) {
        if let Some(tending) = self.tending.lock().take() {
            tending.abort();
        }
        drop(close::elsewhere(self.client.take()));
    }
}
