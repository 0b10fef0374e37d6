//! What happens to a cluster, as data: drawn from a seed, played, told to people, and shortened for as long as it still fails.
use std::collections::BTreeMap;
use std::fmt;

use super::event::Event;
use super::scenario::Scenario;
use super::world::{Detail, World};

/// Steps that follow what was sent last.
const STEPS_AT_LAST: usize = 300;
/// How many of the newest events of a partition an event may repeat.
const REPEATABLE: usize = 30;

/// A pipeline, and what happens to it.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    /// Decides what the story leaves open: who goes on next, and how records are cut into batches.
    pub(crate) seed: u64,
    pub(crate) scenario: Scenario,
    /// Whether transactions leave gaps in the offsets.
    pub(crate) transaction_markers: bool,
    /// How often window state is stored.
    pub(crate) snapshot_every_ms: u64,
    /// Whether workers take few records at a time, and only one of their tasks more than that.
    pub(crate) small_batches: bool,
    /// How many workers there may be at a time.
    pub(crate) most_processes: usize,
    /// How many steps of some worker there are before all is left to one.
    pub(crate) steps: usize,
    /// Each with the step before which it happens, in that order.
    pub(crate) happenings: Vec<(usize, Happening)>,
}

/// Something that happens from outside. `which`: counted round those that there are.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    TimePasses {
        ms: i64,
    },
    Event(Box<Sending>),
    /// A dead letter is sent again.
    SentAgain {
        which: usize,
        /// By this pipeline's own letter, not by one of another pipeline.
        ours: bool,
    },
    PartitionAdded {
        source: usize,
    },
    /// Partitions that were added are given a place for their state.
    StateProvisioned,
    WorkerStarts(Start),
    WorkerDies {
        which: usize,
        /// Its consumer groups learn of it by their session timeout.
        silently: bool,
    },
    /// It is told to stop, finishes what it has in hand, and leaves.
    WorkerStops {
        which: usize,
    },
    /// The clock of a worker is set.
    ClockSet {
        which: usize,
        by_ms: i64,
    },
    /// The clock of the log is set.
    LogClockSet {
        by_ms: i64,
    },
    /// Somebody who does no work is a member of a consumer group for some time.
    StrangerJoins {
        which: usize,
        for_ms: i64,
    },
    /// What a partition of a source has had for longer is deleted, read or not.
    Retention {
        place: (usize, i32),
        kept_ms: i64,
    },
    /// Somebody acknowledges what was deleted before it was read.
    Acknowledged,
    /// It stands still, and goes on later as if nothing had been.
    WorkerHangs {
        which: usize,
        for_ms: i64,
    },
    DatabaseSaved,
    DatabaseSetBack,
    PlanChanges,
    /// The next call of a log or a sink.
    CallFails {
        /// After it has done its work.
        done: bool,
    },
    /// The log acknowledges the next commit before nobody can undo it.
    CommitHeldUp,
}

/// How a worker starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// When the topics that it needs are there.
    pub(crate) topics_after_ms: i64,
    /// The version of its plan where it is not the newest.
    pub(crate) version: Option<usize>,
}

/// An event that is sent.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    pub(crate) number: usize,
    /// The source and the partition.
    pub(crate) place: (usize, i32),
    /// Its time is decided when it is sent.
    pub(crate) event: Event,
    /// How far its time is behind when it is sent.
    pub(crate) behind_ms: i64,
    /// The number of the event whose time it has instead, if that was sent.
    pub(crate) repeats: Option<usize>,
}

