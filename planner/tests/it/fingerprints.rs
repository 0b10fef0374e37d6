//! Equal fingerprints share state: they follow the meaning of a step, and nothing else.
use crate::cases::{judged, plan_of};

const KPI: &str = "{name: kpi, aggregate: {window: {tumbling: 1m}, sql: 'SELECT source, count(*) AS n FROM valid GROUP BY source'}}";

fn fingerprint(steps: &str) -> String {
    plan_of(steps).steps.last().unwrap().fingerprint.clone()
}

fn with_kpi(valid: &str, kpi: &str) -> String {
    fingerprint(&format!("{{name: valid, sql: '{valid}'}}\n{kpi}"))
}

const VALID: &str = "SELECT source, metric FROM clicks WHERE metric > 1";

#[test]
fn spelling_does_not_change_a_step() {
    let plain = with_kpi(VALID, KPI);
    assert_eq!(
        plain,
        with_kpi(
            "select  source, METRIC from clicks /* all */ where metric > 1",
            KPI
        )
    );
    assert_eq!(
        plain,
        with_kpi(
            "SELECT c.source, c.metric FROM clicks AS c WHERE c.metric > 1",
            KPI
        )
    );
}

#[test]
fn the_place_in_the_file_does_not_change_a_step() {
    let moved = plan_of(&format!(
        "{{name: other, sql: SELECT * FROM kpi}}\n{{name: valid, sql: '{VALID}'}}\n{KPI}\n{{name: last, sql: SELECT * FROM other}}"
    ));
    let kpi = moved.steps.iter().find(|s| s.name == "kpi").unwrap();
    assert_eq!(kpi.fingerprint, with_kpi(VALID, KPI));
}

#[test]
fn a_renamed_input_does_not_change_a_step() {
    let renamed = fingerprint(&format!(
        "{{name: good, sql: '{VALID}'}}\n{}",
        KPI.replace("FROM valid", "FROM good")
    ));
    assert_eq!(renamed, with_kpi(VALID, KPI));
}

#[test]
fn windows_that_follow_each_other_are_the_same_however_they_are_written() {
    let hopping = KPI.replace("{tumbling: 1m}", "{hopping: {size: 60s, every: 1m}}");
    assert_eq!(with_kpi(VALID, &hopping), with_kpi(VALID, KPI));
}

#[test]
fn another_meaning_changes_a_step_and_all_that_follow() {
    let plain = with_kpi(VALID, KPI);
    let changed = [
        with_kpi("SELECT source, metric FROM clicks WHERE metric > 2", KPI),
        with_kpi("SELECT source, metric FROM clicks WHERE items > 1", KPI),
        with_kpi(VALID, &KPI.replace("tumbling: 1m", "tumbling: 2m")),
        with_kpi(
            VALID,
            &KPI.replace("{tumbling: 1m}", "{hopping: {size: 1m, every: 10s}}"),
        ),
        with_kpi(
            VALID,
            &KPI.replace("{tumbling: 1m}", "{hopping: {size: 1m, every: 20s}}"),
        ),
        with_kpi(
            VALID,
            &KPI.replace("{tumbling: 1m}", "{tumbling: 1m}, late: {allowed: 1m}"),
        ),
        with_kpi(
            VALID,
            &KPI.replace("{tumbling: 1m}", "{tumbling: 1m}, late: {policy: Drop}"),
        ),
        with_kpi(VALID, &KPI.replace("count(*) AS n", "count(metric) AS n")),
        with_kpi(VALID, &KPI.replace("count(*) AS n", "count(*) AS m")),
        with_kpi(
            VALID,
            &KPI.replace("count(*) AS n", "count(*) FILTER (WHERE metric > 3) AS n"),
        ),
        with_kpi(
            VALID,
            &KPI.replace("count(*) AS n", "first_value(metric) AS n"),
        ),
        with_kpi(
            VALID,
            &KPI.replace("count(*) AS n", "last_value(metric) AS n"),
        ),
        with_kpi(
            VALID,
            &KPI.replace("GROUP BY source", "GROUP BY source HAVING count(*) > 1"),
        ),
    ];
    for (index, other) in changed.iter().enumerate() {
        assert_ne!(*other, plain, "{index}");
    }
    let distinct: std::collections::BTreeSet<&String> = changed.iter().collect();
    assert_eq!(distinct.len(), changed.len());
}

#[test]
fn events_of_another_format_change_what_reads_them() {
    let specs = include_str!("good/existing-topic.yaml");
    let of = |specs: &str| {
        let (plans, problems) = judged("source", specs);
        assert!(problems.is_empty(), "{problems:?}");
        plans[0].steps[0].fingerprint.clone()
    };
    let with = |format: &str| {
        let kafka = format!("{{topic: Orders.v1, format: {format}}}");
        of(&specs.replace("{topic: Orders.v1}", &kafka))
    };
    assert_eq!(with("Json"), of(specs));
    assert_ne!(with("CloudEvents"), of(specs));
}

#[test]
fn fingerprints_are_the_same_in_every_build() {
    let plan = plan_of(&format!("{{name: valid, sql: '{VALID}'}}\n{KPI}"));
    let fingerprints: Vec<String> = plan
        .steps
        .iter()
        .map(|s| format!("{} {}", s.name, s.fingerprint))
        .collect();
    insta::assert_snapshot!(fingerprints.join("\n"));
}
