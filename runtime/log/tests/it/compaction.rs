//! Compacted topics.
use std::{collections::BTreeMap, time::Duration};

use tidewheel_log::{EmbeddedLog, Log, NewRecord, Offsets, Options};

use crate::setup::{
    HandClock, all, commit, compacted, contents, empty_folder, folder_of, now, on_both, options,
    record, text,
};

/// Every transaction closes the segment before it.
fn small_segments(clock: &HandClock) -> Options {
    Options {
        segment_bytes: 1,
        ..options(clock)
    }
}

fn tombstone(key: &str) -> NewRecord {
    NewRecord {
        value: None,
        ..record("state", 0, key, "")
    }
}

fn contents_of(log: &EmbeddedLog) -> Vec<(i64, String, String)> {
    let records = all(log, "state", 0);
    records
        .iter()
        .map(|record| (record.offset, text(&record.key), text(&record.value)))
        .collect()
}

fn owned(records: &[(i64, &str, &str)]) -> Vec<(i64, String, String)> {
    records
        .iter()
        .map(|(offset, key, value)| (*offset, (*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn compaction_keeps_the_newest_record_of_each_key_at_its_offset() {
    on_both(&small_segments(&HandClock::default()), |log| {
        log.create_topic(&compacted("state")).unwrap();
        commit(
            log,
            vec![
                record("state", 0, "a", "1"),
                record("state", 0, "b", "1"),
                record("state", 0, "c", "1"),
            ],
        )
        .unwrap();
        commit(
            log,
            vec![record("state", 0, "a", "2"), record("state", 0, "a", "3")],
        )
        .unwrap();
        commit(log, vec![record("state", 0, "b", "2")]).unwrap();
        log.maintain().unwrap();
        let kept = owned(&[(1, "b", "1"), (2, "c", "1"), (5, "a", "3"), (7, "b", "2")]);
        assert_eq!(contents_of(log), kept, "the last segment is not closed yet");
        assert_eq!(
            now(log.offsets("state", 0)).unwrap(),
            Offsets {
                earliest: 0,
                end: 9
            }
        );
        commit(log, vec![record("state", 0, "d", "1")]).unwrap();
        log.maintain().unwrap();
        assert_eq!(
            contents_of(log)[0].1,
            "b",
            "little is new: not worth it yet"
        );
        for _ in 0..3 {
            commit(log, vec![record("state", 0, "d", "2")]).unwrap();
        }
        log.maintain().unwrap();
        let kept = [
            (2, "c", "1"),
            (5, "a", "3"),
            (7, "b", "2"),
            (13, "d", "2"),
            (15, "d", "2"),
        ];
        assert_eq!(contents_of(log), owned(&kept));
    });
}

#[test]
fn a_deletion_is_kept_until_readers_under_way_have_seen_it() {
    let clock = HandClock::default();
    on_both(
        &Options {
            tombstone_retention: Duration::from_secs(60),
            ..small_segments(&clock)
        },
        |log| {
            clock.set(0);
            log.create_topic(&compacted("state")).unwrap();
            commit(
                log,
                vec![record("state", 0, "a", "1"), record("state", 0, "b", "1")],
            )
            .unwrap();
            commit(log, vec![tombstone("a")]).unwrap();
            commit(log, vec![record("state", 0, "c", "1")]).unwrap();
            log.maintain().unwrap();
            assert_eq!(
                contents_of(log),
                owned(&[(1, "b", "1"), (3, "a", "-"), (5, "c", "1")])
            );
            clock.forward(60_000);
            for _ in 0..4 {
                commit(log, vec![record("state", 0, "c", "2")]).unwrap();
            }
            log.maintain().unwrap();
            assert_eq!(
                contents_of(log),
                owned(&[(1, "b", "1"), (11, "c", "2"), (13, "c", "2")])
            );
        },
    );
}

#[test]
fn a_reader_goes_on_through_a_compaction() {
    on_both(&small_segments(&HandClock::default()), |log| {
        log.create_topic(&compacted("state")).unwrap();
        for n in 0..20 {
            commit(
                log,
                vec![record("state", 0, &format!("k{}", n % 3), &n.to_string())],
            )
            .unwrap();
        }
        let mut reader = now(log.reader("state", 0, 0)).unwrap();
        let mut newest = BTreeMap::new();
        loop {
            let fetched = now(reader.fetch(3, usize::MAX, Duration::ZERO)).unwrap();
            newest.extend(
                fetched
                    .records
                    .iter()
                    .map(|record| (text(&record.key), text(&record.value))),
            );
            if fetched.at_end {
                break;
            }
            log.maintain().unwrap();
        }
        let expected = [("k0", "18"), ("k1", "19"), ("k2", "17")];
        assert_eq!(
            newest,
            expected
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into()
        );
    });
}

#[test]
fn where_compaction_left_nothing_readers_find_the_end() {
    let clock = HandClock::default();
    on_both(
        &Options {
            tombstone_retention: Duration::ZERO,
            ..small_segments(&clock)
        },
        |log| {
            log.create_topic(&compacted("state")).unwrap();
            commit(log, vec![record("state", 0, "a", "1")]).unwrap();
            commit(log, vec![tombstone("a")]).unwrap();
            commit(log, vec![record("state", 0, "b", "1")]).unwrap();
            log.maintain().unwrap();
            now(log.delete_below("state", 0, 1)).unwrap();
            assert_eq!(contents_of(log), owned(&[(4, "b", "1")]));
            assert_eq!(now(log.offset_at("state", 0, 0)).unwrap(), 4);
        },
    );
}

#[test]
fn compaction_makes_a_folder_smaller_and_survives_opening() {
    let folder = empty_folder();
    let options = Options {
        segment_bytes: 20_000,
        ..Options::default()
    };
    let log = EmbeddedLog::open(folder.path(), options.clone()).unwrap();
    log.create_topic(&compacted("state")).unwrap();
    for n in 0..3000 {
        let value = format!("{n:0>100}");
        commit(
            &log,
            vec![record("state", 0, &format!("key {}", n % 10), &value)],
        )
        .unwrap();
    }
    log.maintain().unwrap();
    let size: usize = contents(folder.path()).values().map(Vec::len).sum();
    let before = contents_of(&log);
    drop(log);
    let log = EmbeddedLog::open(folder.path(), options).unwrap();
    assert_eq!(contents_of(&log), before);
    let newest: BTreeMap<String, String> = before
        .into_iter()
        .map(|(_, key, value)| (key, value))
        .collect();
    for n in 2990..3000 {
        assert_eq!(newest[&format!("key {}", n % 10)], format!("{n:0>100}"));
    }
    assert!(
        size < 300_000,
        "of 3,000 records of more than 100 bytes {size} bytes remain"
    );
}

#[test]
fn a_compaction_that_was_interrupted_leaves_everything_as_it_should_be() {
    let clock = HandClock::default();
    let folder = empty_folder();
    let log = EmbeddedLog::open(
        folder.path(),
        Options {
            segment_bytes: 300,
            ..options(&clock)
        },
    )
    .unwrap();
    log.create_topic(&compacted("state")).unwrap();
    for n in 0..20 {
        commit(
            &log,
            vec![record("state", 0, &format!("k{}", n % 3), &n.to_string())],
        )
        .unwrap();
    }
    let before = contents(folder.path());
    log.maintain().unwrap();
    let compacted = contents_of(&log);
    let after = contents(folder.path());
    drop(log);
    assert!(after.len() < before.len(), "segments became fewer");
    // As if the machine stopped after renaming, with a further compaction begun: the replaced segments are still there.
    let mut between = before.clone();
    between.extend(after.clone());
    let segments = between
        .keys()
        .filter(|path| path.extension() == Some("segment".as_ref()));
    let unfinished = segments.max().unwrap().with_extension("compacting");
    between.insert(unfinished, b"half a segm".to_vec());
    let folder = folder_of(&between);
    let log = EmbeddedLog::open(folder.path(), options(&clock)).unwrap();
    assert_eq!(contents_of(&log), compacted);
    assert_eq!(
        contents(folder.path()).len(),
        after.len(),
        "what was left over is gone"
    );
}
