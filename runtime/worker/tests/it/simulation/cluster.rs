//! The scheduler: processes that work, stand still, die and come back, as the seed says.
mod database;
mod sender;

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
use tidewheel_worker::{Control, Limits, Status, Timer, Worker, WorkerError};
use tokio_util::sync::CancellationToken;

use self::database::Saved;
use super::faulty_log::FaultyLog;
use super::faulty_sink::FaultySink;
use super::scenario::{Event, Scenario};
use super::unended::Unended;
use super::world::{ProcessTimer, World};
use crate::fixture::{SINK, create_partials, create_tables, create_topics, names, plan};

/// More steps than any seed needs to come to its end.
const PATIENCE: usize = 400_000;

/// A pipeline and all that it runs on.
pub(crate) struct Cluster {
    pub(crate) world: Arc<World>,
    pub(crate) scenario: Scenario,
    pub(crate) plan: Arc<Plan>,
    pub(crate) log: EmbeddedLog,
    pub(crate) database: Database,
    /// By source, partition and offset.
    pub(crate) events: BTreeMap<(usize, i32, i64), Event>,
    /// Which version the plan of a revision is.
    pub(crate) revisions: Arc<Mutex<BTreeMap<i64, usize>>>,
    _folder: tempfile::TempDir,
    version: usize,
    processes: Vec<Process>,
    started: usize,
    /// The partitions of the sources, and whether each sleeps.
    partitions: BTreeMap<(usize, i32), bool>,
    /// Sources whose state topic lacks partitions that they have been given.
    lagging: BTreeMap<usize, i32>,
    saved: Option<Saved>,
    /// Whether dead letters are sent again. Half of the seeds do as before.
    sends_again: bool,
    /// Offsets of those that were.
    sent_again: BTreeSet<i64>,
    unended: Arc<Unended>,
    traces: bool,
}

