//! What may go wrong, and how it is made to.
use std::time::{Duration, SystemTime};

use rand::Rng as _;

use super::scene::Scene;

/// How long a server is away at most.
const AWAY: Duration = Duration::from_secs(4);
/// How long a partition is left without events: longer than `idleAfter`.
const QUIET: Duration = Duration::from_secs(5);

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A worker is killed, and another one starts in its place.
    Kill,
    /// And another one while the others take over.
    KillTwice,
    /// All are.
    KillAll,
    /// A worker hangs for longer than its session, and wakes up when others have its tasks.
    Zombie,
    /// Kafka is stopped in good order, and starts again.
    StopKafka,
    /// Kafka is killed, and starts again.
    KillKafka,
    /// Kafka hangs.
    HoldKafka,
    StopPostgres,
    KillPostgres,
    HoldPostgres,
    /// PostgreSQL loses what it has taken in the last seconds.
    SetBack,
    /// From one worker to four, and back.
    Rebalance,
    /// The source's topic gets another partition.
    Grow,
    /// Nobody works while events pile up, more of them in one partition than in others.
    Backlog,
    /// A partition falls idle, and wakes up.
    Quiet,
}

use Fault::*;

/// Each of them once; those that others need to be told from first.
pub(crate) const ALL: [Fault; 15] = [
    Kill,
    KillTwice,
    KillAll,
    Zombie,
    StopKafka,
    KillKafka,
    HoldKafka,
    StopPostgres,
    KillPostgres,
    HoldPostgres,
    SetBack,
    Rebalance,
    Grow,
    Backlog,
    Quiet,
];

/// How often each comes when it is drawn; partitions are added once, or there would be ever more.
const WEIGHTS: [(Fault, u32); 14] = [
    (Kill, 24),
    (KillTwice, 10),
    (KillAll, 6),
    (Zombie, 10),
    (StopKafka, 2),
    (KillKafka, 2),
    (HoldKafka, 2),
    (StopPostgres, 2),
    (KillPostgres, 3),
    (HoldPostgres, 2),
    (SetBack, 5),
    (Rebalance, 3),
    (Backlog, 3),
    (Quiet, 2),
];

impl Fault {
    pub(crate) fn draw(scene: &mut Scene) -> Self {
        let all: u32 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut at = scene.random.random_range(0..all);
        for (fault, weight) in WEIGHTS {
            if at < weight {
                return fault;
            }
            at -= weight;
        }
        Kill
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
            Zombie => zombie(scene),
            StopKafka => {
                scene.kafka.stop().unwrap();
                be_away(scene);
                scene.kafka.start_again().unwrap();
                scene.recover("Kafka is back that was stopped", SystemTime::now());
            }
            KillKafka => {
                scene.kafka.kill().unwrap();
                be_away(scene);
                scene.kafka.start_again().unwrap();
                scene.recover("Kafka is back that was killed", SystemTime::now());
            }
            HoldKafka => {
                scene.kafka.pause().unwrap();
                be_away(scene);
                scene.kafka.resume().unwrap();
                scene.recover("Kafka is back that hung", SystemTime::now());
            }
            StopPostgres => {
                scene.postgres.stop().unwrap();
                be_away(scene);
                scene.postgres.start_again().unwrap();
                scene.recover("PostgreSQL is back that was stopped", SystemTime::now());
            }
            KillPostgres => {
                scene.postgres.kill().unwrap();
                be_away(scene);
                scene.postgres.start_again().unwrap();
                scene.recover("PostgreSQL is back that was killed", SystemTime::now());
            }
            HoldPostgres => {
                scene.postgres.pause().unwrap();
                be_away(scene);
                scene.postgres.resume().unwrap();
                scene.recover("PostgreSQL is back that hung", SystemTime::now());
            }
            SetBack => {
                let saved = scene.postgres.save().unwrap();
                be_away(scene);
                scene.postgres.set_back(&saved).unwrap();
                scene.recover("PostgreSQL is set back", SystemTime::now());
            }
            Rebalance => rebalance(scene),
            Grow => {
                scene.grow();
                let grown = SystemTime::now();
                // A new member of the group shares out anew.
                scene.start_worker();
                scene.recover("a partition is added, and a worker", grown);
                stop_one(scene);
            }
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

/// Waits a while in which something is away, and a worker may die of something else.
fn be_away(scene: &mut Scene) {
    scene.wait(AWAY);
    if scene.chance(0.4) {
        replace_one(scene);
        scene.wait(AWAY / 2);
    }
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
    let woken = SystemTime::now();
    if scene.chance(0.5) {
        scene.wait(Duration::from_secs(1));
        scene.kill_worker(index);
        scene.recover("a zombie wakes, and is killed", woken);
    } else {
        scene.recover("a zombie wakes", woken);
        stop_one(scene);
    }
}

fn rebalance(scene: &mut Scene) {
    let alone = SystemTime::now();
    while scene.workers.len() > 1 {
        stop_one(scene);
    }
    scene.recover("all workers but one leave", alone);
    let joined = SystemTime::now();
    (0..3).for_each(|_| scene.start_worker());
    scene.recover("from one worker to four", joined);
    let left = SystemTime::now();
    (0..3).for_each(|_| stop_one(scene));
    scene.recover("from four workers to one", left);
    scene.start_worker();
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
