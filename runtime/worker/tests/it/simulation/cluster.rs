//! The scheduler: processes that work, stand still, die and come back, as a story says.
mod database;
mod retention;
mod sender;
mod strangers;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::executor::block_on;
use futures::future::join_all;
use tidewheel_log::{Cleanup, Clock, EmbeddedLog, Log, Options, TopicSettings};
use tidewheel_planner::plan::Plan;
use tidewheel_sinks::Sink;
use tidewheel_sinks::embedded::Database;
use tidewheel_worker::{Control, Limits, Status, TaskStatus, Timer, Worker, WorkerError};
use tokio_util::sync::CancellationToken;

use self::database::Saved;
use self::strangers::Stranger;
use super::event::Event;
use super::faulty_log::FaultyLog;
use super::faulty_sink::FaultySink;
use super::scenario::Scenario;
use super::story::{Happening, Story};
use super::unended::Unended;
use super::world::{Detail, LogClock, Luck, ProcessTimer, World};
use crate::fixture::{SINK, create_partials, create_tables, create_topics, names, plan};

/// More steps than any seed needs to come to its end.
const PATIENCE: usize = 400_000;

/// After how many steps of the last worker somebody looks whether a task waits for a person.
const LOOK_EVERY: usize = 500;

/// A pipeline and all that it runs on.
pub(crate) struct Cluster {
    pub(crate) world: Arc<World>,
    pub(crate) scenario: Scenario,
    pub(crate) plan: Arc<Plan>,
    pub(crate) log: EmbeddedLog,
    pub(crate) database: Database,
    /// By source, partition and offset.
    pub(crate) events: BTreeMap<(usize, i32, i64), Event>,
    /// When those were appended that retention has taken, ms.
    pub(crate) gone: BTreeMap<(usize, i32, i64), i64>,
    /// Which version the plan of a revision is.
    pub(crate) revisions: Arc<Mutex<BTreeMap<i64, usize>>>,
    _folder: tempfile::TempDir,
    version: usize,
    processes: Vec<Process>,
    started: usize,
    /// How many processes there may be at a time.
    most_processes: usize,
    steps: u64,
    /// The partitions of the sources.
    partitions: BTreeSet<(usize, i32)>,
    /// Sources whose state topic lacks partitions that they have been given.
    lagging: BTreeMap<usize, i32>,
    saved: Option<Saved>,
    strangers: Vec<Stranger>,
    snapshot_every: Duration,
    small_batches: bool,
    /// The times of the events that were sent, by their numbers, ms.
    sent: BTreeMap<usize, i64>,
    /// Offsets of dead letters that were sent again.
    sent_again: BTreeSet<i64>,
    unended: Arc<Unended>,
}

/// A simulated worker process.
struct Process {
    id: usize,
    future: Pin<Box<dyn Future<Output = ()>>>,
    frozen_until_ms: Option<i64>,
    control: Arc<Mutex<Option<Control>>>,
    stop: CancellationToken,
    is_woken: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Cluster {
    pub(crate) fn new(story: &Story, world: Arc<World>) -> Self {
        let scenario = story.scenario.clone();
        let plan = plan(&scenario.yaml(0));
        let clock: Arc<dyn Clock> = Arc::new(LogClock(Arc::clone(&world)));
        let log = EmbeddedLog::in_memory(Options {
            clock,
            transaction_markers: story.transaction_markers,
            ..Options::default()
        });
        create_topics(&log, &plan);
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        }
        .unwrap();
        let database = block_on(create_tables(&folder.path().join("tables.db"), &plan));
        Self {
            partitions: (0..)
                .zip(&scenario.partitions)
                .flat_map(|(source, &partitions)| {
                    (0..partitions).map(move |partition| (source, partition))
                })
                .collect(),
            lagging: BTreeMap::new(),
            sent: BTreeMap::new(),
            sent_again: BTreeSet::new(),
            unended: Arc::new(Unended::new(Arc::clone(&world))),
            world,
            scenario,
            plan,
            log,
            database,
            events: BTreeMap::new(),
            gone: BTreeMap::new(),
            strangers: Vec::new(),
            snapshot_every: Duration::from_millis(story.snapshot_every_ms),
            small_batches: story.small_batches,
            revisions: Arc::default(),
            _folder: folder,
            version: 0,
            processes: Vec::new(),
            started: 0,
            most_processes: story.most_processes,
            steps: 0,
            saved: None,
        }
    }

