//! What may go wrong, and how it is made to.
use std::time::{Duration, SystemTime};

use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::scene::Scene;

/// How long a server is away at most.
const AWAY: Duration = Duration::from_secs(4);
/// How long a partition is left without events: longer than `idleAfter`.
const QUIET: Duration = Duration::from_secs(5);

/// How long a group waits for a member that says nothing, and a little more.
const SESSION: Duration = Duration::from_secs(7);
/// How long all workers hang at most: longer than a session, and than a transaction may stay open.
const LONGER_THAN_A_TRANSACTION: Duration = Duration::from_secs(13);
/// How many partitions the source's topic has at most in the end.
const MOST_PARTITIONS: usize = 6;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A worker is killed, and another one starts in its place.
    Kill,
    /// And another one while the others take over.
    KillTwice,
    /// All are.
    KillAll,
    /// One after the other as soon as it has begun.
    CrashLoop,
    /// A worker hangs for longer than its session, and wakes up when others have its tasks.
    Zombie,
    /// All workers hang, and nobody takes over.
    HoldAll,
    /// A server is stopped, killed or held, and comes back.
    Away(Server, Manner),
    /// Both servers are killed.
    BothAway,
    /// PostgreSQL loses what it has taken in the last seconds.
    SetBack,
    /// From two workers to one, to four, and back.
    Rebalance,
    /// The source's topic gets another partition.
    Grow,
    /// Nobody works while events pile up, more of them in one partition than in others.
    Backlog,
    /// A partition falls idle, and wakes up.
    Quiet,
}

/// What workers talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Kafka,
    Postgres,
}

/// How a server goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// In good order.
    Stopped,
    Killed,
    /// It keeps its connections and answers nobody.
    Hung,
}

use Fault::*;
use Manner::*;
use Server::*;

/// All of them, and how often each comes when one is drawn.
const WEIGHTS: [(Fault, u32); 18] = [
    (Kill, 24),
    (KillTwice, 10),
    (KillAll, 5),
    (CrashLoop, 3),
    (Zombie, 10),
    (HoldAll, 3),
    (Away(Kafka, Stopped), 2),
    (Away(Kafka, Killed), 2),
    (Away(Kafka, Hung), 3),
    (Away(Postgres, Stopped), 2),
    (Away(Postgres, Killed), 2),
    (Away(Postgres, Hung), 3),
    (BothAway, 2),
    (SetBack, 6),
    (Rebalance, 2),
    (Grow, 1),
    (Backlog, 3),
    (Quiet, 2),
];

/// What happens in every run of the tests, in a few minutes. Everything happens in `make soak`.
const BRIEF: [Fault; 9] = [
    Kill,
    KillTwice,
    Zombie,
    Away(Kafka, Killed),
    Away(Postgres, Killed),
    SetBack,
    Rebalance,
    Grow,
    Backlog,
];

impl Fault {
    pub(crate) fn all() -> Vec<Self> {
        WEIGHTS.iter().map(|(fault, _)| *fault).collect()
    }

    pub(crate) fn brief() -> Vec<Self> {
        BRIEF.into()
    }

    pub(crate) fn draw(scene: &mut Scene) -> Self {
        let drawn = WEIGHTS.choose_weighted(&mut scene.random, |(_, weight)| *weight);
        drawn.unwrap().0
    }

    /// Lets it happen, and waits until everything goes on.
    pub(crate) fn befall(self, scene: &mut Scene) {
        match self {
            Kill => {
                let killed = replace_one(scene);
                scene.recover("a worker is killed", killed);
            }
            KillTwice => {
                replace_one(scene);
                scene.wait(Duration::from_secs(8));
                let killed = replace_one(scene);
                scene.recover("another one is killed while they recover", killed);
            }
            KillAll => kill_all(scene),
            CrashLoop => {
                let mut killed = replace_one(scene);
                for _ in 0..4 {
                    scene.wait(Duration::from_secs(2));
                    let newest = scene.workers.len() - 1;
                    scene.kill_worker(newest);
                    killed = SystemTime::now();
                    scene.start_worker();
                }
                scene.recover("workers are killed one after the other", killed);
            }
            Zombie => zombie(scene),
            HoldAll => {
                (0..scene.workers.len()).for_each(|index| scene.hold_worker(index));
                scene.wait(LONGER_THAN_A_TRANSACTION);
                (0..scene.workers.len()).for_each(|index| scene.wake_worker(index));
                scene.recover("all workers wake that hung", SystemTime::now());
            }
            Away(server, manner) => away(scene, server, manner),
            BothAway => {
                scene.kafka.kill().unwrap();
                scene.postgres.kill().unwrap();
                let what = be_away(scene, "both servers are back");
                scene.kafka.start_again().unwrap();
                scene.wait(AWAY);
                scene.postgres.start_again().unwrap();
                scene.recover(&what, SystemTime::now());
            }
            SetBack => {
                let saved = scene.postgres.save().unwrap();
                let what = be_away(scene, "PostgreSQL is set back");
                scene.postgres.set_back(&saved).unwrap();
                scene.recover(&what, SystemTime::now());
            }
            Rebalance => rebalance(scene),
            Grow if scene.flow.partitions() == MOST_PARTITIONS => {}
            Grow => grow(scene),
            Backlog => backlog(scene),
            Quiet => {
                let partition = scene.random.random_range(0..scene.flow.partitions());
                scene.flow.quiet(Some(partition));
                std::thread::sleep(QUIET);
                scene.flow.quiet(None);
                scene.recover("a partition wakes that was idle", SystemTime::now());
            }
        }
    }
}

