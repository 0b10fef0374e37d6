//! Generations as a plan and what is allotted decide them. The golden file is what every later build must write for the same plan, and read.
//! `UPDATE_GOLDEN=1` writes it: a fingerprint that changes makes every pipeline compute its open windows anew.
use std::collections::BTreeMap;
use std::path::Path;

use tidewheel_planner::generations::{
    Allotment, AllottedSource, NewerPlan, partials_topics, step_numbers,
};
use tidewheel_planner::plan::{Plan, Window};

use crate::cases::judged;

const ONCE: &str = "{name: once, deduplicate: {from: clicks, by: [event_id], within: 10m}}";
const KPI: &str = "{name: kpi, aggregate: {window: {tumbling: 1m}, late: {allowed: 5m}, sql: 'SELECT source, count(*) AS c, max(metric) AS m FROM once GROUP BY source'}}";
const BUSY: &str = "{name: busy, sql: 'SELECT * FROM kpi WHERE c > 9'}";
const OUTPUTS: [&str; 4] = ["clicks", "once", "kpi", "busy"];

/// The plan of `steps`, with an output for each relation in `outputs` that is named after it.
fn plan(revision: Option<i64>, steps: &[&str], outputs: &[&str]) -> Plan {
    let generation = revision.map_or(String::new(), |n| format!(", generation: {n}"));
    let lines = |items: Vec<String>| items.concat();
    let steps = lines(steps.iter().map(|step| format!("    - {step}\n")).collect());
    let output = |from: &&str| {
        format!("    - {{name: {from}_out, from: {from}, postgres: {{sink: warehouse}}}}\n")
    };
    let outputs = lines(outputs.iter().map(output).collect());
    let text = format!(
        "apiVersion: tidewheel.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: kpis, namespace: shop{generation}}}\nspec:\n  \
         sources: [{{name: clicks}}]\n  steps:\n{steps}  outputs:\n{outputs}"
    );
    let (mut plans, problems) = judged("inline", &text);
    assert!(
        problems.is_empty(),
        "{}",
        tidewheel_planner::problem::render(&problems)
    );
    plans.pop().unwrap()
}

fn whole(revision: Option<i64>) -> Plan {
    plan(revision, &[ONCE, KPI, BUSY], &OUTPUTS)
}

fn changed(revision: Option<i64>) -> Plan {
    let kpi = KPI.replace("count(*)", "count(metric)");
    plan(revision, &[ONCE, &kpi, BUSY], &OUTPUTS)
}

fn of(plan: &Plan, known: Option<&Allotment>) -> Allotment {
    Allotment::of(plan, known).unwrap()
}

