//! A folder: what it keeps, who may have it, what it costs.
use std::time::Duration;

use tidewheel_log::{
    Cleanup, EmbeddedLog, Log, LogError, NewRecord, Offsets, Options, TopicSettings,
};

use crate::setup::{
    HandClock, all, commit, compacted, contents, empty_folder, now, options, record, text, topic,
    values,
};

#[test]
fn everything_is_there_when_a_folder_is_opened_again() {
    let clock = HandClock::default();
    clock.set(5_000);
    let folder = empty_folder();
    let open = || {
        EmbeddedLog::open(
            folder.path(),
            Options {
                segment_bytes: 1000,
                ..options(&clock)
            },
        )
        .unwrap()
    };
    let log = open();
    let first = log.create_topic(&topic("a", 2)).unwrap();
    log.create_topic(&compacted("state")).unwrap();
    for n in 0..100 {
        commit(
            &log,
            vec![
                record("a", 0, "k", &n.to_string()),
                record("state", 0, &n.to_string(), "v"),
            ],
        )
        .unwrap();
    }
    let before = (all(&log, "a", 0), all(&log, "a", 1), all(&log, "state", 0));
    drop(log);
    clock.set(1_000);
    let log = open();
    assert_eq!(
        (all(&log, "a", 0), all(&log, "a", 1), all(&log, "state", 0)),
        before
    );
    assert_eq!(log.topics(), [topic("a", 2), compacted("state")]);
    assert_eq!(now(log.topic("a")).unwrap().unwrap(), first);
    commit(
        &log,
        vec![record("a", 0, "k", "100"), record("a", 1, "k", "0")],
    )
    .unwrap();
    drop(log);
    let log = open();
    let newest = all(&log, "a", 0).pop().unwrap();
    assert_eq!(
        (newest.offset, text(&newest.value)),
        (200, "100".to_owned())
    );
    assert_eq!(
        newest.append_time_ms, 5_000,
        "append time does not go back with the clock"
    );
    for (from, found) in [(0, 0), (1, 2), (57, 58), (199, 200)] {
        let mut reader = now(log.reader("a", 0, from)).unwrap();
        assert_eq!(
            now(reader.fetch(1, 1, Duration::ZERO)).unwrap().records[0].offset,
            found
        );
    }
}

#[test]
fn what_was_deleted_stays_deleted_and_offsets_go_on() {
    let clock = HandClock::default();
    let folder = empty_folder();
    let open = || {
        EmbeddedLog::open(
            folder.path(),
            Options {
                segment_bytes: 200,
                ..options(&clock)
            },
        )
        .unwrap()
    };
    let log = open();
    log.create_topic(&topic("a", 2)).unwrap();
    log.create_topic(&TopicSettings {
        cleanup: Cleanup::Retention { ms: Some(10) },
        ..topic("old", 1)
    })
    .unwrap();
    for n in 0..20 {
        let value = n.to_string();
        commit(
            &log,
            vec![
                record("a", 0, "k", &value),
                record("a", 1, "k", &value),
                record("old", 0, "k", &value),
            ],
        )
        .unwrap();
    }
    let before = contents(folder.path()).len();
    now(log.delete_below("a", 0, 31)).unwrap();
    now(log.delete_below("a", 1, 40)).unwrap();
    clock.forward(11);
    log.maintain().unwrap();
    assert!(
        contents(folder.path()).len() < before - 15,
        "files of whole segments are gone"
    );
    for _ in 0..2 {
        drop(open_again(&log));
    }
    drop(log);
    for _ in 0..2 {
        let log = open();
        assert_eq!(
            now(log.offsets("a", 0)).unwrap(),
            Offsets {
                earliest: 31,
                end: 40
            }
        );
        assert_eq!(values(&log, "a", 0), ["16", "17", "18", "19"]);
        assert_eq!(
            now(log.offsets("a", 1)).unwrap(),
            Offsets {
                earliest: 40,
                end: 40
            }
        );
        assert_eq!(
            now(log.offsets("old", 0)).unwrap(),
            Offsets {
                earliest: 40,
                end: 40
            }
        );
    }
    let log = open();
    commit(
        &log,
        vec![record("a", 1, "k", "20"), record("old", 0, "k", "20")],
    )
    .unwrap();
    drop(log);
    let log = open();
    assert_eq!(all(&log, "a", 1)[0].offset, 40);
    assert_eq!(values(&log, "old", 0), ["20"]);
}

