//! Time, chance, and the places where the scheduler takes over.
use std::collections::{BTreeMap, VecDeque};
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
    seed: u64,
    rng: ChaCha8Rng,
    now_ms: i64,
    gates: BTreeMap<u64, Gate>,
    next_gate: u64,
    /// How the next calls go that do not go well.
    misfortunes: VecDeque<Luck>,
    /// How many of the next commits are acknowledged before they are ended.
    held_up: usize,
    /// Members of processes that died without a word: their groups learn of it by the session timeout.
    graveyard: Vec<Box<dyn Member>>,
    dying_silently: bool,
    /// By how much the clocks of processes and that of the log are wrong, ms.
    clocks_ms: BTreeMap<usize, i64>,
    log_clock_ms: i64,
    detail: Detail,
    notes: Vec<String>,
}

/// How much is noted down of what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Detail {
    Nothing,
    /// What the story says.
    Story,
    /// And what comes of it.
    Everything,
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
    pub(crate) fn new(seed: u64, detail: Detail) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            now_ms: BEGINNING_MS,
            gates: BTreeMap::new(),
            next_gate: 0,
            misfortunes: VecDeque::new(),
            held_up: 0,
            graveyard: Vec::new(),
            dying_silently: false,
            clocks_ms: BTreeMap::new(),
            log_clock_ms: 0,
            detail,
            notes: Vec::new(),
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

    /// What chance decides from here on depends on the seed and this number alone: a story that lacks one of its happenings goes on much as
    /// before.
    pub(crate) fn begin_step(&self, number: u64) {
        let mut inner = self.inner();
        inner.rng = ChaCha8Rng::seed_from_u64((inner.seed << 32) ^ number ^ (1 << 31));
    }

    /// How the next call goes.
    pub(crate) fn luck(&self) -> Luck {
        self.inner().misfortunes.pop_front().unwrap_or(Luck::Good)
    }

    /// The next call that may fail does.
    pub(crate) fn foretell(&self, luck: Luck) {
        self.inner().misfortunes.push_back(luck);
    }

    /// The next commit is acknowledged before it is ended.
    pub(crate) fn hold_up(&self) {
        self.inner().held_up += 1;
    }

    /// Whether a commit is acknowledged before it is ended.
    pub(crate) fn is_held_up(&self) -> bool {
        let mut inner = self.inner();
        let is_held_up = inner.held_up > 0;
        inner.held_up = inner.held_up.saturating_sub(1);
        is_held_up
    }

    /// Nothing of what was foretold comes.
    pub(crate) fn clear_up(&self) {
        let mut inner = self.inner();
        inner.misfortunes.clear();
        inner.held_up = 0;
    }

    /// Notes down what happens, where that much is noted.
    pub(crate) fn note(&self, detail: Detail, text: impl FnOnce() -> String) {
        let (noted, after_ms) = {
            let inner = self.inner();
            (inner.detail, inner.now_ms - BEGINNING_MS)
        };
        if noted >= detail {
            let indent = if detail == Detail::Everything {
                "    "
            } else {
                ""
            };
            let seconds = after_ms as f64 / 1_000.0;
            let note = format!("{seconds:>8.3} s  {indent}{}", text());
            self.inner().notes.push(note);
        }
    }

    /// What was noted down.
    pub(crate) fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().notes)
    }

    pub(crate) fn advance(&self, by_ms: i64) {
        self.inner().now_ms += by_ms;
    }

    /// Sets the clock of a process.
    pub(crate) fn set_clock(&self, process: usize, by_ms: i64) {
        *self.inner().clocks_ms.entry(process).or_default() += by_ms;
    }

    /// Sets the clock of the log.
    pub(crate) fn set_log_clock(&self, by_ms: i64) {
        self.inner().log_clock_ms += by_ms;
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

/// The clock of the log.
pub(crate) struct LogClock(pub(crate) Arc<World>);

impl Clock for LogClock {
    fn now_ms(&self) -> i64 {
        let inner = self.0.inner();
        inner.now_ms + inner.log_clock_ms
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
        let inner = self.world.inner();
        inner.now_ms + inner.clocks_ms.get(&self.process).copied().unwrap_or(0)
    }

    async fn sleep(&self, duration: Duration) {
        let ms = i64::try_from(duration.as_millis()).unwrap().max(100);
        self.world.pause(self.process, ms).await;
    }
}