/// Kills a worker and starts another one. When it was killed.
fn replace_one(scene: &mut Scene) -> SystemTime {
    let index = scene.any();
    scene.kill_worker(index);
    let killed = SystemTime::now();
    scene.start_worker();
    killed
}

fn stop_one(scene: &mut Scene) {
    let index = scene.any();
    scene.stop_worker(index);
}

/// Waits a while in which something is away, and a worker may die besides. What is to be measured.
fn be_away(scene: &mut Scene, what: &str) -> String {
    scene.wait(AWAY);
    if scene.chance(0.6) {
        return what.to_owned();
    }
    replace_one(scene);
    scene.wait(AWAY / 2);
    format!("{what}; a worker was killed meanwhile")
}

fn away(scene: &mut Scene, server: Server, manner: Manner) {
    match (server, manner) {
        (Kafka, Stopped) => scene.kafka.stop(),
        (Kafka, Killed) => scene.kafka.kill(),
        (Kafka, Hung) => scene.kafka.pause(),
        (Postgres, Stopped) => scene.postgres.stop(),
        (Postgres, Killed) => scene.postgres.kill(),
        (Postgres, Hung) => scene.postgres.pause(),
    }
    .unwrap();
    let name = match server {
        Kafka => "Kafka",
        Postgres => "PostgreSQL",
    };
    let how = match manner {
        Stopped => "was stopped",
        Killed => "was killed",
        Hung => "hung",
    };
    let what = be_away(scene, &format!("{name} is back that {how}"));
    match (server, manner) {
        (Kafka, Hung) => scene.kafka.resume(),
        (Kafka, _) => scene.kafka.start_again(),
        (Postgres, Hung) => scene.postgres.resume(),
        (Postgres, _) => scene.postgres.start_again(),
    }
    .unwrap();
    scene.recover(&what, SystemTime::now());
}

fn kill_all(scene: &mut Scene) {
    let workers = scene.workers.len();
    (0..workers).for_each(|_| scene.kill_worker(0));
    let killed = SystemTime::now();
    scene.wait(AWAY);
    (0..workers).for_each(|_| scene.start_worker());
    scene.recover("all workers are killed", killed);
}

fn zombie(scene: &mut Scene) {
    let index = scene.any();
    scene.hold_worker(index);
    let held = SystemTime::now();
    scene.start_worker();
    scene.recover("a worker hangs", held);
    scene.wake_worker(index);
    if scene.chance(0.5) {
        scene.wait(Duration::from_secs(1));
        scene.kill_worker(index);
        // Nobody misses it, but the group waits for it: what is measured next has to be another fault.
        std::thread::sleep(SESSION);
    } else {
        scene.recover("a zombie wakes", SystemTime::now());
        stop_one(scene);
    }
}

fn rebalance(scene: &mut Scene) {
    stop_one(scene);
    scene.recover("a worker of two leaves", SystemTime::now());
    let joined = SystemTime::now();
    (0..3).for_each(|_| scene.start_worker());
    scene.ready();
    scene.recover("from one worker to four", joined);
    (0..3).for_each(|_| stop_one(scene));
    scene.recover("from four workers to one", SystemTime::now());
    scene.start_worker();
}

fn grow(scene: &mut Scene) {
    scene.grow();
    let grown = SystemTime::now();
    if scene.chance(0.5) {
        scene.recover("a partition is added", grown);
    } else {
        // A new member makes the group share out anew.
        scene.start_worker();
        scene.recover("a partition is added, and a worker", grown);
        stop_one(scene);
    }
}

fn backlog(scene: &mut Scene) {
    (0..scene.workers.len()).for_each(|_| scene.kill_worker(0));
    let partitions = scene.flow.partitions();
    let most = scene.random.random_range(0..partitions);
    scene.flow.burst(most, 15_000);
    scene.flow.burst((most + 1) % partitions, 2_000);
    scene.wait(AWAY);
    let started = SystemTime::now();
    scene.start_worker();
    scene.wait(AWAY);
    scene.start_worker();
    scene.recover("a backlog waits for new workers", started);
}
