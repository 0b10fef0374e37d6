//! Servers of its own, workers, and events that flow.
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tidewheel_e2e::kafka::Kafka;
use tidewheel_e2e::postgres::Postgres;
use tokio::runtime::Runtime;

use super::events::Events;
use super::flow::Flow;
use super::progress::{Committed, Progress, Task};
use super::recovery::Recoveries;
use super::verdict::{Results, check};
use crate::program::root;
use crate::roles::ground::Role;
use crate::roles::mounted::Mounted;

const SPECS: &str = "cli/tests/it/specs/soak";
const PARTITIONS: usize = 3;
const EVENTS_PER_SECOND: u32 = 600;
/// How long anything may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(180);
/// How far the last event is ahead of a window that it closes, and more.
const MINUTE_MS: i64 = 60_000;
const STEPS: [&str; 2] = ["per_kind", "per_rest"];

/// A worker, and which it is.
pub(crate) struct Worker {
    number: usize,
    role: Role,
}

/// All that a fault may befall.
pub(crate) struct Scene {
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    pub(crate) workers: Vec<Worker>,
    pub(crate) flow: Flow,
    pub(crate) random: StdRng,
    /// How many workers were killed.
    pub(crate) kills: usize,
    database: String,
    mounted: Mounted,
    progress: Progress,
    recoveries: Recoveries,
    began: Instant,
    /// How many workers were ever started.
    started: usize,
    logs: PathBuf,
    /// Asks workers.
    runtime: Runtime,
}

