//! Readers, offsets by time, and topics.
use std::time::Duration;

use tidewheel_log::{Cleanup, EmbeddedLog, Log, LogError, Offsets, Options, TopicSettings};

use crate::setup::{
    HandClock, commit, compacted, fetch, now, on_both, options, poll_once, record, text, topic,
    values,
};

#[test]
fn a_fetch_keeps_to_its_limits_but_brings_at_least_one_record() {
    on_both(&Options::default(), |log| {
        log.create_topic(&topic("a", 1)).unwrap();
        for batch in 0..3 {
            commit(
                log,
                (0..4)
                    .map(|n| record("a", 0, "k", &format!("{batch}{n}xxxxxxx")))
                    .collect(),
            )
            .unwrap();
        }
        let mut reader = now(log.reader("a", 0, 0)).unwrap();
        let mut fetch = |records, bytes| {
            let fetched = now(reader.fetch(records, bytes, Duration::ZERO)).unwrap();
            (fetched.records.len(), fetched.next_offset, fetched.at_end)
        };
        assert_eq!(fetch(3, 1000), (3, 3, false));
        assert_eq!(
            fetch(9, 1),
            (1, 5, false),
            "the gap behind the fourth record was seen"
        );
        assert_eq!(fetch(9, 20), (2, 7, false));
        assert_eq!(fetch(0, 0), (1, 8, false));
        assert_eq!(fetch(5, 1000), (5, 15, true));
        assert_eq!(fetch(5, 1000), (0, 15, true));
    });
}

#[test]
fn a_reader_may_begin_anywhere_in_the_range_and_nowhere_else() {
    on_both(&Options::default(), |log| {
        log.create_topic(&topic("a", 1)).unwrap();
        commit(
            log,
            (0..10)
                .map(|n| record("a", 0, "k", &n.to_string()))
                .collect(),
        )
        .unwrap();
        for from in 0..10 {
            assert_eq!(
                text(&fetch(log, "a", 0, from).records[0].value),
                from.to_string()
            );
        }
        assert!(fetch(log, "a", 0, 11).records.is_empty());
        assert!(matches!(
            now(log.reader("a", 0, 12)),
            Err(LogError::OutOfRange {
                earliest: 0,
                offset: 12,
                ..
            })
        ));
        assert!(matches!(
            now(log.reader("a", 1, 0)),
            Err(LogError::UnknownPartition { partition: 1, .. })
        ));
        assert!(matches!(
            now(log.reader("b", 0, 0)),
            Err(LogError::UnknownPartition { .. })
        ));
    });
}

#[test]
fn what_was_deleted_below_is_out_of_range_and_never_comes_back() {
    on_both(
        &Options {
            segment_bytes: 200,
            ..Options::default()
        },
        |log| {
            log.create_topic(&topic("a", 1)).unwrap();
            for n in 0..20 {
                now(log.append(vec![record("a", 0, "k", &n.to_string())])).unwrap();
            }
            let mut slow = now(log.reader("a", 0, 3)).unwrap();
            now(slow.fetch(1, 1, Duration::ZERO)).unwrap();
            now(log.delete_below("a", 0, 13)).unwrap();
            now(log.delete_below("a", 0, 5)).unwrap();
            assert_eq!(
                now(log.offsets("a", 0)).unwrap(),
                Offsets {
                    earliest: 13,
                    end: 20
                }
            );
            assert_eq!(values(log, "a", 0)[0], "13");
            let gone = now(slow.fetch(1, 1, Duration::ZERO)).unwrap_err();
            assert!(
                matches!(
                    gone,
                    LogError::OutOfRange {
                        offset: 4,
                        earliest: 13,
                        ..
                    }
                ),
                "{gone}"
            );
            now(log.delete_below("a", 0, 1000)).unwrap();
            assert_eq!(
                now(log.offsets("a", 0)).unwrap(),
                Offsets {
                    earliest: 20,
                    end: 20
                }
            );
            now(log.append(vec![record("a", 0, "k", "20")])).unwrap();
            assert_eq!(values(log, "a", 0), ["20"]);
        },
    );
}

#[test]
fn retention_forgets_what_is_older_and_keeps_the_rest() {
    let clock = HandClock::default();
    on_both(
        &Options {
            segment_bytes: 1,
            ..options(&clock)
        },
        |log| {
            clock.set(0);
            log.create_topic(&TopicSettings {
                cleanup: Cleanup::Retention { ms: Some(1000) },
                ..topic("a", 1)
            })
            .unwrap();
            for n in 0..10 {
                clock.set(n * 300);
                commit(log, vec![record("a", 0, "k", &n.to_string())]).unwrap();
            }
            log.maintain().unwrap();
            assert_eq!(values(log, "a", 0), ["6", "7", "8", "9"]);
            clock.forward(100_000);
            log.maintain().unwrap();
            assert_eq!(
                now(log.offsets("a", 0)).unwrap(),
                Offsets {
                    earliest: 20,
                    end: 20
                }
            );
            commit(log, vec![record("a", 0, "k", "10")]).unwrap();
            assert_eq!(values(log, "a", 0), ["10"]);
        },
    );
}