    /// Plays a story, then lets one undisturbed process finish. What that process says of its tasks.
    pub(crate) fn run(&mut self, story: &Story) -> Status {
        let world = Arc::clone(&self.world);
        let mut happenings = story.happenings.iter().peekable();
        for step in 0..story.steps {
            self.begin_step();
            while let Some((_, happening)) = happenings.next_if(|(at, _)| *at <= step) {
                world.note(Detail::Story, || happening.to_string());
                self.happen(happening);
            }
            if world.chance(0.2) {
                world.advance(world.between(0, 200));
            }
            self.step();
        }
        self.finish()
    }

    fn begin_step(&mut self) {
        self.world.begin_step(self.steps);
        self.steps += 1;
    }

    fn happen(&mut self, happening: &Happening) {
        let any_process = |which: usize| which.checked_rem(self.processes.len());
        match *happening {
            Happening::TimePasses { ms } => self.world.advance(ms),
            Happening::Event(ref sending) => self.send(sending),
            Happening::SentAgain { which, ours } => self.send_again(which, ours),
            Happening::PartitionAdded { source } => {
                if source < self.scenario.partitions.len() {
                    self.add_partition(source);
                }
            }
            Happening::StateProvisioned => self.provision_state(),
            Happening::WorkerStarts(start) => {
                if self.processes.len() < self.most_processes {
                    self.start(start.topics_after_ms, start.version, None);
                }
            }
            Happening::WorkerDies { which, silently } => {
                if let Some(index) = any_process(which) {
                    self.crash(index, silently);
                }
            }
            Happening::WorkerStops { which } => {
                if let Some(index) = any_process(which) {
                    self.stop(index);
                }
            }
            Happening::ClockSet { which, by_ms } => {
                if let Some(index) = any_process(which) {
                    self.world.set_clock(self.processes[index].id, by_ms);
                }
            }
            Happening::LogClockSet { by_ms } => self.world.set_log_clock(by_ms),
            Happening::StrangerJoins { which, for_ms } => self.let_stranger_join(which, for_ms),
            Happening::Retention { place, kept_ms } => self.retain(place, kept_ms),
            Happening::Acknowledged => self.acknowledge(),
            Happening::WorkerHangs { which, for_ms } => {
                if let Some(index) = any_process(which) {
                    let process = &mut self.processes[index];
                    process.frozen_until_ms = Some(self.world.now_ms() + for_ms);
                    self.trace(|cluster| {
                        format!("process {} stands still", cluster.processes[index].id)
                    });
                }
            }
            Happening::DatabaseSaved => self.save_database(),
            Happening::DatabaseSetBack => self.set_database_back(),
            Happening::PlanChanges => {
                if self.version + 1 < self.scenario.versions.len() {
                    self.change_plan();
                }
            }
            Happening::CallFails { done: false } => self.world.foretell(Luck::FailsBefore),
            Happening::CallFails { done: true } => self.world.foretell(Luck::FailsAfter),
            Happening::CommitHeldUp => self.world.hold_up(),
        }
    }

