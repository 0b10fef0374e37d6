//! Bad resources become problems that name the place and the fix.
use std::collections::BTreeSet;

use serde_json::json;
use tidewheel_planner::load::{load, load_texts};
use tidewheel_planner::problem::{Code, render};
use tidewheel_planner::resource::Resource;
use tidewheel_planner::{Problem, plan};

use crate::cases::{BASE, cases, judged};

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_write_instead() {
    for (name, text) in cases("bad") {
        let (plans, problems) = judged(&name, &text);
        assert!(!problems.is_empty(), "{name} is taken for good");
        assert!(
            plans.is_empty() || problems.iter().all(|p| !p.is_error()),
            "{name}: a broken set has plans"
        );
        for problem in &problems {
            let place = problem.place.as_ref();
            assert!(place.is_some(), "{name} has no place: {problem}");
            let of_block = place.is_some_and(|place| place.text.trim() == "sql: |");
            assert!(!of_block, "{name} points at the whole SQL: {problem}");
        }
        insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "bad-problems"}, {
            insta::assert_snapshot!(name, render(&problems));
        });
    }
}

#[test]
fn resources_that_came_from_no_file_are_judged_alike() {
    insta::assert_snapshot!(render(&typed()));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    insta::assert_snapshot!(render(&unreadable()));
}

#[test]
fn every_code_has_a_golden_case() {
    let mut seen: BTreeSet<Code> = typed()
        .iter()
        .chain(&unreadable())
        .map(|p| p.code)
        .collect();
    for (name, text) in cases("bad") {
        seen.extend(judged(&name, &text).1.iter().map(|p| p.code));
    }
    let missing: Vec<&Code> = Code::ALL
        .iter()
        .filter(|code| !seen.contains(code))
        .collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}

/// What is wrong with a pipeline that no schema has judged: of YAML, the schema would say the same first.
fn typed() -> Vec<Problem> {
    let spec = json!({
        "sources": [{"name": "clicks"}, {"name": "clicks"}],
        "steps": [
            {"name": "clicks", "sql": "SELECT * FROM clicks"},
            {"name": "kpi", "aggregate": {"window": {"tumbling": "0s"}, "sql": "SELECT count(*) AS n FROM clicks"}},
            {"name": "bad", "sql": "SELECT metric,\n  metrc FROM clicks"},
        ],
        "outputs": [
            {"name": "rows", "from": "kpi", "postgres": {"sink": "warehouse"}},
            {"name": "rows", "from": "bad", "postgres": {"sink": "warehouse"}},
        ],
    });
    let mut set = load_texts([("base.yaml", BASE)]).set;
    let spec = serde_json::from_value(spec).unwrap();
    set.pipelines
        .push(Resource::new("Pipeline", "shop", "kpis", spec));
    plan(&set).unwrap_err()
}

/// What is wrong with paths of which nothing can be read.
fn unreadable() -> Vec<Problem> {
    let folder = tempfile::tempdir().unwrap();
    let paths = [
        folder.path().join("missing.yaml"),
        folder.path().to_path_buf(),
    ];
    let mut problems = load(&paths).problems;
    let path = folder.path().display().to_string();
    for problem in &mut problems {
        problem.message = problem.message.replace(&path, "FOLDER");
    }
    problems
}

#[test]
fn editors_get_the_same_as_json() {
    let (_, problems) = judged(
        "pipeline",
        &crate::cases::pipeline("{name: s, sql: SELECT metrc FROM clicks}"),
    );
    insta::assert_json_snapshot!(problems);
}

#[test]
fn a_broken_step_makes_no_noise_in_those_that_read_it() {
    let steps = "{name: a, sql: SELECT metrc FROM clicks}
                 {name: b, sql: SELECT anything FROM a}
                 {name: c, deduplicate: {from: b, by: [nothing], within: 1m}}";
    let (_, problems) = judged("pipeline", &crate::cases::pipeline(steps));
    assert_eq!(problems.len(), 1, "{}", render(&problems));
    assert_eq!(problems[0].code, Code::UnknownColumn);
}
