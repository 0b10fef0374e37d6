//! What an earlier build has written, this one reads: log, progress, window state, partials, deduplication and tables.
//!
//! `earlier/PIPELINE/DATE.tar.gz` holds the folder of `tidewheel dev --data` that a build of that day has left behind in the middle of the
//! events below, with windows open; one more is added whenever a durable format changes. To make one with the build of now:
//! `TIDEWHEEL_EARLIER=DATE` and these tests.
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::program::{Running, root, rows, run, specs};

/// Events of each half.
const HALF: usize = 600;

/// A pipeline, by the folder of its files.
#[derive(Clone, Copy)]
struct Earlier {
    pipeline: &'static str,
    /// Each with how many rows it has more than.
    outputs: &'static [(&'static str, usize)],
}

const PLAIN: Earlier = Earlier {
    pipeline: "earlier",
    outputs: &[("orders_once", 2), ("kinds", 20), ("hours", 2)],
};
/// With windows that overlap, sessions, and windows over windows.
const OF_EVERY_KIND: Earlier = Earlier {
    pipeline: "earlier_windows",
    outputs: &[
        ("orders_once", 2),
        ("overlapping", 20),
        ("visits", 20),
        ("quarters", 20),
        ("hours", 2),
    ],
};

/// The events with these numbers, a line for each: some come twice, some are of no use, some are late, and some cannot be read.
fn events(numbers: std::ops::Range<usize>) -> String {
    let mut lines = String::new();
    for number in numbers {
        // None of the first half comes again in the second, which may be years after: it would be no duplicate then.
        let id = match number % 10 {
            9 => number - 3,
            _ => number,
        };
        let second = (number * 13 + 7 * (number % 5)) as u64;
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let kind = ["book", "pen", "unknown", "ink"][number * 7 % 4];
        let amount = (number % 11) as f64 + 0.5;
        let _ = match number % 97 {
            96 => writeln!(lines, r#"{{"id": "o-{id}", "ts": "never"}}"#),
            // Later than allowed for the hours, and not for the five minutes.
            95 => writeln!(
                lines,
                r#"{{"id": "late-{id}", "ts": "2026-01-01T{:02}:59:00Z", "kind": "{kind}"}}"#,
                hour.saturating_sub(1)
            ),
            _ => writeln!(
                lines,
                r#"{{"id": "o-{id}", "ts": "2026-01-01T{hour:02}:{minute:02}:{:02}Z", "kind": "{kind}", "amount": {amount}, "who": "w-{}"}}"#,
                second % 60,
                number % 17
            ),
        };
    }
    lines
}

/// A folder with the two halves as files.
fn halves() -> (tempfile::TempDir, [String; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let halves = [("first", 0..HALF), ("second", HALF..2 * HALF)];
    let halves = halves.map(|(name, numbers)| {
        let file = folder.path().join(name);
        std::fs::write(&file, events(numbers)).unwrap();
        file.to_str().unwrap().to_owned()
    });
    (folder, halves)
}

fn tar(arguments: &[&str], folder: &Path) {
    let status = Command::new("tar")
        .args(arguments)
        .arg("--directory")
        .arg(folder)
        .arg(".")
        .status();
    assert!(status.unwrap().success());
}

impl Earlier {
    fn kept(self) -> PathBuf {
        root().join("cli/tests/it/earlier").join(self.pipeline)
    }

    /// What is told of all events but when they came, played in one run or gone on with.
    fn told(self, data: &Path, half: &str) -> Value {
        let data = data.to_str().unwrap();
        let specs = specs(self.pipeline);
        let dev = ["dev", &specs, "--data", data, "--send", half];
        run(&[&dev[..], &["--until-idle", "-o", "json"]].concat()).document()
    }

    /// Plays the first half, and leaves what there is in a file.
    fn make(self, date: &str, first: &str) {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().to_str().unwrap();
        let specs = specs(self.pipeline);
        let dev = Running::start(&[
            "dev",
            &specs,
            "--data",
            folder,
            "--send",
            first,
            "--listen",
            "127.0.0.1:0",
        ]);
        dev.address();
        std::thread::sleep(std::time::Duration::from_secs(8));
        assert_eq!(dev.stop(), 0);
        let file = self.kept().join(format!("{date}.tar.gz"));
        tar(&["-czf", file.to_str().unwrap()], data.path());
    }

    /// Goes on with what each earlier build has begun.
    fn go_on(self) {
        let (folder, [first, second]) = halves();
        if let Ok(date) = std::env::var("TIDEWHEEL_EARLIER") {
            self.make(&date, &first);
        }
        let undisturbed = folder.path().join("undisturbed");
        let both = folder.path().join("both");
        std::fs::write(&both, events(0..2 * HALF)).unwrap();
        let expected = self.told(&undisturbed, both.to_str().unwrap());
        for &(output, least) in self.outputs {
            assert!(
                rows(&expected, output).len() > least,
                "{output}: {expected}"
            );
        }
        let mut builds = 0;
        for build in std::fs::read_dir(self.kept()).unwrap() {
            let build = build.unwrap().path();
            let data = tempfile::tempdir().unwrap();
            tar(&["-xzf", build.to_str().unwrap()], data.path());
            let found = self.told(data.path(), &second);
            for (output, _) in self.outputs {
                let (found, expected) = (rows(&found, output), rows(&expected, output));
                for (found, expected) in found.iter().zip(expected) {
                    assert_eq!(found, expected, "{}: {output}", build.display());
                }
                assert_eq!(found.len(), expected.len(), "{output}");
            }
            assert_eq!(found["ledgers"], expected["ledgers"], "{}", build.display());
            let (found, expected) = (dead_letters(&found), dead_letters(&expected));
            assert_eq!(found, expected, "{}", build.display());
            builds += 1;
        }
        assert!(builds > 0);
    }
}

/// Dead letters without their offsets: the end of each transaction has one, too.
fn dead_letters(told: &Value) -> Vec<Value> {
    let mut letters = told["deadLetters"].as_array().unwrap().clone();
    for letter in &mut letters {
        letter.as_object_mut().unwrap().remove("offset");
    }
    letters
}

#[test]
fn what_an_earlier_build_has_begun_this_one_ends_as_if_it_had_begun_it() {
    PLAIN.go_on();
}

#[test]
fn windows_of_every_kind_that_an_earlier_build_has_begun_this_one_ends() {
    OF_EVERY_KIND.go_on();
}
