//! Transactions, fencing, partitioning and offsets.
use bytes::Bytes;
use tidewheel_log::{Header, Log, LogError, NewRecord, Offsets, Options, partition_of};

use crate::setup::{
    HandClock, all, commit, compacted, fetch, now, on_both, options, record, text, topic, values,
};

#[test]
fn a_transaction_becomes_visible_in_all_its_partitions() {
    on_both(&Options::default(), |log| {
        log.create_topic(&topic("a", 2)).unwrap();
        log.create_topic(&topic("b", 1)).unwrap();
        commit(
            log,
            vec![
                record("a", 0, "k", "1"),
                record("b", 0, "k", "2"),
                record("a", 1, "k", "3"),
            ],
        )
        .unwrap();
        assert_eq!(values(log, "a", 0), ["1"]);
        assert_eq!(values(log, "a", 1), ["3"]);
        assert_eq!(values(log, "b", 0), ["2"]);
    });
}

#[test]
fn a_transaction_that_is_refused_leaves_nothing_anywhere() {
    on_both(&Options::default(), |log| {
        log.create_topic(&topic("a", 2)).unwrap();
        log.create_topic(&compacted("state")).unwrap();
        let keyless = NewRecord {
            topic: "state".into(),
            value: Some(Bytes::new()),
            ..NewRecord::default()
        };
        for (bad, expected) in [
            (record("a", 7, "k", "2"), "topic a has no partition 7"),
            (
                record("nowhere", 0, "k", "2"),
                "topic nowhere has no partition 0",
            ),
            (
                keyless,
                "topic state is compacted: every record needs a key",
            ),
        ] {
            let refused = commit(log, vec![record("a", 0, "k", "1"), bad]).unwrap_err();
            assert_eq!(refused.to_string(), expected);
        }
        assert_eq!(values(log, "a", 0), [""; 0]);
    });
}

#[test]
fn a_record_that_is_too_large_is_refused() {
    on_both(
        &Options {
            max_record_bytes: 10,
            ..Options::default()
        },
        |log| {
            log.create_topic(&topic("a", 1)).unwrap();
            commit(log, vec![record("a", 0, "k", "123456789")]).unwrap();
            let refused = commit(log, vec![record("a", 0, "k", "1234567890")]).unwrap_err();
            assert!(
                matches!(
                    refused,
                    LogError::TooLarge {
                        size_bytes: 11,
                        limit_bytes: 10
                    }
                ),
                "{refused}"
            );
        },
    );
}

#[test]
fn a_zombie_cannot_commit() {
    on_both(&Options::default(), |log| {
        log.create_topic(&topic("a", 1)).unwrap();
        let mut old = now(log.producer("task-0")).unwrap();
        let mut other = now(log.producer("task-1")).unwrap();
        now(old.commit(vec![record("a", 0, "k", "old")])).unwrap();
        let mut new = now(log.producer("task-0")).unwrap();
        let fenced = now(old.commit(vec![record("a", 0, "k", "zombie")])).unwrap_err();
        assert!(
            matches!(fenced, LogError::Fenced { transactional_id } if transactional_id == "task-0")
        );
        assert!(matches!(
            now(old.commit(Vec::new())),
            Err(LogError::Fenced { .. })
        ));
        now(new.commit(vec![record("a", 0, "k", "new")])).unwrap();
        now(other.commit(vec![record("a", 0, "k", "other")])).unwrap();
        assert_eq!(values(log, "a", 0), ["old", "new", "other"]);
    });
}

#[test]
fn transactions_leave_gaps_and_plain_appends_do_not() {
    on_both(&Options::default(), |log| {
        log.create_topic(&topic("a", 1)).unwrap();
        commit(
            log,
            vec![record("a", 0, "k", "0"), record("a", 0, "k", "1")],
        )
        .unwrap();
        now(log.append(vec![record("a", 0, "k", "3")])).unwrap();
        commit(log, vec![record("a", 0, "k", "4")]).unwrap();
        let offsets: Vec<i64> = all(log, "a", 0)
            .iter()
            .map(|record| record.offset)
            .collect();
        assert_eq!(offsets, [0, 1, 3, 4]);
        assert_eq!(
            now(log.offsets("a", 0)).unwrap(),
            Offsets {
                earliest: 0,
                end: 6
            }
        );
        let fetched = fetch(log, "a", 0, 4);
        assert_eq!((fetched.next_offset, fetched.at_end), (6, true));
        let in_the_gap = fetch(log, "a", 0, 2);
        assert_eq!(text(&in_the_gap.records[0].value), "3");
    });
}

