//! Events that flow into the source's topic, whatever happens.
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::events::{Event, Events};

/// How fast event time goes, in ms of it for each ms.
const SPEED: i64 = 8;
/// When event time begins: 2020-01-01T00:00:00Z.
const BEGINS_MS: i64 = 1_577_836_800_000;
/// How far the last event of each partition is ahead: all windows close.
const LAST_AHEAD_MS: i64 = 3_600_000;
const STEP: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(120);

/// The flow.
pub(crate) struct Flow {
    controls: Arc<Mutex<Controls>>,
    /// None once it has ended.
    thread: Option<JoinHandle<i64>>,
}

#[derive(Clone, Default)]
struct Controls {
    partitions: usize,
    /// A partition that gets no events.
    quiet: Option<usize>,
    /// Partitions that get so many events at once.
    bursts: Vec<(usize, usize)>,
    ends: bool,
}

impl Flow {
    /// Begins to send so many events a second.
    pub(crate) fn begin(
        bootstrap: &str,
        topic: &str,
        partitions: usize,
        per_second: u32,
        events: Events,
    ) -> Self {
        let controls = Arc::new(Mutex::new(Controls {
            partitions,
            ..Controls::default()
        }));
        let sender = Sender {
            producer: producer(bootstrap),
            topic: topic.to_owned(),
            events,
            began: Instant::now(),
        };
        let shared = controls.clone();
        let thread = std::thread::spawn(move || sender.run(&shared, f64::from(per_second)));
        let thread = Some(thread);
        Self { controls, thread }
    }

    /// One more partition gets events.
    pub(crate) fn grow(&self) {
        self.controls.lock().partitions += 1;
    }

    pub(crate) fn partitions(&self) -> usize {
        self.controls.lock().partitions
    }

    pub(crate) fn quiet(&self, partition: Option<usize>) {
        self.controls.lock().quiet = partition;
    }

    pub(crate) fn burst(&self, partition: usize, events: usize) {
        self.controls.lock().bursts.push((partition, events));
    }

    /// Ends it. The time of the last event of each partition, ms.
    pub(crate) fn end(&mut self) -> i64 {
        self.controls.lock().ends = true;
        self.thread.take().unwrap().join().unwrap()
    }
}

fn producer(bootstrap: &str) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "0")
        .set("linger.ms", "5")
        .set("queue.buffering.max.messages", "1000000")
        .set("topic.metadata.refresh.interval.ms", "500")
        .set("reconnect.backoff.max.ms", "200")
        .set("log_level", "0")
        .create()
        .unwrap()
}

struct Sender {
    producer: BaseProducer,
    topic: String,
    events: Events,
    began: Instant,
}

impl Sender {
    fn run(mut self, controls: &Mutex<Controls>, per_second: f64) -> i64 {
        let mut sent = 0;
        loop {
            let now = {
                let mut controls = controls.lock();
                let now = controls.clone();
                controls.bursts.clear();
                now
            };
            let due = (self.began.elapsed().as_secs_f64() * per_second) as usize;
            for _ in sent..due {
                let event = self.events.draw(self.now_ms());
                let partition = event.number % now.partitions;
                if now.quiet != Some(partition) {
                    self.send(&event, partition);
                }
            }
            sent = due;
            for &(partition, events) in &now.bursts {
                for _ in 0..events {
                    let event = self.events.draw(self.now_ms());
                    self.send(&event, partition);
                }
            }
            if now.ends {
                return self.finish(now.partitions);
            }
            self.producer.poll(STEP);
        }
    }

    fn now_ms(&self) -> i64 {
        BEGINS_MS + self.began.elapsed().as_millis() as i64 * SPEED
    }

    fn send(&self, event: &Event, partition: usize) {
        loop {
            let mut record = BaseRecord::to(&self.topic)
                .key(&event.key)
                .partition(i32::try_from(partition).unwrap());
            if let Some(value) = &event.value {
                record = record.payload(value);
            }
            match self.producer.send(record) {
                Ok(()) => return,
                // It has not heard of the partition yet, or Kafka is away for long.
                Err((
                    KafkaError::MessageProduction(
                        RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::QueueFull,
                    ),
                    _,
                )) => {
                    self.producer.poll(STEP);
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
    }

    fn finish(mut self, partitions: usize) -> i64 {
        let last_ms = self.now_ms() + LAST_AHEAD_MS;
        for partition in 0..partitions {
            let event = self.events.last(last_ms);
            self.send(&event, partition);
        }
        self.producer.flush(PATIENCE).unwrap();
        last_ms
    }
}
