//! Plays seeds, one after the other or on all cores, and tells people of those that fail.
use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};

use tidewheel_engine::sabotage::{self, Bug};

use super::cluster::Cluster;
use super::shrink::shortest;
use super::story::Story;
use super::verdict;
use super::world::{Detail, World};

thread_local! {
    /// Whether a panic of this thread is the answer to a question, and nothing to be printed.
    static IS_ASKED: Cell<bool> = const { Cell::new(false) };
}

/// Plays a story. What is wrong, if anything, and what was noted down.
pub(crate) fn play(story: &Story, detail: Detail) -> (Result<(), String>, Vec<String>) {
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_ASKED.get() {
                print(panic);
            }
        }));
    });
    let world = World::new(story.seed, detail);
    let notes = Arc::clone(&world);
    IS_ASKED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut cluster = Cluster::new(story, world);
        let status = cluster.run(story);
        verdict::check(&cluster, &status);
    }));
    IS_ASKED.set(false);
    let outcome = outcome.map_err(|panic| {
        match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (_, Some(text)) => (*text).to_owned(),
            _ => "a panic without words".to_owned(),
        }
    });
    (outcome, notes.notes())
}

/// The story of a seed.
pub(crate) fn story_of(seed: u64) -> Story {
    Story::draw(seed, &World::new(seed, Detail::Nothing))
}

/// Runs a seed. What is wrong, if anything.
pub(crate) fn run(seed: u64) -> Result<(), String> {
    play(&story_of(seed), Detail::Nothing).0
}

/// Runs a seed, and tells of it should it fail.
///
/// # Panics
/// It fails.
pub(crate) fn expect_right(seed: u64) {
    if let Err(what) = run(seed) {
        panic!("{}", told(seed, &what));
    }
}

/// What a person is told of a seed that fails: the shortest story that fails in the same way.
pub(crate) fn told(seed: u64, what: &str) -> String {
    let whole = story_of(seed);
    let shortest = shortest(&whole, |story| play(story, Detail::Nothing).0.err());
    let (outcome, notes) = play(&shortest, Detail::Story);
    format!(
        "seed {seed} fails: {what}\n\nIts shortest story, with {} of {} happenings, of {} partitions by source and the plans {:#?}\n{}\n{}\nand then: {}\n\nreplay: make replay SEED={seed}",
        shortest.happenings.len(),
        whole.happenings.len(),
        shortest
            .scenario
            .partitions
            .iter()
            .map(i32::to_string)
            .collect::<Vec<_>>()
            .join(" and "),
        shortest.scenario.versions,
        shortest.scenario.yaml(0),
        notes.join("\n"),
        outcome.err().unwrap_or_default(),
    )
}

/// Runs seeds on all cores, with the bug of this thread. Those that fail, and with what.
pub(crate) fn failing(seeds: Range<u64>) -> Vec<(u64, String)> {
    let (next, failing) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let bug = sabotage::active();
    let work = || {
        sabotage::switch(bug);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            if let Err(what) = run(seed) {
                failing.lock().unwrap().push((seed, what));
            }
        }
    };
    std::thread::scope(|scope| {
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    let mut failing = failing.into_inner().unwrap();
    failing.sort_unstable();
    failing
}

/// The first seed that shows a deliberate bug: `likely`, which has shown it before, or one of `others`.
pub(crate) fn catching(bug: Bug, likely: u64, others: Range<u64>) -> Option<(u64, String)> {
    sabotage::switch(Some(bug));
    let mut seeds = [likely].into_iter().chain(others);
    let caught = seeds.find_map(|seed| Some((seed, run(seed).err()?)));
    sabotage::switch(None);
    caught
}
