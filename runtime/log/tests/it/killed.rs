//! A process that is killed while it commits.
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidewheel_log::{EmbeddedLog, Log, LogError, Options};

use crate::setup::{all, commit, compacted, empty_folder, now, record, text, topic};

const FOLDER: &str = "TIDEWHEEL_LOG_TEST_FOLDER";

fn open(folder: &Path) -> EmbeddedLog {
    // Small segments: they are closed, compacted and deleted all the time.
    let log = EmbeddedLog::open(
        folder,
        Options {
            segment_bytes: 4000,
            ..Options::default()
        },
    )
    .unwrap();
    log.create_topic(&topic("a", 3)).unwrap();
    log.create_topic(&compacted("state")).unwrap();
    log
}

/// Transaction `n`: its number in every partition, in records of many sizes.
fn transaction(log: &EmbeddedLog, n: usize) -> Result<(), LogError> {
    let padding = "x".repeat(n * 7919 % 3000);
    let mut records = vec![record("state", 0, &(n % 7).to_string(), &n.to_string())];
    for partition in 0..3 {
        records.push(record("a", partition, &padding, &n.to_string()));
    }
    commit(log, records)
}

fn next_number(log: &EmbeddedLog) -> usize {
    all(log, "a", 0).last().map_or(0, |record| {
        text(&record.value).parse::<usize>().unwrap() + 1
    })
}

#[test]
#[ignore = "the process that is killed by the test below"]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let log = open(folder.as_ref());
    for n in next_number(&log).. {
        transaction(&log, n).unwrap();
        println!("committed {n}");
        if n % 20 == 0 {
            let below = all(&log, "a", 1).last().unwrap().offset - 10;
            now(log.delete_below("a", 1, below.max(0))).unwrap();
            log.maintain().unwrap();
        }
    }
}

/// Runs the writer until it has committed something more and a moment longer; returns the last number it reported.
fn kill_writer(folder: &Path, lines: usize) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::writer", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut committed = 0;
    let mut seen = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The writer is killed while its output is read on: whatever it reported up to then it had committed.
        if let Some((_, number)) = line.unwrap().split_once("committed ") {
            committed = number.parse().unwrap();
            seen += 1;
        }
        if seen == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= lines, "the writer stopped by itself");
    committed
}

fn verify(folder: &Path, committed: usize) {
    let log = open(folder);
    let next = next_number(&log);
    assert!(
        next > committed,
        "{committed} was acknowledged, the log ends before {next}"
    );
    for partition in 0..3 {
        let numbers: Vec<usize> = all(&log, "a", partition)
            .iter()
            .map(|record| text(&record.value).parse().unwrap())
            .collect();
        let from = if partition == 1 { numbers[0] } else { 0 };
        assert!(
            numbers.iter().copied().eq(from..next),
            "partition {partition}: {numbers:?} up to {next}"
        );
    }
    let state: BTreeMap<usize, usize> = all(&log, "state", 0)
        .iter()
        .map(|record| {
            (
                text(&record.key).parse().unwrap(),
                text(&record.value).parse().unwrap(),
            )
        })
        .collect();
    for (key, value) in state {
        assert_eq!(
            value,
            (0..next).rev().find(|n| n % 7 == key).unwrap(),
            "newest of key {key}"
        );
    }
}

#[test]
fn killed_at_any_moment_no_acknowledged_transaction_is_lost_and_none_is_half() {
    let folder = empty_folder();
    let mut random = ChaCha8Rng::seed_from_u64(11);
    for _ in 0..12 {
        let committed = kill_writer(folder.path(), random.random_range(1..200));
        verify(folder.path(), committed);
    }
}
