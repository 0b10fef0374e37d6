//! How far the tasks are, as the state topics say: the same that whoever takes a task over goes on from.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use serde_json::Value;

use super::topic::{consumer, partitions};

/// How often it is looked for new partitions.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(20);

/// An input and a partition of it.
pub(crate) type Task = (String, i32);

/// What a task has committed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Committed {
    /// When, ms since the epoch, ascending.
    pub(crate) at_ms: Vec<i64>,
    /// Its newest progress.
    pub(crate) newest: Value,
}

impl Committed {
    /// Up to where it has read, of a source's task.
    pub(crate) fn next_offset(&self) -> i64 {
        self.newest["main"]["next_offset"].as_i64().unwrap_or(0)
    }

    /// Its watermark, of a step's task.
    pub(crate) fn watermark_ms(&self) -> Option<i64> {
        self.newest["watermark_ms"].as_i64()
    }

    /// When it was that it committed first after a moment.
    pub(crate) fn first_after(&self, ms: i64) -> Option<i64> {
        let before = self.at_ms.partition_point(|&at_ms| at_ms <= ms);
        self.at_ms.get(before).copied()
    }
}

type Tasks = BTreeMap<Task, Committed>;

/// Follows the state topics of the inputs of a pipeline.
pub(crate) struct Progress {
    tasks: Arc<Mutex<Tasks>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// `pipeline` as in the names of topics.
    pub(crate) fn follow(bootstrap: &str, pipeline: &str, inputs: &[&str]) -> Self {
        let inputs = inputs.iter().map(|input| (*input).to_owned());
        let topics: BTreeMap<String, String> = inputs
            .map(|input| (format!("{pipeline}.{input}.state"), input))
            .collect();
        let (tasks, stop) = (Arc::default(), Arc::default());
        let follower = Follower {
            consumer: consumer(bootstrap),
            topics,
            assigned: TopicPartitionList::new(),
            tasks: Arc::clone(&tasks),
        };
        let stopped = Arc::clone(&stop);
        let thread = Some(std::thread::spawn(move || follower.run(&stopped)));
        Self {
            tasks,
            stop,
            thread,
        }
    }

    /// Waits until the tasks are as they have to be. What else they were, where they are not in time.
    pub(crate) fn until<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&Tasks) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + within;
        loop {
            if let Some(found) = look(&self.tasks.lock()) {
                return found;
            }
            if Instant::now() > deadline {
                panic!("{what} did not come within {within:?}: {}", self.summary());
            }
            std::thread::sleep(STEP);
        }
    }

    pub(crate) fn tasks(&self) -> Tasks {
        self.tasks.lock().clone()
    }

    fn summary(&self) -> String {
        let tasks = self.tasks.lock();
        let one = |(task, committed): (&Task, &Committed)| {
            let at_ms = committed.at_ms.last();
            format!(
                "{task:?} committed last at {at_ms:?}: {}\n",
                committed.newest
            )
        };
        tasks.iter().map(one).collect()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Follower {
    consumer: BaseConsumer,
    /// The input of each topic.
    topics: BTreeMap<String, String>,
    assigned: TopicPartitionList,
    tasks: Arc<Mutex<Tasks>>,
}

impl Follower {
    fn run(mut self, stop: &AtomicBool) {
        let mut looked_at: Option<Instant> = None;
        while !stop.load(Ordering::Relaxed) {
            if looked_at.is_none_or(|at| at.elapsed() > LOOK_EVERY) {
                self.assign();
                looked_at = Some(Instant::now());
            }
            // While Kafka is away it says so, again and again.
            if let Some(Ok(message)) = self.consumer.poll(STEP) {
                let (Some(key), Some(value)) = (message.key(), message.payload()) else {
                    continue;
                };
                if key == b"progress" || key == b"g1/progress" {
                    let task = (self.topics[message.topic()].clone(), message.partition());
                    let mut tasks = self.tasks.lock();
                    let committed = tasks.entry(task).or_default();
                    committed.newest = serde_json::from_slice(value).unwrap();
                    committed.at_ms.extend(message.timestamp().to_millis());
                }
            }
        }
    }

    /// Takes up partitions that it has not yet.
    fn assign(&mut self) {
        let mut added = TopicPartitionList::new();
        for topic in self.topics.keys() {
            let partitions = partitions(&self.consumer, topic).unwrap_or(0);
            for partition in 0..i32::try_from(partitions).unwrap() {
                if self.assigned.find_partition(topic, partition).is_none() {
                    added
                        .add_partition_offset(topic, partition, Offset::Beginning)
                        .unwrap();
                    self.assigned.add_partition(topic, partition);
                }
            }
        }
        if added.count() > 0 {
            self.consumer.incremental_assign(&added).unwrap();
        }
    }
}
