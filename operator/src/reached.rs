//! How the world outside of a resource was reached last. Its data may have to be deleted after the Secrets that say so: a namespace that goes
//! takes them with it in any order.
use std::collections::{BTreeMap, HashMap, HashSet};

use parking_lot::Mutex;

use crate::kafka::Kafka;

/// By the `uid` of the resource.
#[derive(Default)]
pub(crate) struct Reached(Mutex<HashMap<String, Ways>>);

#[derive(Default)]
struct Ways {
    kafka: Option<Kafka>,
    /// URLs of databases, by `<namespace>/<name>` of their Sinks.
    urls: BTreeMap<String, String>,
}

impl Reached {
    /// Kafka answered like this, and so did these databases.
    pub(crate) fn remember(&self, uid: &str, kafka: &Kafka, urls: &BTreeMap<String, String>) {
        let ways = Ways {
            kafka: Some(kafka.clone()),
            urls: urls.clone(),
        };
        self.0.lock().insert(uid.to_owned(), ways);
    }

    /// How Kafka was reached.
    pub(crate) fn kafka(&self, uid: &str) -> Option<Kafka> {
        self.0.lock().get(uid)?.kafka.clone()
    }

    /// The URL of a Sink's database.
    pub(crate) fn url(&self, uid: &str, sink: &str) -> Option<String> {
        self.0.lock().get(uid)?.urls.get(sink).cloned()
    }

    /// Keeps what is remembered of these alone.
    pub(crate) fn retain(&self, uids: &HashSet<String>) {
        self.0.lock().retain(|uid, _| uids.contains(uid));
    }

    /// The resource is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}
