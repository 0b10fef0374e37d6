//! A whole cluster in one thread: several workers over one log and one database. The seed decides every interleaving, batch,
//! failure, crash, takeover and change of plan; at the end tables, dead letters and ledgers equal a plain computation over the log.
//!
//! A failing seed replays exactly: `SEED=17 cargo test --release -p tidewheel-worker --test it one_seed -- --nocapture`, with
//! `SIM_TRACE=1` for what happened. `SEEDS=200..2000` in place of `SEED` runs many and lists those that fail.
mod cluster;
mod faulty_log;
mod faulty_sink;
mod history;
mod oracle;
mod scenario;
mod topic_verdict;
mod unended;
mod verdict;
mod window_verdict;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use tidewheel_engine::sabotage::{self, Bug};

use self::cluster::Cluster;

const SEEDS: u64 = 200;
/// Some bugs need a rare meeting of things; the search ends at the first seed that shows one.
const SEEDS_FOR_A_BUG: u64 = 2_000;

/// Runs a seed. What is wrong, if anything.
fn run(seed: u64) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut cluster = Cluster::new(seed);
        let status = cluster.run();
        verdict::check(&cluster, &status);
    }));
    outcome.map_err(
        |panic| match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (_, Some(text)) => (*text).to_owned(),
            _ => "a panic without words".to_owned(),
        },
    )
}

#[test]
fn whatever_happens_the_end_equals_a_batch_computation() {
    let began = std::time::Instant::now();
    for seed in 0..SEEDS {
        if let Err(what) = run(seed) {
            panic!(
                "SEED={seed}: {what}\nreplay: SEED={seed} cargo test --release -p tidewheel-worker --test it one_seed -- --nocapture"
            );
        }
        if seed % 20 == 19 {
            println!(
                "{} of {SEEDS} seeds, {:.1} s",
                seed + 1,
                began.elapsed().as_secs_f64()
            );
        }
    }
}

/// How many seeds it takes until a deliberate bug is caught.
fn seeds_until_caught(bug: Bug) -> Option<u64> {
    sabotage::switch(Some(bug));
    let caught = (0..SEEDS_FOR_A_BUG).find_map(|seed| run(seed).err().map(|what| (seed, what)));
    sabotage::switch(None);
    let (seed, what) = caught?;
    println!(
        "{bug:?}: caught by seed {seed}: {}",
        what.lines().next().unwrap_or_default()
    );
    Some(seed)
}

macro_rules! caught {
    ($($promise:ident: $bug:ident;)*) => {$(
        #[test]
        fn $promise() {
            assert!(seeds_until_caught(Bug::$bug).is_some(), "{:?} went through {SEEDS_FOR_A_BUG} seeds unseen", Bug::$bug);
        }
    )*};
}

caught! {
    an_offset_that_is_one_too_low_is_caught: LastOffsetInsteadOfNext;
    a_sink_that_does_not_compare_progress_is_caught: ProgressNotCompared;
    a_log_that_is_committed_before_the_sinks_is_caught: LogBeforeSinks;
    a_watermark_of_the_fastest_partition_is_caught: HighestWatermark;
    lateness_that_depends_on_the_batch_is_caught: LateByEndOfBatch;
    a_duplicate_that_is_no_appearance_is_caught: DuplicateOfKeptOnly;
    a_replay_that_speaks_is_caught: LoudReplay;
    a_zombie_that_nobody_fences_is_caught: NoFencing;
    a_takeover_that_forgets_keys_is_caught: ForgottenKeys;
    a_takeover_that_forgets_decrees_is_caught: ForgottenDecrees;
    a_takeover_that_forgets_refusals_is_caught: ForgottenRefusals;
    a_sink_that_forgets_refusals_once_the_log_acknowledges_is_caught: SettledOnceAcknowledged;
    what_is_sent_again_to_everybody_is_caught: SentToEverybody;
    what_is_sent_again_and_a_duplicate_of_itself_is_caught: DuplicateOfItself;
    a_topic_that_keeps_rows_of_earlier_generations_is_caught: OutdatedRows;
}

/// What `SEEDS=FROM..TO` says, if it is there.
fn seeds_by_hand() -> Option<std::ops::Range<u64>> {
    let seeds = std::env::var("SEEDS").ok()?;
    let (from, to) = seeds.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

#[test]
fn one_seed_replays() {
    if let Some(seeds) = seeds_by_hand() {
        let failing: Vec<_> = seeds
            .filter_map(|seed| Some((seed, run(seed).err()?)))
            .collect();
        for (seed, what) in &failing {
            let head: String = what.chars().take(600).collect();
            println!("SEED={seed}: {head}");
        }
        assert!(failing.is_empty(), "{} seeds fail", failing.len());
        return;
    }
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0);
    if let Err(what) = run(seed) {
        panic!("SEED={seed}: {what}");
    }
}
