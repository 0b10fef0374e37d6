//! A broker that goes away in the middle of it all.
use std::time::Duration;

use tidewheel_e2e::kafka::{Kafka, Options};
use tidewheel_log::{Cleanup, Log, LogError, Producer, TopicSettings};
use tidewheel_log_contract::Subject;

use crate::setup::{OnKafka, own_broker, record, text};

/// A task as the engine has them: each transaction moves its progress, and it goes on from there.
struct Task<'a> {
    subject: &'a OnKafka,
    topic: String,
    state: String,
    holder: Option<Box<dyn Producer>>,
    next: u32,
    failures: u32,
}

impl Task<'_> {
    async fn step(&mut self) -> Result<(), LogError> {
        let Some(holder) = &mut self.holder else {
            self.holder = Some(self.subject.log.producer("task").await?);
            self.next = self.progress().await?;
            return Ok(());
        };
        let next = self.next.to_string();
        let records = vec![
            record(&self.topic, 0, "k", &next),
            record(&self.topic, 1, "k", &next),
            record(&self.state, 0, "progress", &(self.next + 1).to_string()),
        ];
        holder.commit(records).await?;
        self.next += 1;
        Ok(())
    }

    async fn progress(&self) -> Result<u32, LogError> {
        let log = &self.subject.log;
        let offsets = log.offsets(&self.state, 0).await?;
        let mut reader = log.reader(&self.state, 0, offsets.earliest).await?;
        let mut progress = 0;
        loop {
            let fetched = reader.fetch(100, 10_000, Duration::from_secs(1)).await?;
            if let Some(last) = fetched.records.last() {
                progress = text(&last.value).parse().unwrap();
            }
            if fetched.at_end {
                return Ok(progress);
            }
        }
    }

    async fn run_until(&mut self, next: u32) {
        while self.next < next {
            if self.step().await.is_err() {
                self.failures += 1;
                self.holder = None;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_task_goes_on_exactly_where_it_was_when_the_broker_stops_dies_and_hangs() {
    let mut kafka = own_broker(Options::default()).await;
    let subject = OnKafka::at(kafka.bootstrap());
    let topic = subject.topic(2).await;
    let state = TopicSettings {
        name: subject.name("state"),
        partitions: 1,
        cleanup: Cleanup::Compact,
    };
    subject.create_topic(&state).await;
    let mut task = Task {
        subject: &subject,
        topic: topic.clone(),
        state: state.name,
        holder: None,
        next: 0,
        failures: 0,
    };
    task.run_until(20).await;
    let blows: [fn(&mut Kafka); 3] = [
        |kafka| kafka.stop().unwrap(),
        |kafka| kafka.kill().unwrap(),
        |kafka| {
            kafka.pause().unwrap();
            // Longer than a transaction may stay open.
            std::thread::sleep(Duration::from_secs(12));
            kafka.resume().unwrap();
        },
    ];
    for blow in blows {
        let until = task.next + 60;
        let struck = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            tokio::task::block_in_place(|| {
                blow(&mut kafka);
                kafka.start_again().unwrap();
            });
        };
        tokio::join!(struck, task.run_until(until));
    }
    let expected: Vec<String> = (0..task.next).map(|n| n.to_string()).collect();
    assert_eq!(subject.values(&topic, 0).await, expected);
    assert_eq!(subject.values(&topic, 1).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_is_not_at_the_end() {
    let kafka = own_broker(Options::default()).await;
    let subject = OnKafka::at(kafka.bootstrap());
    let a = subject.topic(1).await;
    let wait = Duration::from_millis(200);
    let mut reader = subject.log.reader(&a, 0, 0).await.unwrap();
    assert!(reader.fetch(1, 1, wait).await.unwrap().at_end);
    kafka.pause().unwrap();
    // Says so once what it knew is old.
    while reader.fetch(1, 1, wait).await.unwrap().at_end {}
    kafka.resume().unwrap();
    while !reader.fetch(1, 1, wait).await.unwrap().at_end {}
    subject
        .log
        .append(vec![record(&a, 0, "k", "v")])
        .await
        .unwrap();
    while reader.fetch(1, 1, wait).await.unwrap().records.is_empty() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_calls_fail_and_say_why() {
    let subject = OnKafka::at("127.0.0.1:1");
    let refused = subject.log.topic("a").await.unwrap_err();
    assert!(
        matches!(&refused, LogError::Unavailable { reason } if reason.contains("127.0.0.1:1")),
        "{refused}"
    );
}