/// A simulated worker process.
struct Process {
    id: usize,
    future: Pin<Box<dyn Future<Output = ()>>>,
    frozen_until_ms: Option<i64>,
    control: Arc<Mutex<Option<Control>>>,
    is_woken: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Cluster {
    pub(crate) fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let scenario = Scenario::draw(&world);
        let plan = plan(&scenario.yaml(0));
        let traces = std::env::var_os("SIM_TRACE").is_some();
        let clock: Arc<dyn Clock> = Arc::clone(&world) as _;
        let log = EmbeddedLog::in_memory(Options {
            clock,
            transaction_markers: world.chance(0.7),
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
                    (0..partitions).map(move |partition| ((source, partition), false))
                })
                .collect(),
            lagging: BTreeMap::new(),
            // What a later version computes anew it may take of what an earlier one could not.
            sends_again: seed % 2 == 1 && scenario.versions.len() == 1,
            sent_again: BTreeSet::new(),
            world,
            scenario,
            plan,
            log,
            database,
            events: BTreeMap::new(),
            revisions: Arc::default(),
            _folder: folder,
            version: 0,
            processes: Vec::new(),
            started: 0,
            saved: None,
            unended: Arc::new(Unended::new(traces)),
            traces,
        }
    }

    /// Lets chance rule until all events are sent, then lets one undisturbed process finish. What that process says of its tasks.
    pub(crate) fn run(&mut self) -> Status {
        self.trace(|cluster| format!("{:#?}", cluster.scenario));
        let world = Arc::clone(&self.world);
        world.set_fault_rate(*world.pick(&[0.001, 0.01, 0.04]));
        world.set_slow_to_end_rate(*world.pick(&[0.0, 0.1, 0.5]));
        let most_processes = 1 + world.below(3);
        let (crash_rate, freeze_rate) = (
            *world.pick(&[0.0, 0.004, 0.02]),
            *world.pick(&[0.0, 0.004, 0.02]),
        );
        // What an earlier generation has lost its successor does not repair: such a change waits for the repair.
        let set_back_rate = if self.scenario.versions.len() == 1 {
            *world.pick(&[0.0, 0.005])
        } else {
            0.0
        };
        let pace = *world.pick(&[8, 30, 80]);
        let mut chunks = world.between(10, 25);
        let changes_at: Vec<i64> = (1..self.scenario.versions.len())
            .map(|_| world.between(1, chunks - 1))
            .collect();
        let mut until_chunk = 0;
        while chunks > 0 || until_chunk > 0 {
            if until_chunk == 0 {
                chunks -= 1;
                self.send();
                if self.sends_again {
                    (0..world.between(0, 4)).for_each(|_| self.send_again());
                }
                until_chunk = world.below(pace) + if chunks == 0 { 300 } else { 1 };
                let due = changes_at.iter().filter(|&&at| at == chunks).count();
                (0..due).for_each(|_| self.change_plan());
                if self.scenario.grows && world.chance(0.15) {
                    self.add_partition();
                }
            }
            if world.chance(0.1) {
                self.provision_state();
            }
            until_chunk -= 1;
            if self.processes.len() < most_processes && world.chance(0.1) {
                self.start(None);
            }
            if !self.processes.is_empty() && world.chance(crash_rate) {
                let index = world.below(self.processes.len());
                self.crash(index, world.chance(0.5));
            }
            if world.chance(set_back_rate) {
                self.save_or_set_back();
            }
            if !self.processes.is_empty() && world.chance(freeze_rate) {
                let index = world.below(self.processes.len());
                let until_ms = world.now_ms() + world.between(500, 20_000);
                self.trace(|cluster| {
                    format!("process {} stands still", cluster.processes[index].id)
                });
                self.processes[index].frozen_until_ms = Some(until_ms);
            }
            if world.chance(0.2) {
                world.advance(world.between(0, 200));
            }
            self.step();
        }
        self.finish()
    }

    fn finish(&mut self) -> Status {
        let world = Arc::clone(&self.world);
        let fault_rate = 0.02;
        world.set_fault_rate(0.0);
        world.set_slow_to_end_rate(0.0);
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
        self.start(Some(Arc::clone(&is_closed)));
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
            self.step();
        }
        let status = status();
        self.trace(|_| "all windows are closed; zombies wake".to_owned());
        world.set_fault_rate(fault_rate);
        self.processes
            .iter_mut()
            .for_each(|process| process.frozen_until_ms = None);
        (0..200).for_each(|_| self.step());
        self.processes.clear();
        status
    }

    fn trace(&self, text: impl FnOnce(&Self) -> String) {
        if self.traces {
            println!(
                "{:>7} ms  {}",
                self.world.now_ms() - super::world::BEGINNING_MS,
                text(self)
            );
        }
    }

    /// Opens one gate of one process, or lets time pass until there is one.
    fn step(&mut self) {
        let world = Arc::clone(&self.world);
        self.unended.end_one(&world);
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

    /// Gives a source one more partition. The topic that its task needs for its state follows later.
    fn add_partition(&mut self) {
        let source = self.world.below(self.scenario.partitions.len());
        let partition = (0..)
            .find(|&partition| !self.partitions.contains_key(&(source, partition)))
            .unwrap();
        self.trace(|_| format!("source {source} is given partition {partition}"));
        self.partitions.insert((source, partition), false);
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
        self.start(None);
    }

    fn start(&mut self, closes: Option<Arc<AtomicBool>>) {
        let id = self.started;
        self.started += 1;
        // Where plans have ages, some process may begin with one of long ago.
        let version = if self.scenario.ages && closes.is_none() && self.world.chance(0.3) {
            self.world.below(self.version + 1)
        } else {
            self.version
        };
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
        let limits = Limits {
            fetch_wait: Duration::from_millis(500),
            longest_pause: Duration::from_secs(2),
            batch_every: Duration::ZERO,
            ..Limits::default()
        };
        let topics_after = Duration::from_millis(*self.world.pick(&[0, 0, 300, 3_000]));
        let control = Arc::new(Mutex::new(None));
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
            let stop = CancellationToken::new();
            let inputs = join_all(worker.inputs(&stop));
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
