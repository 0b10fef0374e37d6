//! Logs to test, a clock that is set by hand, and an executor that is no runtime.
use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;
use tidewheel_log::{
    Cleanup, Clock, EmbeddedLog, Fetched, Log, LogError, NewRecord, Options, Record, TopicSettings,
};

pub(crate) use tidewheel_log_contract::record;

/// A clock that stands still until it is moved.
#[derive(Clone, Default)]
pub(crate) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    pub(crate) fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }
    pub(crate) fn forward(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) fn options(clock: &HandClock) -> Options {
    Options {
        clock: Arc::new(clock.clone()),
        ..Options::default()
    }
}

/// Runs a future that has no reason to wait.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match poll_once(future) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("had to wait"),
    }
}

/// Polls a future once and drops it.
pub(crate) fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) fn topic(name: &str, partitions: i32) -> TopicSettings {
    TopicSettings {
        name: name.to_owned(),
        partitions,
        cleanup: Cleanup::Retention { ms: None },
    }
}

pub(crate) fn compacted(name: &str) -> TopicSettings {
    TopicSettings {
        name: name.to_owned(),
        partitions: 1,
        cleanup: Cleanup::Compact,
    }
}

/// Commits one transaction as a new holder of an id of its own.
pub(crate) fn commit(log: &EmbeddedLog, records: Vec<NewRecord>) -> Result<(), LogError> {
    let mut producer = now(log.producer("somebody"))?;
    now(producer.commit(records))
}

pub(crate) fn fetch(log: &EmbeddedLog, topic: &str, partition: i32, from: i64) -> Fetched {
    let mut reader = now(log.reader(topic, partition, from)).unwrap();
    now(reader.fetch(usize::MAX, usize::MAX, Duration::ZERO)).unwrap()
}

/// All records of a partition.
pub(crate) fn all(log: &EmbeddedLog, topic: &str, partition: i32) -> Vec<Record> {
    let from = now(log.offsets(topic, partition)).unwrap().earliest;
    let fetched = fetch(log, topic, partition, from);
    assert!(fetched.at_end);
    fetched.records
}

pub(crate) fn text(bytes: &Option<Bytes>) -> String {
    bytes.as_ref().map_or("-".to_owned(), |bytes| {
        String::from_utf8(bytes.to_vec()).unwrap()
    })
}

/// All values of a partition.
pub(crate) fn values(log: &EmbeddedLog, topic: &str, partition: i32) -> Vec<String> {
    all(log, topic, partition)
        .iter()
        .map(|record| text(&record.value))
        .collect()
}

/// Runs a promise on a log in memory and on one in a folder.
pub(crate) fn on_both(options: &Options, promise: impl Fn(&EmbeddedLog)) {
    promise(&EmbeddedLog::in_memory(options.clone()));
    let folder = empty_folder();
    promise(&EmbeddedLog::open(folder.path(), options.clone()).unwrap());
}

/// All files of a folder with their contents, by their paths within it; without the lock.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name() != Some("lock".as_ref()) {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// A folder with these files.
pub(crate) fn folder_of(files: &BTreeMap<PathBuf, Vec<u8>>) -> TempDir {
    let folder = empty_folder();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

/// An empty folder, in memory where the system has such: the tests write, rename and remove a great many files.
pub(crate) fn empty_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}
