//! The command line explains itself.
use insta::assert_snapshot;

use crate::program::run;

#[test]
fn help_teaches() {
    for command in [
        "",
        "dev",
        "check",
        "provision",
        "ingest",
        "worker",
        "generate",
        "dead-letters",
        "dead-letters list",
        "dead-letters reasons",
        "dead-letters show",
        "dead-letters resend",
        "acknowledge",
        "replay",
    ] {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let ended = run(&args);
        assert_eq!(ended.code, 0);
        assert_snapshot!(args.join(" "), ended.stdout);
    }
}

#[test]
fn a_wrong_command_line_is_refused() {
    assert_eq!(run(&["dev"]).code, 2);
    assert_eq!(
        run(&["dev", "examples/web-analytics", "-o", "json"]).code,
        2
    );
}
