//! `tidewheel check`.
use insta::assert_snapshot;

use crate::program::{run, specs};

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let ended = run(&["check", &specs("broken")]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert_snapshot!(ended.stderr);
}

#[test]
fn editors_get_an_array() {
    let ended = run(&["check", "-o", "json", &specs("broken")]);
    assert_eq!((ended.code, ended.stderr.as_str()), (2, ""));
    assert_snapshot!(ended.stdout);
    let ended = run(&["check", "-o", "json", &specs("counts")]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "[]\n"));
}

#[test]
fn good_files_are_counted() {
    let ended = run(&["check", &specs("counts")]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, "good: 1 EventSource, 1 Pipeline, 1 Sink\n")
    );
}

#[test]
fn a_plan_can_be_read() {
    let ended = run(&["check", "--explain", &specs("counts")]);
    assert_eq!(ended.code, 0);
    assert_snapshot!(ended.stdout);
}

#[test]
fn a_path_that_is_not_there_is_refused() {
    let ended = run(&["check", "nowhere"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("nowhere cannot be read"),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_crds_are_printed() {
    let ended = run(&["crds"]);
    assert_eq!(ended.code, 0);
    assert_eq!(ended.stdout, tidewheel_crds::crds_yaml());
}