    fn finish(&mut self) -> Status {
        let world = Arc::clone(&self.world);
        world.note(Detail::Story, || {
            "all goes well from here on, for a worker of its own".to_owned()
        });
        self.begin_step();
        world.clear_up();
        self.strangers.clear();
        self.provision_state();
        // Those that stand still come back when all is done; the others are gone.
        for index in (0..self.processes.len()).rev() {
            if self.processes[index].frozen_until_ms.is_some() {
                self.processes[index].frozen_until_ms = Some(i64::MAX);
            } else {
                self.crash(index, world.chance(0.5));
            }
        }
        let is_closed = Arc::new(AtomicBool::new(false));
        self.start(0, None, Some(Arc::clone(&is_closed)));
        let control = Arc::clone(&self.processes[self.processes.len() - 1].control);
        let status = || {
            control
                .lock()
                .unwrap()
                .as_ref()
                .map(Control::status)
                .unwrap_or_default()
        };
        for steps in 0.. {
            if is_closed.load(Ordering::Relaxed) {
                break;
            }
            assert!(steps < PATIENCE, "the windows never close: {:#?}", status());
            if steps % LOOK_EVERY == LOOK_EVERY - 1 {
                if self.scenario.forgets {
                    self.acknowledge();
                }
                let waits = |task: &TaskStatus| task.blocked_until_mended;
                assert!(
                    self.scenario.forgets || !status().values().any(waits),
                    "a task waits for somebody: {:#?}",
                    status()
                );
            }
            self.begin_step();
            self.step();
        }
        let status = status();
        self.trace(|_| "all windows are closed; zombies wake".to_owned());
        self.processes
            .iter_mut()
            .for_each(|process| process.frozen_until_ms = None);
        for _ in 0..200 {
            self.begin_step();
            if world.chance(0.02) {
                world.foretell(*world.pick(&[Luck::FailsBefore, Luck::FailsAfter]));
            }
            self.step();
        }
        self.processes.clear();
        status
    }

    fn trace(&self, text: impl FnOnce(&Self) -> String) {
        self.world.note(Detail::Everything, || text(self));
    }

    /// Opens one gate of one process, or lets time pass until there is one.
    fn step(&mut self) {
        let world = Arc::clone(&self.world);
        self.unended.end_one();
        self.look_after_strangers();
        let now_ms = world.now_ms();
        for process in &mut self.processes {
            process.frozen_until_ms = process
                .frozen_until_ms
                .filter(|until_ms| *until_ms > now_ms);
        }
        let awake: Vec<usize> = (0..self.processes.len())
            .filter(|&index| self.processes[index].frozen_until_ms.is_none())
            .collect();
        let ready: Vec<(usize, Vec<u64>)> = awake
            .iter()
            .map(|&index| (index, world.due_gates(self.processes[index].id)))
            .filter(|(_, gates)| !gates.is_empty())
            .collect();
        if ready.is_empty() {
            let ids: Vec<usize> = awake
                .iter()
                .map(|&index| self.processes[index].id)
                .collect();
            let wait_ms = world
                .next_due_ms(&ids)
                .map_or(200, |due_ms| (due_ms - now_ms).clamp(1, 1_000));
            world.advance(wait_ms);
            return;
        }
        let (index, gates) = world.pick(&ready);
        world.open(*world.pick(gates));
        self.poll(*index);
    }