#[test]
fn the_generations_of_a_plan_are_the_same_in_every_build() {
    let mut allotted = of(&whole(Some(7)), None);
    let feeders = BTreeMap::from([("clicks".to_owned(), 6)]);
    allotted.steps.get_mut("kpi").unwrap().feeders = feeders;
    let first = vec![0, 17, 4, 0, 0, 1];
    let allotted_source = AllottedSource { first };
    allotted
        .sources
        .insert("clicks".to_owned(), allotted_source);
    let written = String::from_utf8(allotted.encode()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/generations.v1.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert_eq!(stored, written, "the format or a fingerprint has changed");

    let read = Allotment::decode(stored.as_bytes()).unwrap();
    let step = &read.steps["kpi"];
    assert_eq!((read.revision, read.plan_revision), (1, Some(7)));
    assert_eq!(
        (step.number, step.cut_ms, step.size_ms, step.allowed_ms),
        (1, None, 60_000, 300_000)
    );
    assert!(!step.retired);
    assert_eq!(step.feeders["clicks"], 6);
    assert_eq!(read.sources["clicks"].first, [0, 17, 4, 0, 0, 1]);
    let outputs: Vec<_> = read
        .outputs
        .iter()
        .map(|(name, o)| (name.as_str(), o.number))
        .collect();
    assert_eq!(outputs, [("clicks_out", 1), ("once_out", 1)]);
    assert_eq!(
        of(&whole(Some(7)), Some(&read)),
        read,
        "nothing is allotted twice"
    );
}

#[test]
fn steps_that_windows_over_windows_tie_begin_anew_together() {
    let minutes = "{name: minutes, aggregate: {window: {tumbling: 1m}, late: {policy: Drop}, sql: 'SELECT source, count(*) AS n FROM clicks GROUP BY source'}}";
    let hours = "{name: hours, aggregate: {window: {tumbling: 1h}, late: {policy: Drop}, sql: 'SELECT source, max(n) AS n FROM minutes GROUP BY source'}}";
    let days =
        "{name: days, aggregate: {window: {tumbling: 1d}, sql: 'SELECT sum(n) AS n FROM hours'}}";
    let apart = "{name: apart, aggregate: {window: {tumbling: 1d}, sql: 'SELECT count(*) AS n FROM clicks'}}";
    let whole = |hours: &str, days: &str| {
        let outputs: &[&str] = match days.is_empty() {
            true => &["minutes", "hours", "apart"],
            false => &["minutes", "hours", "apart", "days"],
        };
        let steps: Vec<&str> = [minutes, hours, apart, days]
            .into_iter()
            .filter(|step| !step.is_empty())
            .collect();
        plan(None, &steps, outputs)
    };
    let numbers = |plan: &Plan, known: Option<&Allotment>| {
        let numbers = step_numbers(plan, known).unwrap();
        let number = |name: &str| numbers.get(name).copied();
        (["minutes", "hours", "days"].map(number), number("apart"))
    };
    let first = whole(hours, days);
    let known = of(&first, None);
    let same = (Some(1), Some(1), Some(1));
    let ([a, b, c], apart_number) = numbers(&first, Some(&known));
    assert_eq!(((a, b, c), apart_number), (same, Some(1)));
    for changed in [
        whole(&hours.replace("max(n)", "min(n)"), days),
        whole(hours, &days.replace("sum(n)", "max(n)")),
        whole(hours, &days.replace("1d", "2d")),
    ] {
        assert_eq!(numbers(&changed, Some(&known)), ([Some(2); 3], Some(1)));
    }
    let without = whole(hours, "");
    let expected = ([Some(2), Some(2), None], Some(1));
    assert_eq!(numbers(&without, Some(&known)), expected);
    // What comes back needs rows again that the others have written meanwhile.
    let gone = of(&without, Some(&known));
    assert_eq!(
        numbers(&first, Some(&gone)),
        ([Some(3), Some(3), Some(2)], Some(1))
    );
}

#[test]
fn what_is_damaged_or_newer_is_refused() {
    let stored = of(&whole(None), None).encode();
    assert!(Allotment::decode(&stored[1..]).is_err());
    let text = String::from_utf8(stored).unwrap();
    let newer = text.replace("\"version\":1", "\"version\":2");
    let error = Allotment::decode(newer.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("version 2"), "{error}");
}

#[test]
fn a_changed_step_counts_on_and_its_topic_follows() {
    let known = of(&whole(None), None);
    let topics = |plan: &Plan, known| partials_topics(plan, known).unwrap();
    assert_eq!(
        topics(&whole(None), None),
        [("shop.kpis.kpi.g1.partials".to_owned(), 6)]
    );
    assert_eq!(
        topics(&whole(None), Some(&known)),
        topics(&whole(None), None)
    );
    assert_eq!(
        topics(&changed(None), Some(&known)),
        [("shop.kpis.kpi.g2.partials".to_owned(), 6)]
    );
    let next = of(&changed(None), Some(&known));
    assert_eq!((next.revision, next.steps["kpi"].number), (2, 2));
    assert_eq!(
        next.outputs, known.outputs,
        "rows of events are as they were"
    );
}

#[test]
fn another_output_of_its_windows_is_another_generation_of_the_step() {
    let known = of(&whole(None), None);
    let fewer = plan(None, &[ONCE, KPI, BUSY], &["clicks", "once", "busy"]);
    assert_eq!(of(&fewer, Some(&known)).steps["kpi"].number, 2);
}

#[test]
fn what_was_gone_comes_back_as_a_new_generation() {
    let known = of(&whole(None), None);
    let without = plan(None, &[ONCE], &["clicks", "once"]);
    let gone = of(&without, Some(&known));
    assert_eq!((gone.revision, gone.steps["kpi"].number), (2, 1));
    assert!(gone.steps["kpi"].retired);
    assert_eq!(
        step_numbers(&without, Some(&known)).unwrap(),
        BTreeMap::new()
    );
    let back = of(&whole(None), Some(&gone));
    assert_eq!((back.revision, back.steps["kpi"].number), (3, 2));
    assert!(!back.steps["kpi"].retired);
}

#[test]
fn an_old_plan_that_differs_is_refused() {
    let known = of(&changed(Some(5)), None);
    let refused = Err(NewerPlan { ours: 4, theirs: 5 });
    assert_eq!(Allotment::of(&whole(Some(4)), Some(&known)), refused);
    // Lacking a step is a difference too.
    let without = plan(Some(4), &[ONCE], &["clicks", "once"]);
    assert_eq!(Allotment::of(&without, Some(&known)), refused);
    assert_eq!(of(&whole(Some(6)), Some(&known)).steps["kpi"].number, 2);
}

#[test]
fn an_old_plan_that_says_the_same_runs() {
    let known = of(&whole(Some(5)), None);
    assert_eq!(of(&whole(Some(4)), Some(&known)), known);
    let newer = of(&whole(Some(9)), Some(&known));
    assert_eq!((newer.revision, newer.plan_revision), (1, Some(9)));
}

#[test]
fn a_plan_without_an_age_is_the_newest() {
    let known = of(&changed(Some(5)), None);
    let next = of(&whole(None), Some(&known));
    assert_eq!((next.steps["kpi"].number, next.plan_revision), (2, Some(5)));
}

#[test]
fn windows_that_overlap_are_allotted_with_the_distance_of_their_starts() {
    let hopping = KPI.replace("{tumbling: 1m}", "{hopping: {size: 10m, every: 1m}}");
    let allotted = of(&plan(None, &[ONCE, &hopping], &["kpi"]), None);
    let step = &Allotment::decode(&allotted.encode()).unwrap().steps["kpi"];
    assert_eq!((step.size_ms, step.every_ms), (600_000, Some(60_000)));
    assert_eq!(step.window().every_ms(), 60_000);
}

#[test]
fn sessions_are_allotted_with_their_gap() {
    let sessions = KPI.replace("{tumbling: 1m}", "{session: {gap: 30m}}");
    let sessions = sessions.replace("{allowed: 5m}", "{policy: Drop}");
    let allotted = of(&plan(None, &[ONCE, &sessions], &["kpi"]), None);
    let step = &Allotment::decode(&allotted.encode()).unwrap().steps["kpi"];
    assert_eq!((step.gap_ms, step.every_ms), (Some(1_800_000), None));
    assert_eq!(step.window(), Window::Session { gap_ms: 1_800_000 });
}