#[test]
fn the_offset_at_a_time_is_that_of_the_first_record_from_then_on() {
    let clock = HandClock::default();
    on_both(
        &Options {
            segment_bytes: 300,
            ..options(&clock)
        },
        |log| {
            log.create_topic(&topic("a", 1)).unwrap();
            for n in 0..10 {
                clock.set(1000 + n * 100);
                commit(log, vec![record("a", 0, "k", "v")]).unwrap();
            }
            for (time, offset) in [
                (0, 0),
                (1000, 0),
                (1001, 2),
                (1500, 10),
                (1899, 18),
                (1900, 18),
                (1901, 20),
            ] {
                assert_eq!(
                    now(log.offset_at("a", 0, time)).unwrap(),
                    offset,
                    "at {time}"
                );
            }
            now(log.delete_below("a", 0, 5)).unwrap();
            assert_eq!(now(log.offset_at("a", 0, 0)).unwrap(), 5);
        },
    );
}

#[tokio::test(start_paused = true)]
async fn a_fetch_gives_up_waiting_after_its_time() {
    let log = EmbeddedLog::in_memory(Options::default());
    log.create_topic(&topic("a", 1)).unwrap();
    let mut reader = log.reader("a", 0, 0).await.unwrap();
    let fetched = reader
        .fetch(10, 1000, Duration::from_secs(5))
        .await
        .unwrap();
    assert!(fetched.records.is_empty() && fetched.at_end);
}

#[tokio::test]
async fn a_fetch_that_is_dropped_loses_nothing() {
    let log = EmbeddedLog::in_memory(Options::default());
    log.create_topic(&topic("a", 1)).unwrap();
    let mut reader = log.reader("a", 0, 0).await.unwrap();
    for n in 0..5 {
        assert!(poll_once(reader.fetch(10, 1000, Duration::from_secs(1))).is_pending());
        log.append(vec![record("a", 0, "k", &n.to_string())])
            .await
            .unwrap();
        let fetched = reader.fetch(10, 1000, Duration::ZERO).await.unwrap();
        assert_eq!(text(&fetched.records[0].value), n.to_string());
    }
}

#[test]
fn a_topic_may_grow_but_not_shrink_or_change_its_kind() {
    on_both(&Options::default(), |log| {
        let made = log.create_topic(&topic("a", 2)).unwrap();
        assert_eq!(log.create_topic(&topic("a", 2)).unwrap(), made);
        commit(log, vec![record("a", 1, "k", "kept")]).unwrap();
        let grown = log.create_topic(&topic("a", 5)).unwrap();
        assert_eq!((grown.id, grown.partitions), (made.id, 5));
        assert_eq!(values(log, "a", 1), ["kept"]);
        commit(log, vec![record("a", 4, "k", "new")]).unwrap();
        assert_eq!(values(log, "a", 4), ["new"]);
        let shrunk = log.create_topic(&topic("a", 2)).unwrap_err();
        assert_eq!(
            shrunk.to_string(),
            "topic a has 5 partitions and cannot shrink to 2: delete it and make it again, or keep them"
        );
        let changed = TopicSettings {
            partitions: 5,
            ..compacted("a")
        };
        assert!(matches!(
            log.create_topic(&changed),
            Err(LogError::Invalid { .. })
        ));
        for name in ["", "..", "a/b", "a b", "é"] {
            assert!(
                matches!(
                    log.create_topic(&topic(name, 1)),
                    Err(LogError::Invalid { .. })
                ),
                "{name:?}"
            );
        }
        assert!(matches!(
            log.create_topic(&topic("b", 0)),
            Err(LogError::Invalid { .. })
        ));
        assert_eq!(log.topics(), [topic("a", 5)]);
    });
}

#[test]
fn a_topic_made_again_is_another() {
    on_both(&Options::default(), |log| {
        let first = log.create_topic(&topic("a", 1)).unwrap();
        commit(log, vec![record("a", 0, "k", "gone")]).unwrap();
        let mut reader = now(log.reader("a", 0, 0)).unwrap();
        let mut member = now(log.join("g", "a")).unwrap();
        log.delete_topic("a").unwrap();
        assert_eq!(now(log.topic("a")).unwrap(), None);
        let second = log.create_topic(&topic("a", 1)).unwrap();
        assert_ne!(first.id, second.id);
        assert_eq!(values(log, "a", 0), [""; 0]);
        let unknown = now(reader.fetch(1, 1, Duration::ZERO)).unwrap_err();
        assert!(
            matches!(unknown, LogError::UnknownPartition { .. }),
            "{unknown}"
        );
        assert!(matches!(
            now(member.next()),
            Err(LogError::UnknownPartition { .. })
        ));
    });
}
