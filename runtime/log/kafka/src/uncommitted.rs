//! What is in a partition whether it is committed, aborted or undecided.
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tidewheel_kafka::Connection;
use tidewheel_log::{LogError, Record, read_until};

use crate::{
    lookup::Lookup, places::Places, pool::Pool, reader::KafkaReader, settings::Isolation,
    statistics::Statistics,
};

/// Looks at what nobody else reads. Its clients are there while somebody does.
pub(crate) struct Uncommitted {
    connection: Connection,
    statistics: Statistics,
    clients: Mutex<Weak<Clients>>,
}

struct Clients {
    lookup: Arc<Lookup>,
    pool: Arc<Pool>,
}

impl Uncommitted {
    pub(crate) fn new(connection: &Connection, statistics: &Statistics) -> Self {
        Self {
            connection: connection.clone(),
            statistics: statistics.clone(),
            clients: Mutex::default(),
        }
    }

    /// Where the next record of each of these partitions will go, but for those that exist no more.
    pub(crate) async fn ends(&self, of: &Places) -> Result<Places, LogError> {
        let clients = self.clients()?;
        clients.lookup.ends(of).await
    }

    /// The records of a partition from an offset on, to the end it has when this is called.
    pub(crate) async fn read(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        each: impl FnMut(Record),
    ) -> Result<(), LogError> {
        let clients = self.clients()?;
        let offsets = clients.lookup.offsets(topic, partition).await?;
        let from = from.max(offsets.earliest);
        if from >= offsets.end {
            return Ok(());
        }
        let lookup = clients.lookup.clone();
        let mut reader = KafkaReader::open(lookup, &clients.pool, topic, partition, from).await?;
        read_until(&mut reader, from..offsets.end, each)
            .await
            .map(drop)
    }

    fn clients(&self) -> Result<Arc<Clients>, LogError> {
        let mut kept = self.clients.lock();
        if let Some(clients) = kept.upgrade() {
            return Ok(clients);
        }
        let isolation = Isolation::Uncommitted;
        let lookup = Lookup::new(&self.connection, &self.statistics, isolation)?;
        lookup.tend();
        let clients = Arc::new(Clients {
            lookup: Arc::new(lookup),
            pool: Arc::new(Pool::new(&self.connection, &self.statistics, isolation)),
        });
        *kept = Arc::downgrade(&clients);
        Ok(clients)
    }
}