impl Story {
    pub(crate) fn draw(seed: u64, chance: &World) -> Self {
        let mut scenario = Scenario::draw(chance);
        if seed % 5 == 4 {
            // Apart from all else that is drawn.
            scenario = scenario.in_sessions(&World::new(!seed, Detail::Nothing));
        }
        if seed % 4 == 2 {
            scenario = scenario.in_chain(&World::new(!seed, Detail::Nothing));
        }
        scenario = scenario.with_more_changed(&World::new(seed.reverse_bits(), Detail::Nothing));
        let transaction_markers = chance.chance(0.7);
        let snapshot_every_ms = *chance.pick(&[0, 300, 5_000, 5_000]);
        let most_processes = 1 + chance.below(4);
        let mut drawing = Drawing {
            chance,
            step: 0,
            happenings: Vec::new(),
            sources: Sources::new(&scenario),
            sent: 0,
            version: 0,
            is_saved: false,
        };
        let rates = Rates::draw(chance, &scenario);
        // What a later version computes anew it may take of what an earlier one could not.
        let sends_again = seed % 2 == 1 && scenario.versions.len() == 1;
        let pace = *chance.pick(&[8, 30, 80]);
        let chunks = chance.between(10, 25);
        let changes_at: Vec<i64> = (1..scenario.versions.len())
            .map(|_| chance.between(1, chunks - 1))
            .collect();
        for chunk in (0..chunks).rev() {
            drawing.send();
            if sends_again {
                (0..chance.between(0, 4)).for_each(|_| drawing.send_again());
            }
            for _ in changes_at.iter().filter(|&&at| at == chunk) {
                drawing.version += 1;
                drawing.add(Happening::PlanChanges);
            }
            if scenario.grows && chance.chance(0.15) {
                drawing.add_partition();
            }
            let last = if chunk == 0 { STEPS_AT_LAST } else { 1 };
            for _ in 0..chance.below(pace) + last {
                drawing.disturb(&rates, &scenario);
                drawing.step += 1;
            }
        }
        Self {
            seed,
            transaction_markers,
            snapshot_every_ms,
            // Drawn from nothing, so that all else stays as it was.
            small_batches: seed % 7 == 3,
            most_processes,
            steps: drawing.step,
            happenings: drawing.happenings,
            scenario,
        }
    }
}

/// How probable things are before each step.
struct Rates {
    crash: f64,
    hang: f64,
    set_back: f64,
    fault: f64,
    held_up: f64,
    stop: f64,
    clock: f64,
    stranger: f64,
    retention: f64,
}

impl Rates {
    fn draw(chance: &World, scenario: &Scenario) -> Self {
        Self {
            crash: *chance.pick(&[0.0, 0.004, 0.02]),
            hang: *chance.pick(&[0.0, 0.004, 0.02]),
            // What an earlier generation has lost its successor does not repair: such a change waits for the repair. And what retention has
            // taken nobody repairs.
            set_back: match scenario.versions.len() {
                1 if !scenario.forgets => *chance.pick(&[0.0, 0.005]),
                _ => 0.0,
            },
            fault: *chance.pick(&[0.001, 0.01, 0.04]),
            held_up: *chance.pick(&[0.0, 0.02, 0.1]),
            stop: *chance.pick(&[0.0, 0.004, 0.02]),
            clock: *chance.pick(&[0.0, 0.0, 0.01]),
            stranger: *chance.pick(&[0.0, 0.0, 0.01]),
            retention: if scenario.forgets { 0.01 } else { 0.0 },
        }
    }
}

/// A story that is being drawn.
struct Drawing<'a> {
    chance: &'a World,
    step: usize,
    happenings: Vec<(usize, Happening)>,
    sources: Sources,
    sent: usize,
    version: usize,
    is_saved: bool,
}

/// The partitions of the sources.
struct Sources {
    /// Whether each sleeps.
    partitions: BTreeMap<(usize, i32), bool>,
    /// What was sent to each, oldest first.
    recent: BTreeMap<(usize, i32), Vec<Sending>>,
}

impl Sources {
    fn new(scenario: &Scenario) -> Self {
        let of_source = |(source, &partitions): (usize, &i32)| {
            (0..partitions).map(move |partition| ((source, partition), false))
        };
        Self {
            partitions: (0..)
                .zip(&scenario.partitions)
                .flat_map(of_source)
                .collect(),
            recent: BTreeMap::new(),
        }
    }
}

