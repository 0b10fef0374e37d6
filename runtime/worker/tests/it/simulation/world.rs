//! Time, chance, and the places where the scheduler takes over.
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidewheel_log::{Clock, Member};
use tidewheel_worker::Timer;

/// When the simulated world begins, ms since the epoch.
pub(crate) const BEGINNING_MS: i64 = 1_700_000_000_000;

/// What all simulated processes share.
pub(crate) struct World(Mutex<Inner>);

struct Inner {
    rng: ChaCha8Rng,
    now_ms: i64,
    gates: BTreeMap<u64, Gate>,
    next_gate: u64,
    /// Probability that a call fails, half of the times after having done its work.
    fault_rate: f64,
    /// Probability that a commit is acknowledged before it is ended.
    slow_to_end_rate: f64,
    /// Members of processes that died without a word: their groups learn of it by the session timeout.
    graveyard: Vec<Box<dyn Member>>,
    dying_silently: bool,
}

/// Somewhere a process waits for the scheduler.
struct Gate {
    process: usize,
    due_ms: i64,
    is_open: bool,
    waker: Waker,
}

/// How a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Luck {
    Good,
    /// It fails without having done anything.
    FailsBefore,
    /// It does its work, and its answer is lost.
    FailsAfter,
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now_ms: BEGINNING_MS,
            gates: BTreeMap::new(),
            next_gate: 0,
            fault_rate: 0.0,
            slow_to_end_rate: 0.0,
            graveyard: Vec::new(),
            dying_silently: false,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: usize) -> usize {
        self.inner().rng.random_range(0..bound)
    }

    pub(crate) fn between(&self, from: i64, to: i64) -> i64 {
        self.inner().rng.random_range(from..=to)
    }

    pub(crate) fn chance(&self, probability: f64) -> bool {
        self.inner().rng.random_bool(probability)
    }

    pub(crate) fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(crate) fn luck(&self) -> Luck {
        let mut inner = self.inner();
        let rate = inner.fault_rate;
        if rate > 0.0 && inner.rng.random_bool(rate) {
            if inner.rng.random_bool(0.5) {
                Luck::FailsBefore
            } else {
                Luck::FailsAfter
            }
        } else {
            Luck::Good
        }
    }

    pub(crate) fn set_fault_rate(&self, rate: f64) {
        self.inner().fault_rate = rate;
    }

    pub(crate) fn set_slow_to_end_rate(&self, rate: f64) {
        self.inner().slow_to_end_rate = rate;
    }

    pub(crate) fn is_slow_to_end(&self) -> bool {
        let rate = self.inner().slow_to_end_rate;
        rate > 0.0 && self.chance(rate)
    }

    pub(crate) fn advance(&self, by_ms: i64) {
        self.inner().now_ms += by_ms;
    }

    pub(crate) fn set_dying_silently(&self, silently: bool) {
        self.inner().dying_silently = silently;
    }

    /// Takes the member of a process that ends.
    pub(crate) fn bury(&self, member: Box<dyn Member>) {
        let mut inner = self.inner();
        if inner.dying_silently {
            inner.graveyard.push(member);
        } else {
            drop(inner);
            drop(member);
        }
    }

    /// Waits until the scheduler goes on with this, no earlier than in `ms`.
    pub(crate) fn pause(self: &Arc<Self>, process: usize, ms: i64) -> Pause {
        Pause {
            world: Arc::clone(self),
            process,
            due_ms: self.now_ms() + ms,
            gate: None,
        }
    }

    /// The gates of a process that may be opened now.
    pub(crate) fn due_gates(&self, process: usize) -> Vec<u64> {
        let inner = self.inner();
        let due =
            |gate: &Gate| gate.process == process && gate.due_ms <= inner.now_ms && !gate.is_open;
        inner
            .gates
            .iter()
            .filter(|(_, gate)| due(gate))
            .map(|(id, _)| *id)
            .collect()
    }

    /// When the next gate of these processes is due.
    pub(crate) fn next_due_ms(&self, processes: &[usize]) -> Option<i64> {
        let inner = self.inner();
        inner
            .gates
            .values()
            .filter(|gate| processes.contains(&gate.process))
            .map(|gate| gate.due_ms)
            .min()
    }

    pub(crate) fn open(&self, id: u64) {
        let waker = {
            let mut inner = self.inner();
            let Some(gate) = inner.gates.get_mut(&id) else {
                return;
            };
            gate.is_open = true;
            gate.waker.clone()
        };
        waker.wake();
    }
}

impl Clock for World {
    fn now_ms(&self) -> i64 {
        self.inner().now_ms
    }
}

/// A wait for the scheduler.
pub(crate) struct Pause {
    world: Arc<World>,
    process: usize,
    due_ms: i64,
    gate: Option<u64>,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = Arc::clone(&self.world);
        let mut inner = world.inner();
        match self.gate {
            None => {
                let id = inner.next_gate;
                inner.next_gate += 1;
                let gate = Gate {
                    process: self.process,
                    due_ms: self.due_ms,
                    is_open: false,
                    waker: context.waker().clone(),
                };
                inner.gates.insert(id, gate);
                self.gate = Some(id);
                Poll::Pending
            }
            Some(id) => match inner.gates.get_mut(&id) {
                Some(gate) if !gate.is_open => {
                    gate.waker = context.waker().clone();
                    Poll::Pending
                }
                _ => {
                    inner.gates.remove(&id);
                    Poll::Ready(())
                }
            },
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some(id) = self.gate {
            self.world.inner().gates.remove(&id);
        }
    }
}

/// The clock of one process.
pub(crate) struct ProcessTimer {
    pub(crate) world: Arc<World>,
    pub(crate) process: usize,
}

#[async_trait]
impl Timer for ProcessTimer {
    fn now_ms(&self) -> i64 {
        self.world.now_ms()
    }

    async fn sleep(&self, duration: Duration) {
        let ms = i64::try_from(duration.as_millis()).unwrap().max(100);
        self.world.pause(self.process, ms).await;
    }
}
