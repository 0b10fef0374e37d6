//! That the seeds draw all that the simulation promises.
use std::collections::BTreeMap;

use tidewheel_planner::plan::LatePolicy;

use super::scenario::{Scenario, Shape, Version};
use super::seeds::story_of;
use super::story::{Happening, Story};

/// In how many of a thousand seeds each thing has to come, at least: a rare meeting of two of them is still found.
const AT_LEAST: usize = 20;

fn of_shape(shape: Shape) -> [&'static str; 2] {
    let windows = match shape {
        Shape {
            is_session: true, ..
        } => "sessions",
        _ if shape.every_ms < shape.size_ms => "hopping windows",
        _ => "tumbling windows",
    };
    let policy = match shape.policy {
        LatePolicy::Amend => "late rows amend",
        LatePolicy::DeadLetter => "late rows are dead letters",
        LatePolicy::Drop => "late rows are dropped",
    };
    [windows, policy]
}

fn of_happening(happening: &Happening) -> &'static str {
    match happening {
        Happening::TimePasses { .. } => "time passes",
        Happening::Event(sending) if sending.repeats.is_some() => "an event comes again",
        Happening::Event(_) => "an event",
        Happening::SentAgain { ours: true, .. } => "a dead letter is sent again",
        Happening::SentAgain { .. } => "a dead letter of others is sent again",
        Happening::PartitionAdded { .. } => "a partition is added",
        Happening::StateProvisioned => "partitions that were added get state",
        Happening::WorkerStarts(start) if start.version.is_some() => "a worker with an old plan",
        Happening::WorkerStarts(_) => "a worker starts",
        Happening::WorkerDies { silently: true, .. } => "a worker dies silently",
        Happening::WorkerDies { .. } => "a worker dies",
        Happening::WorkerStops { .. } => "a worker is told to stop",
        Happening::ClockSet { .. } => "a worker's clock is set",
        Happening::LogClockSet { .. } => "the log's clock is set",
        Happening::StrangerJoins { .. } => "a rebalance for a stranger",
        Happening::Retention { .. } => "retention",
        Happening::Acknowledged => "what is gone is acknowledged",
        Happening::WorkerHangs { .. } => "a worker hangs",
        Happening::DatabaseSaved => "the database is saved",
        Happening::DatabaseSetBack => "the database is set back",
        Happening::PlanChanges => "the plan changes",
        Happening::CallFails { done: true } => "a call fails after its work",
        Happening::CallFails { .. } => "a call fails before its work",
        Happening::CommitHeldUp => "a commit is held up",
    }
}

fn of_scenario(scenario: &Scenario) -> Vec<&'static str> {
    let mut drawn = Vec::new();
    let mut has = |is_so: bool, what: &'static str| drawn.extend(is_so.then_some(what));
    let versions = &scenario.versions;
    let first = versions[0];
    let changed = |differ: fn(&Version, &Version) -> bool| {
        versions.iter().any(|version| differ(version, &first))
    };
    has(scenario.partitions.len() > 1, "two sources");
    has(scenario.deduplicates, "a deduplication");
    has(scenario.unnests, "rows of lists");
    has(scenario.doubles, "two rows of one event");
    has(
        scenario.left_out.is_some(),
        "rows that a drawn condition leaves out",
    );
    has(scenario.having, "HAVING");
    has(scenario.divides, "groups that cannot be computed");
    has(scenario.latest, "reading from the end");
    has(scenario.ages, "plans that say how old they are");
    has(scenario.totals.is_some(), "two aggregate steps");
    has(
        changed(|one, other| one.add != other.add),
        "a changed aggregate",
    );
    has(
        changed(|one, other| one.factor != other.factor),
        "a changed row-wise step",
    );
    has(
        changed(|one, other| one.formula != other.formula),
        "a changed formula",
    );
    has(
        changed(|one, other| one.skipped != other.skipped),
        "a changed filter",
    );
    has(
        changed(|one, other| one.windows.size_ms != other.windows.size_ms),
        "a changed size of windows",
    );
    has(
        changed(|one, other| one.windows.policy != other.windows.policy),
        "a changed late policy",
    );
    has(
        first.windows.is_session && versions.len() > 1,
        "a change under sessions",
    );
    has(
        changed(|one, other| one.out_of_order_ms != other.out_of_order_ms),
        "a change of how long a source waits",
    );
    has(
        !scenario.has_one_kind(),
        "sessions and other windows by turns",
    );
    has(
        versions.len() > 1 && scenario.forgets,
        "a change and retention",
    );
    has(
        versions.len() > 1 && scenario.grows,
        "a change and a partition more",
    );
    if let Some(chain) = &scenario.chain {
        has(true, "windows over windows");
        has(first.windows.is_session, "windows over sessions");
        has(chain.span.is_some(), "windows over windows over windows");
        has(versions.len() > 1, "a change of a chain");
    }
    drawn.extend(
        versions
            .iter()
            .flat_map(|version| of_shape(version.windows)),
    );
    drawn
}

fn of_story(story: &Story) -> Vec<&'static str> {
    let mut drawn = of_scenario(&story.scenario);
    drawn.extend(
        story
            .happenings
            .iter()
            .map(|(_, happening)| of_happening(happening)),
    );
    drawn.extend(story.transaction_markers.then_some("gaps in the offsets"));
    drawn.extend(story.small_batches.then_some("small batches"));
    drawn.extend((story.snapshot_every_ms == 0).then_some("a snapshot at every boundary"));
    drawn.extend((story.most_processes > 1).then_some("several workers"));
    drawn.sort_unstable();
    drawn.dedup();
    drawn
}

#[test]
fn a_thousand_seeds_draw_all_that_is_promised() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..1_000 {
        for what in of_story(&story_of(seed)) {
            *counts.entry(what).or_default() += 1;
        }
    }
    println!("{counts:#?}");
    let rare: Vec<_> = counts
        .iter()
        .filter(|(_, count)| **count < AT_LEAST)
        .collect();
    assert!(rare.is_empty(), "{rare:?}");
    // As many as there are names above.
    assert_eq!(counts.len(), 59, "{counts:#?}");
}