impl Drawing<'_> {
    fn add(&mut self, happening: Happening) {
        self.happenings.push((self.step, happening));
    }

    /// Sends some events, after some time.
    fn send(&mut self) {
        let chance = self.chance;
        let ms = chance.between(0, 4_000);
        self.add(Happening::TimePasses { ms });
        let mut held_back_ms = BTreeMap::new();
        for (&place, is_asleep) in &mut self.sources.partitions {
            if *is_asleep && chance.chance(0.2) {
                // What comes first may have been on its way for long.
                held_back_ms.insert(place, chance.between(0, 25_000));
                *is_asleep = false;
            } else if chance.chance(0.15) {
                *is_asleep = true;
            }
        }
        let partitions = self.sources.partitions.iter();
        let awake: Vec<(usize, i32)> = partitions
            .filter(|(_, is_asleep)| !**is_asleep)
            .map(|(place, _)| *place)
            .collect();
        if awake.is_empty() {
            return;
        }
        for _ in 0..chance.between(1, 14) {
            let place = *chance.pick(&awake);
            let held_back_ms = held_back_ms.get(&place).copied().unwrap_or(0);
            let sending = self.draw_sending(place, held_back_ms);
            let recent = self.sources.recent.entry(place).or_default();
            recent.push(sending.clone());
            if recent.len() > REPEATABLE {
                recent.remove(0);
            }
            self.add(Happening::Event(Box::new(sending)));
            if chance.chance(0.3) {
                let ms = chance.between(0, 500);
                self.add(Happening::TimePasses { ms });
            }
        }
    }

    fn draw_sending(&mut self, place: (usize, i32), held_back_ms: i64) -> Sending {
        let (chance, number) = (self.chance, self.sent);
        self.sent += 1;
        let recent = self.sources.recent.get(&place);
        if let Some(recent) = recent
            && chance.chance(0.12)
        {
            let repeated = chance.pick(recent).clone();
            let mut event = repeated.event;
            if chance.chance(0.3) {
                event.n = Some(chance.between(-5, 20));
            }
            return Sending {
                number,
                event,
                repeats: Some(repeated.number),
                ..repeated
            };
        }
        let (event, behind_ms) = Event::draw(chance, place, number);
        Sending {
            number,
            place,
            event,
            behind_ms: behind_ms + held_back_ms,
            repeats: None,
        }
    }

    fn send_again(&mut self) {
        let (which, ours) = (self.chance.below(1_000), self.chance.chance(0.85));
        self.add(Happening::SentAgain { which, ours });
    }

    fn add_partition(&mut self) {
        let partitions = &mut self.sources.partitions;
        let sources = partitions.keys().map(|(source, _)| source + 1).max();
        let source = self.chance.below(sources.unwrap_or(1));
        let partition = partitions.keys().filter(|(of, _)| *of == source).count();
        partitions.insert((source, partition as i32), false);
        self.add(Happening::PartitionAdded { source });
    }

    /// What happens before any step.
    fn disturb(&mut self, rates: &Rates, scenario: &Scenario) {
        let chance = self.chance;
        if scenario.grows && chance.chance(0.1) {
            self.add(Happening::StateProvisioned);
        }
        if chance.chance(0.1) {
            let is_old = scenario.ages && chance.chance(0.3);
            self.add(Happening::WorkerStarts(Start {
                topics_after_ms: *chance.pick(&[0, 0, 300, 3_000]),
                version: is_old.then(|| chance.below(self.version + 1)),
            }));
        }
        if chance.chance(rates.crash) {
            let (which, silently) = (chance.below(6), chance.chance(0.5));
            self.add(Happening::WorkerDies { which, silently });
        }
        if chance.chance(rates.set_back) {
            self.add(match self.is_saved {
                true => Happening::DatabaseSetBack,
                false => Happening::DatabaseSaved,
            });
            self.is_saved = !self.is_saved;
        }
        if chance.chance(rates.hang) {
            let (which, for_ms) = (chance.below(6), chance.between(500, 20_000));
            self.add(Happening::WorkerHangs { which, for_ms });
        }
        if chance.chance(rates.stop) {
            let which = chance.below(6);
            self.add(Happening::WorkerStops { which });
        }
        if chance.chance(rates.clock) {
            let by_ms = chance.between(-20_000, 40_000);
            self.add(match chance.below(4) {
                0 => Happening::LogClockSet { by_ms },
                _ => Happening::ClockSet {
                    which: chance.below(6),
                    by_ms,
                },
            });
        }
        if chance.chance(rates.stranger) {
            let (which, for_ms) = (chance.below(6), chance.between(100, 15_000));
            self.add(Happening::StrangerJoins { which, for_ms });
        }
        if chance.chance(rates.retention) {
            let places: Vec<_> = self.sources.partitions.keys().copied().collect();
            let (place, kept_ms) = (*chance.pick(&places), chance.between(500, 20_000));
            self.add(Happening::Retention { place, kept_ms });
        }
        if chance.chance(rates.retention) {
            self.add(Happening::Acknowledged);
        }
        if chance.chance(rates.fault) {
            let done = chance.chance(0.5);
            self.add(Happening::CallFails { done });
        }
        if chance.chance(rates.held_up) {
            self.add(Happening::CommitHeldUp);
        }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimePasses { ms } => write!(f, "{ms} ms pass"),
            Self::Event(sending) => write!(f, "{sending}"),
            Self::SentAgain { which, ours: true } => {
                write!(f, "dead letter {which} is sent again")
            }
            Self::SentAgain { which, ours: false } => {
                write!(f, "dead letter {which}, as of another pipeline, is sent")
            }
            Self::PartitionAdded { source } => write!(f, "source {source} gets one more partition"),
            Self::StateProvisioned => f.write_str("new partitions get a place for their state"),
            Self::WorkerStarts(Start {
                topics_after_ms,
                version,
            }) => {
                f.write_str("a worker starts")?;
                if let Some(version) = version {
                    write!(f, " with the plan of version {version}")?;
                }
                if *topics_after_ms > 0 {
                    write!(f, ", and its topics are there {topics_after_ms} ms later")?;
                }
                Ok(())
            }
            Self::WorkerDies { which, silently } => {
                let word = if *silently { " without a word" } else { "" };
                write!(f, "worker {which} of those there are is killed{word}")
            }
            Self::WorkerHangs { which, for_ms } => {
                write!(f, "worker {which} of those there are hangs for {for_ms} ms")
            }
            Self::WorkerStops { which } => {
                write!(f, "worker {which} of those there are is told to stop")
            }
            Self::ClockSet { which, by_ms } => {
                write!(
                    f,
                    "the clock of worker {which} of those there are is set by {by_ms} ms"
                )
            }
            Self::LogClockSet { by_ms } => write!(f, "the clock of the log is set by {by_ms} ms"),
            Self::StrangerJoins { which, for_ms } => write!(
                f,
                "for {for_ms} ms somebody is in consumer group {which} who does no work"
            ),
            Self::Retention {
                place: (source, partition),
                kept_ms,
            } => write!(
                f,
                "retention takes what {source}/{partition} has had for {kept_ms} ms"
            ),
            Self::Acknowledged => f.write_str("what is lost is acknowledged"),
            Self::DatabaseSaved => f.write_str("all workers end, and the database is saved"),
            Self::DatabaseSetBack => {
                f.write_str("all workers end, and the database is set back to where it was saved")
            }
            Self::PlanChanges => f.write_str("the plan changes, and a worker starts with it"),
            Self::CallFails { done: false } => f.write_str("the next call fails"),
            Self::CallFails { done: true } => {
                f.write_str("the next call does its work, and its answer is lost")
            }
            Self::CommitHeldUp => {
                f.write_str("the log acknowledges the next commit before its end is certain")
            }
        }
    }
}

impl fmt::Display for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, partition) = self.place;
        write!(f, "event {} to {source}/{partition}", self.number)?;
        match self.repeats {
            Some(number) => write!(f, " that repeats {number}: ")?,
            None => write!(f, ", {} ms behind: ", self.behind_ms)?,
        }
        write!(f, "{}", self.event)
    }
}