    fn poll(&mut self, index: usize) {
        let process = &mut self.processes[index];
        loop {
            process.is_woken.0.store(false, Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(&process.is_woken));
            let ended = process
                .future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready();
            if ended {
                let id = process.id;
                self.processes.remove(index);
                self.trace(|_| format!("process {id} has nothing left to do"));
                return;
            }
            if !process.is_woken.0.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn crash(&mut self, index: usize, silently: bool) {
        let process = self.processes.remove(index);
        self.trace(|_| {
            format!(
                "process {} dies{}",
                process.id,
                if silently { " without a word" } else { "" }
            )
        });
        self.world.set_dying_silently(silently);
        drop(process);
        self.world.set_dying_silently(false);
    }

    /// Tells a process to stop. One that stands still hears of it when it goes on.
    fn stop(&mut self, index: usize) {
        let process = &self.processes[index];
        process.stop.cancel();
        self.trace(|_| format!("process {} is told to stop", process.id));
        if process.frozen_until_ms.is_none() {
            self.poll(index);
        }
    }

    /// Gives a source one more partition. The topic that its task needs for its state follows later.
    fn add_partition(&mut self, source: usize) {
        let partition = (0..)
            .find(|&partition| !self.partitions.contains(&(source, partition)))
            .unwrap();
        self.trace(|_| format!("source {source} is given partition {partition}"));
        self.partitions.insert((source, partition));
        self.lagging.insert(source, partition + 1);
        let topic = self.plan.sources[source].topic.clone();
        let kept = Cleanup::Retention { ms: None };
        grow(&self.log, topic, partition + 1, kept);
    }

    /// Makes the partitions of state topics that are missing.
    fn provision_state(&mut self) {
        for (source, partitions) in std::mem::take(&mut self.lagging) {
            self.trace(|_| format!("source {source} has state for {partitions} partitions"));
            let topic = names(&self.plan).state(&self.plan.sources[source].name);
            grow(&self.log, topic, partitions, Cleanup::Compact);
        }
    }

    /// From now on processes start with the next version. Those that run go on with theirs.
    fn change_plan(&mut self) {
        self.version += 1;
        // Whoever has not been given its generations yet would be given new ones, as if its plan were the newest: without ages nobody
        // can tell.
        for index in (0..self.processes.len()).rev() {
            if !self.scenario.ages && self.processes[index].control.lock().unwrap().is_none() {
                self.crash(index, false);
            }
        }
        self.trace(|cluster| format!("version {} begins", cluster.version));
        self.start(0, None, None);
    }

    /// Starts a process, with an old version where one is given. `closes`: it is to close all windows, and says there when that is done.
    fn start(
        &mut self,
        topics_after_ms: i64,
        old_version: Option<usize>,
        closes: Option<Arc<AtomicBool>>,
    ) {
        let id = self.started;
        self.started += 1;
        // Only where plans have ages some process may begin with one of long ago.
        let version = old_version
            .filter(|_| self.scenario.ages)
            .map_or(self.version, |version| version.min(self.version));
        self.trace(|_| format!("process {id} starts with version {version}"));
        let plan = if version == 0 {
            Arc::clone(&self.plan)
        } else {
            plan(&self.scenario.yaml(version))
        };
        let timer = Arc::new(ProcessTimer {
            world: Arc::clone(&self.world),
            process: id,
        });
        let raw = self.log.clone();
        let log: Arc<dyn Log> = Arc::new(FaultyLog {
            world: Arc::clone(&self.world),
            process: id,
            inner: raw.clone(),
            unended: Arc::clone(&self.unended),
        });
        let sink = FaultySink {
            world: Arc::clone(&self.world),
            process: id,
            inner: self.database.clone(),
        };
        let sinks = BTreeMap::from([(SINK.to_owned(), Arc::new(sink) as Arc<dyn Sink>)]);
        let usual = Limits::default();
        let (batch_records, large_batches) = match self.small_batches {
            true => (8, 1),
            false => (usual.batch_records, usual.large_batches),
        };
        let limits = Limits {
            batch_records,
            large_batches,
            fetch_wait: Duration::from_millis(500),
            longest_pause: Duration::from_secs(2),
            batch_every: Duration::ZERO,
            snapshot_every: self.snapshot_every,
            ..usual
        };
        let topics_after = Duration::from_millis(topics_after_ms.unsigned_abs());
        let control = Arc::new(Mutex::new(None));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (seen, revisions) = (Arc::clone(&control), Arc::clone(&self.revisions));
        let work = async move {
            let worker = loop {
                let made = Worker::new(
                    Arc::clone(&plan),
                    Arc::clone(&log),
                    sinks.clone(),
                    timer.clone(),
                    limits,
                )
                .await;
                match made {
                    Ok(worker) => break worker,
                    Err(WorkerError::NewerPlan(_)) => return,
                    Err(_) => timer.sleep(Duration::from_millis(200)).await,
                }
            };
            revisions
                .lock()
                .unwrap()
                .entry(worker.revision())
                .or_insert(version);
            let control = worker.control();
            *seen.lock().unwrap() = Some(control.clone());
            let inputs = join_all(worker.inputs(&stopped));
            let provision = async {
                timer.sleep(topics_after).await;
                create_partials(&raw, &worker);
            };
            let close = async move {
                if let Some(is_closed) = closes {
                    control.close_windows().await.unwrap();
                    is_closed.store(true, Ordering::Relaxed);
                }
            };
            futures::join!(provision, inputs, close);
        };
        let is_woken = Arc::new(Flag(AtomicBool::new(false)));
        self.processes.push(Process {
            id,
            future: Box::pin(work),
            frozen_until_ms: None,
            control,
            stop,
            is_woken,
        });
        self.poll(self.processes.len() - 1);
    }
}

fn grow(log: &EmbeddedLog, topic: String, partitions: i32, cleanup: Cleanup) {
    log.create_topic(&TopicSettings {
        name: topic,
        partitions,
        cleanup,
    })
    .unwrap();
}