#[test]
fn without_markers_offsets_have_no_gaps() {
    on_both(
        &Options {
            transaction_markers: false,
            ..Options::default()
        },
        |log| {
            log.create_topic(&topic("a", 1)).unwrap();
            commit(log, vec![record("a", 0, "k", "0")]).unwrap();
            commit(log, vec![record("a", 0, "k", "1")]).unwrap();
            assert_eq!(fetch(log, "a", 0, 0).next_offset, 2);
        },
    );
}

#[test]
fn keys_go_where_kafka_sends_them_and_appends_say_where_that_is() {
    on_both(&Options::default(), |log| {
        log.create_topic(&topic("a", 6)).unwrap();
        let keyed = |key: &str| NewRecord {
            partition: None,
            ..record("a", 0, key, key)
        };
        let keys = ["foobar", "abc", "21", "foobar"];
        let appended = now(log.append(keys.iter().map(|key| keyed(key)).collect())).unwrap();
        for (key, at) in keys.iter().zip(&appended) {
            assert_eq!(at.partition, partition_of(key.as_bytes(), 6));
            let found = fetch(log, "a", at.partition, at.offset);
            assert_eq!(text(&found.records[0].value), *key);
        }
        assert_eq!(appended[3].partition, appended[0].partition);
        assert!(
            appended[3].offset > appended[0].offset,
            "in the order in which they were given"
        );
    });
}

#[test]
fn records_without_a_key_are_spread_over_all_partitions() {
    on_both(&Options::default(), |log| {
        log.create_topic(&topic("a", 3)).unwrap();
        for _ in 0..6 {
            let keyless = NewRecord {
                partition: None,
                key: None,
                ..record("a", 0, "", "v")
            };
            now(log.append(vec![keyless])).unwrap();
        }
        for partition in 0..3 {
            assert_eq!(values(log, "a", partition).len(), 2);
        }
    });
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    let clock = HandClock::default();
    clock.set(1_700_000_000_000);
    on_both(&options(&clock), |log| {
        log.create_topic(&topic("a", 1)).unwrap();
        let header = |name: &str, value: &'static [u8]| Header {
            name: name.into(),
            value: Bytes::from_static(value),
        };
        let written = [
            NewRecord {
                value: Some(Bytes::from_static(b"\0\xff")),
                headers: vec![header("reason", b"late"), header("", b"")],
                ..record("a", 0, "k", "")
            },
            NewRecord {
                key: None,
                value: None,
                ..record("a", 0, "", "")
            },
            NewRecord {
                key: Some(Bytes::new()),
                value: Some(Bytes::from(vec![7; 3_000_000])),
                ..record("a", 0, "", "")
            },
            record("a", 0, "behind the large one", ""),
        ];
        commit(log, written.to_vec()).unwrap();
        let read = all(log, "a", 0);
        assert_eq!(read.len(), written.len());
        for (read, written) in read.iter().zip(&written) {
            assert_eq!(
                (&read.key, &read.value, &read.headers),
                (&written.key, &written.value, &written.headers)
            );
            assert_eq!(read.append_time_ms, 1_700_000_000_000);
        }
    });
}

#[test]
fn append_time_never_decreases_within_a_partition() {
    let clock = HandClock::default();
    on_both(&options(&clock), |log| {
        log.create_topic(&topic("a", 1)).unwrap();
        for now_ms in [1000, 400, 1001] {
            clock.set(now_ms);
            commit(log, vec![record("a", 0, "k", "v")]).unwrap();
        }
        let times: Vec<i64> = all(log, "a", 0)
            .iter()
            .map(|record| record.append_time_ms)
            .collect();
        assert_eq!(times, [1000, 1000, 1001]);
    });
}