/// A clone is the same log, and dropping it closes nothing.
fn open_again(log: &EmbeddedLog) -> EmbeddedLog {
    log.clone()
}

#[test]
fn a_deleted_topic_is_gone_for_good_and_its_identity_is_not_given_again() {
    let clock = HandClock::default();
    let folder = empty_folder();
    let open = || EmbeddedLog::open(folder.path(), options(&clock)).unwrap();
    let log = open();
    let first = log.create_topic(&topic("a", 1)).unwrap();
    commit(&log, vec![record("a", 0, "k", "v")]).unwrap();
    log.delete_topic("a").unwrap();
    assert_eq!(
        contents(folder.path()).len(),
        1,
        "only the commit log is left"
    );
    drop(log);
    let log = open();
    assert_eq!(log.topics(), []);
    assert_ne!(log.create_topic(&topic("a", 1)).unwrap().id, first.id);
    assert_eq!(values(&log, "a", 0), [""; 0]);
}

#[test]
fn a_folder_has_one_owner_at_a_time() {
    let folder = empty_folder();
    let log = EmbeddedLog::open(folder.path(), Options::default()).unwrap();
    let refused = EmbeddedLog::open(folder.path(), Options::default())
        .err()
        .unwrap();
    assert!(matches!(refused, LogError::Unavailable { .. }));
    assert!(
        refused
            .to_string()
            .contains("is in use: stop the process that has it open"),
        "{refused}"
    );
    drop(log);
    EmbeddedLog::open(folder.path(), Options::default()).unwrap();
}

#[test]
fn a_folder_forced_to_the_disk_works_the_same() {
    let folder = empty_folder();
    let options = Options {
        fsync: true,
        segment_bytes: 100,
        ..Options::default()
    };
    let log = EmbeddedLog::open(folder.path(), options.clone()).unwrap();
    log.create_topic(&compacted("state")).unwrap();
    for n in 0..5 {
        commit(&log, vec![record("state", 0, "k", &n.to_string())]).unwrap();
    }
    log.maintain().unwrap();
    drop(log);
    let log = EmbeddedLog::open(folder.path(), options).unwrap();
    assert_eq!(values(&log, "state", 0), ["3", "4"]);
}

#[test]
fn few_files_are_open_however_many_partitions_there_are() {
    let folder = empty_folder();
    let options = Options {
        max_open_files: 4,
        segment_bytes: 500,
        ..Options::default()
    };
    let log = EmbeddedLog::open(folder.path(), options).unwrap();
    log.create_topic(&topic("a", 50)).unwrap();
    let mut readers: Vec<_> = (0..50)
        .map(|partition| now(log.reader("a", partition, 0)).unwrap())
        .collect();
    for n in 0..20 {
        commit(
            &log,
            (0..50)
                .map(|partition| record("a", partition, "k", &n.to_string()))
                .collect(),
        )
        .unwrap();
        for reader in &mut readers {
            let fetched = now(reader.fetch(10, 1000, Duration::ZERO)).unwrap();
            assert_eq!(text(&fetched.records[0].value), n.to_string());
        }
    }
    let root = folder.path().canonicalize().unwrap();
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let ours = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let ours = ours.filter(|path| path.starts_with(&root)).count();
    assert!(
        (1..=4 + 2).contains(&ours),
        "{ours} files are open, with the lock and the commit log"
    );
}

#[test]
fn transactions_larger_than_a_segment_are_read_back_whole() {
    let folder = empty_folder();
    let options = Options {
        segment_bytes: 1 << 20,
        ..Options::default()
    };
    let log = EmbeddedLog::open(folder.path(), options.clone()).unwrap();
    log.create_topic(&topic("a", 1)).unwrap();
    let large = |n: usize| NewRecord {
        value: Some(vec![n as u8; 100_000 * n].into()),
        ..record("a", 0, "k", "")
    };
    for _ in 0..2 {
        commit(&log, (0..30).map(large).collect()).unwrap();
    }
    drop(log);
    let log = EmbeddedLog::open(folder.path(), options).unwrap();
    let lengths: Vec<usize> = all(&log, "a", 0)
        .iter()
        .map(|record| record.value.as_ref().unwrap().len())
        .collect();
    assert_eq!(
        lengths,
        (0..60).map(|n| 100_000 * (n % 30)).collect::<Vec<_>>()
    );
    let mut reader = now(log.reader("a", 0, 0)).unwrap();
    let mut read = 0;
    while read < 60 {
        read += now(reader.fetch(1, 10, Duration::ZERO))
            .unwrap()
            .records
            .len();
    }
}
