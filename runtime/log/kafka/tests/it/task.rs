//! A task as the engine has them: each transaction moves its progress, and it goes on from there.
use std::{collections::BTreeMap, time::Duration};

use tidewheel_log::{Cleanup, LogError, Producer, Record, TopicSettings, take_over};
use tidewheel_log_contract::Subject;

use crate::setup::{OnKafka, record, text};

/// How many partitions tasks write to, beside that of their state.
const PARTITIONS: i32 = 2;

/// The topics that tasks share.
#[derive(Clone)]
pub(crate) struct Topics {
    pub(crate) written: String,
    pub(crate) state: String,
}

pub(crate) struct Task<'a> {
    subject: &'a OnKafka,
    topics: Topics,
    index: i32,
    holder: Option<Box<dyn Producer>>,
    pub(crate) next: u32,
}

impl Topics {
    pub(crate) async fn create(subject: &OnKafka, tasks: i32) -> Self {
        let state = TopicSettings {
            name: subject.name("state"),
            partitions: tasks,
            cleanup: Cleanup::Compact,
        };
        subject.create_topic(&state).await;
        Self {
            written: subject.topic(PARTITIONS).await,
            state: state.name,
        }
    }

    /// Asserts that each task wrote its numbers in order, each once, to all partitions.
    pub(crate) async fn assert_written_once(&self, subject: &OnKafka, next: &[u32]) {
        let expected: BTreeMap<usize, Vec<u32>> = next
            .iter()
            .enumerate()
            .map(|(index, &next)| (index, (0..next).collect()))
            .collect();
        for partition in 0..PARTITIONS {
            let mut written: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
            for value in subject.values(&self.written, partition).await {
                let (index, number) = value.split_once(':').unwrap();
                let numbers = written.entry(index.parse().unwrap()).or_default();
                numbers.push(number.parse().unwrap());
            }
            assert_eq!(written, expected, "partition {partition}");
        }
    }
}

impl<'a> Task<'a> {
    pub(crate) fn new(subject: &'a OnKafka, topics: &Topics, index: i32) -> Self {
        Self {
            subject,
            topics: topics.clone(),
            index,
            holder: None,
            next: 0,
        }
    }

    pub(crate) async fn run_until(&mut self, next: u32) {
        while self.next < next {
            if self.step().await.is_err() {
                self.holder = None;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn step(&mut self) -> Result<(), LogError> {
        let Some(holder) = &mut self.holder else {
            return self.take_over().await;
        };
        let (index, next) = (self.index, self.next);
        let to = |partition| {
            let value = format!("{index}:{next}");
            record(&self.topics.written, partition, "k", &value)
        };
        let mut records: Vec<_> = (0..PARTITIONS).map(to).collect();
        let progress = (next + 1).to_string();
        records.push(record(&self.topics.state, index, "progress", &progress));
        holder.commit(records).await?;
        self.next += 1;
        Ok(())
    }

    async fn take_over(&mut self) -> Result<(), LogError> {
        let (log, state) = (&self.subject.log, &self.topics.state);
        let id = format!("task-{}", self.index);
        let mut next = 0;
        let each = |record: Record| next = text(&record.value).parse().unwrap();
        let holder = take_over(log, &id, (state, self.index), each).await?;
        (self.holder, self.next) = (Some(holder), next);
        Ok(())
    }
}
