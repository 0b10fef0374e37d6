//! Bad resources become problems that name the place and the fix.
use std::collections::BTreeSet;

use tidewheel_planner::problem::{Code, render};

use crate::cases::{cases, judged};

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
            assert!(problem.place.is_some(), "{name} has no place: {problem}");
        }
        insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "bad-problems"}, {
            insta::assert_snapshot!(name, render(&problems));
        });
    }
}

#[test]
fn every_code_has_a_case() {
    // Files that cannot be read have no YAML to be a case (see `loading`), and of YAML the schema says these two first.
    let mut seen = BTreeSet::from([
        Code::Unreadable,
        Code::NothingFound,
        Code::DuplicateName,
        Code::InvalidWindow,
    ]);
    for (name, text) in cases("bad") {
        seen.extend(judged(&name, &text).1.iter().map(|p| p.code));
    }
    let missing: Vec<&Code> = Code::ALL
        .iter()
        .filter(|code| !seen.contains(code))
        .collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
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