impl Scene {
    /// With two workers that are at work.
    pub(crate) fn set(seed: u64) -> Self {
        let kafka = Kafka::start(Default::default()).unwrap();
        let postgres = Postgres::start(Default::default()).unwrap();
        let database = postgres.database().unwrap();
        let url = postgres.url(&database);
        let mounted = Mounted::new(
            &root().join(SPECS),
            &[("namespace: web", "namespace: soak")],
            kafka.bootstrap(),
            &url,
        );
        let made = mounted.provision("specs", &[]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        let mut random = StdRng::seed_from_u64(seed);
        let events = Events::new(StdRng::seed_from_u64(random.random()));
        let inputs = ["readings", STEPS[0], STEPS[1]];
        let progress = Progress::follow(kafka.bootstrap(), "soak.counts", &inputs);
        let flow = Flow::begin(
            kafka.bootstrap(),
            "soak.readings",
            PARTITIONS,
            EVENTS_PER_SECOND,
            events,
        );
        let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{seed}"));
        std::fs::create_dir_all(&logs).unwrap();
        let mut scene = Self {
            kafka,
            postgres,
            workers: Vec::new(),
            flow,
            random,
            kills: 0,
            database,
            mounted,
            progress,
            recoveries: Recoveries::default(),
            began: Instant::now(),
            started: 0,
            logs,
            runtime: Runtime::new().unwrap(),
        };
        let started = SystemTime::now();
        scene.start_worker();
        scene.start_worker();
        scene.recover("the first workers start", started);
        scene
    }

    /// How many tasks there are.
    fn tasks(&self) -> usize {
        self.flow.partitions() + PARTITIONS * STEPS.len()
    }

    pub(crate) fn start_worker(&mut self) {
        self.started += 1;
        let role = self.mounted.role("worker", &[]);
        let number = self.started;
        self.workers.push(Worker { number, role });
    }

    /// Any of the workers.
    pub(crate) fn any(&mut self) -> usize {
        self.random.random_range(0..self.workers.len())
    }

    pub(crate) fn kill_worker(&mut self, index: usize) {
        let Worker { number, role } = self.workers.swap_remove(index);
        self.kills += 1;
        let said = role.running.kill();
        self.keep(number, &said);
    }

    /// Holds a worker, as a machine does that hangs.
    pub(crate) fn hold_worker(&self, index: usize) {
        self.workers[index].role.running.signal("STOP");
    }

    pub(crate) fn wake_worker(&self, index: usize) {
        self.workers[index].role.running.signal("CONT");
    }

    /// Waits until every worker has its assignment.
    pub(crate) fn ready(&self) {
        for Worker { role, .. } in &self.workers {
            self.runtime.block_on(role.ready());
        }
    }

    pub(crate) fn stop_worker(&mut self, index: usize) {
        let Worker { number, role } = self.workers.swap_remove(index);
        let (code, said) = role.running.stop_and_tell();
        self.keep(number, &said);
        assert_eq!(code, 0, "worker {number}, see {}", self.logs.display());
    }

    /// Keeps what a worker said, for whoever has to find out what happened.
    fn keep(&self, number: usize, said: &[String]) {
        let path = self.logs.join(format!("worker-{number}.log"));
        let mut file = std::fs::File::create(&path).unwrap();
        for line in said {
            writeln!(file, "{line}").unwrap();
        }
        let panicked = said.iter().any(|line| line.contains("panicked"));
        assert!(!panicked, "a worker panicked: see {}", path.display());
    }

    /// Waits for up to so long, a random while.
    pub(crate) fn wait(&mut self, longest: Duration) {
        let ms = self.random.random_range(0..=longest.as_millis() as u64);
        std::thread::sleep(Duration::from_millis(ms));
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    /// Waits until every task has committed since, and then until the tasks of the source have read what was there by then.
    pub(crate) fn recover(&mut self, fault: &str, since: SystemTime) {
        let (since_ms, all) = (millis(since), self.tasks());
        let first_ms = self.progress.until(fault, PATIENCE, |tasks| {
            let first = tasks.values().map(|task| task.first_after(since_ms));
            let first: Vec<i64> = first.collect::<Option<_>>()?;
            (first.len() == all).then(|| first.into_iter().max())?
        });
        let ends = self.ends();
        self.progress.until(fault, PATIENCE, |tasks| {
            let mut ends = ends.iter();
            ends.all(|(partition, end)| {
                let task = tasks.get(&("readings".to_owned(), *partition));
                task.is_some_and(|task| task.next_offset() >= *end)
            })
            .then_some(())
        });
        let first = Duration::from_millis(u64::try_from(first_ms - since_ms).unwrap());
        let all = since.elapsed().unwrap();
        println!(
            "{:>7.1} s  {fault}, {}: every task commits after {:.1} s, everything is read after {:.1} s",
            self.began.elapsed().as_secs_f64(),
            // As in the logs of workers.
            DateTime::<Utc>::from(since).format("%H:%M:%S%.3f"),
            first.as_secs_f64(),
            all.as_secs_f64(),
        );
        self.recoveries.add(fault, first, all);
    }

    /// The ends of the source's partitions that workers know of.
    fn ends(&self) -> Vec<(i32, i64)> {
        let consumer = super::topic::consumer(self.kafka.bootstrap());
        let tasks = self.progress.tasks().into_keys();
        let partitions = tasks.filter(|(input, _)| input == "readings");
        partitions
            .map(|(_, partition)| {
                use rdkafka::consumer::Consumer as _;
                let ends = consumer.fetch_watermarks("soak.readings", partition, PATIENCE);
                (partition, ends.unwrap().1)
            })
            .collect()
    }

    /// Adds a partition to the source's topic, as whoever changes the EventSource does; workers go on with the plan that they have.
    pub(crate) fn grow(&mut self) {
        let partitions = self.flow.partitions() + 1;
        let specs = std::fs::read_to_string(root().join(SPECS).join("soak.yaml")).unwrap();
        let specs = specs.replace("namespace: web", "namespace: soak").replace(
            &format!("topic: {{partitions: {PARTITIONS}}}"),
            &format!("topic: {{partitions: {partitions}}}"),
        );
        std::fs::write(self.mounted.path("grown.yaml"), specs).unwrap();
        let made = self.mounted.provision("grown.yaml", &[]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        self.flow.grow();
    }

    /// Lets everything come to its end and compares it with the batch query. What was compared, and the times.
    pub(crate) fn end(mut self) -> (String, Recoveries) {
        let all = self.tasks();
        let last_ms = self.flow.end();
        self.progress.until("the end", PATIENCE, |tasks| {
            let is_done = |((input, _), task): (&Task, &Committed)| {
                input == "readings"
                    || task
                        .watermark_ms()
                        .is_some_and(|ms| ms > last_ms - MINUTE_MS)
            };
            (tasks.len() == all && tasks.iter().all(is_done)).then_some(())
        });
        while !self.workers.is_empty() {
            self.stop_worker(0);
        }
        let rows = |query: &str| -> Vec<Value> {
            let rows = self.postgres.sql(
                &self.database,
                &format!("SELECT row_to_json(t) FROM ({query}) t"),
            );
            let row = |line: &str| serde_json::from_str(line).unwrap();
            rows.unwrap().lines().map(row).collect()
        };
        let compared = check(&Results {
            bootstrap: self.kafka.bootstrap(),
            rows: &rows,
            tasks: self.progress.tasks(),
        });
        (compared, self.recoveries)
    }
}

fn millis(time: SystemTime) -> i64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since_epoch.as_millis()).unwrap()
}
