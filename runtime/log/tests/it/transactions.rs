//! Transactions, fencing, partitioning and offsets.
use bytes::Bytes;
use tidewheel_log::{Header, Log, NewRecord, Options};

use crate::setup::{
    HandClock, all, commit, compacted, fetch, now, on_both, options, record, topic, values,
};

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
