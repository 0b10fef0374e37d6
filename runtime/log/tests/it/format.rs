//! The bytes on the disk: what this build writes, and what every later build must read.
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bytes::Bytes;
use tidewheel_log::{EmbeddedLog, Header, Log, NewRecord, Offsets, Options};

use crate::setup::{
    HandClock, all, commit, compacted, contents, empty_folder, folder_of, now, options, record,
    text, topic, values,
};

/// Version 1: a line for every file, its path and its bytes in hexadecimal.
const GOLDEN: &str = include_str!("golden/folder-v1.txt");

fn options_then(clock: &HandClock) -> Options {
    clock.set(1_700_000_000_000);
    Options {
        segment_bytes: 100,
        tombstone_retention: Duration::ZERO,
        ..options(clock)
    }
}

/// One of everything: headers, no key, no value, several partitions, a start that was moved, a compacted segment.
fn write_one_of_everything() -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = empty_folder();
    let log = EmbeddedLog::open(folder.path(), options_then(&HandClock::default())).unwrap();
    log.create_topic(&topic("shop.clicks", 2)).unwrap();
    log.create_topic(&compacted("shop.kpis.clicks.state"))
        .unwrap();
    let header = Header {
        name: "reason".into(),
        value: Bytes::from_static(b"late"),
    };
    let with_header = NewRecord {
        headers: vec![header],
        ..record("shop.clicks", 0, "key", "value")
    };
    let keyless = NewRecord {
        key: None,
        value: None,
        ..record("shop.clicks", 1, "", "")
    };
    commit(
        &log,
        vec![with_header, keyless, record("shop.clicks", 0, "", "")],
    )
    .unwrap();
    for n in 0..4 {
        commit(
            &log,
            vec![record(
                "shop.kpis.clicks.state",
                0,
                "progress",
                &n.to_string(),
            )],
        )
        .unwrap();
        now(log.append(vec![record("shop.clicks", 1, "k", &n.to_string())])).unwrap();
    }
    now(log.delete_below("shop.clicks", 1, 4)).unwrap();
    log.maintain().unwrap();
    commit(
        &log,
        vec![record(
            "shop.clicks",
            0,
            "k",
            "after the commit log was begun anew",
        )],
    )
    .unwrap();
    contents(folder.path())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_a_folder_are_those_of_version_1() {
    let written: String = write_one_of_everything()
        .iter()
        .map(|(path, content)| format!("{} {}\n", path.display(), hex(content)))
        .collect();
    assert!(
        written == GOLDEN,
        "the format changed; this build writes:\n{written}"
    );
}

#[test]
fn a_folder_of_version_1_is_read() {
    let files = GOLDEN.lines().map(|line| {
        let (path, bytes) = line.split_once(' ').unwrap();
        let bytes = (0..bytes.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap());
        (PathBuf::from(path), bytes.collect())
    });
    let folder = folder_of(&files.collect());
    let log = EmbeddedLog::open(folder.path(), options_then(&HandClock::default())).unwrap();
    assert_eq!(
        log.topics(),
        [topic("shop.clicks", 2), compacted("shop.kpis.clicks.state")]
    );
    let first = &all(&log, "shop.clicks", 0)[0];
    assert_eq!(
        (text(&first.key), text(&first.value)),
        ("key".into(), "value".into())
    );
    assert_eq!((first.offset, first.append_time_ms), (0, 1_700_000_000_000));
    assert_eq!(
        (
            first.headers[0].name.as_str(),
            first.headers[0].value.as_ref()
        ),
        ("reason", b"late".as_slice())
    );
    let newest = "after the commit log was begun anew";
    assert_eq!(values(&log, "shop.clicks", 0), ["value", "", newest]);
    assert_eq!(
        now(log.offsets("shop.clicks", 1)).unwrap(),
        Offsets {
            earliest: 4,
            end: 6
        }
    );
    assert_eq!(values(&log, "shop.clicks", 1), ["2", "3"]);
    assert_eq!(values(&log, "shop.kpis.clicks.state", 0), ["2", "3"]);
}
