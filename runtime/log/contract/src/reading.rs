//! Readers, and offsets by time.
use std::time::Duration;

use tidewheel_log::{LogError, Offsets};

use crate::subject::{PATIENCE, Subject, WAIT, record, text};

/// Fetches that ask for less than there is.
pub async fn a_fetch_keeps_to_its_limits_but_brings_at_least_one_record(subject: &dyn Subject) {
    let a = subject.topic(1).await;
    for batch in 0..3 {
        let records = (0..4).map(|n| record(&a, 0, "k", &format!("{batch}{n}xxxxxxx")));
        subject.commit(records.collect()).await.unwrap();
    }
    let mut reader = subject.log().reader(&a, 0, 0).await.unwrap();
    for (max_records, max_bytes, expected) in [
        (3, 1_000, 3),
        (9, 1, 1),
        (9, 20, 2),
        (0, 0, 1),
        (5, 1_000, 5),
    ] {
        let mut got = 0;
        while got < expected {
            let fetched = reader
                .fetch(max_records, max_bytes, PATIENCE)
                .await
                .unwrap();
            let count = fetched.records.len();
            assert!(count > 0 || fetched.at_end, "waited for nothing");
            // What has not arrived yet comes with the next fetch: never more than the limits at once.
            assert!(count <= expected.max(1), "{count} of {max_records} records");
            let bytes: usize = fetched
                .records
                .iter()
                .map(|record| 1 + text(&record.value).len())
                .sum();
            assert!(
                count <= 1 || bytes <= max_bytes,
                "{bytes} of {max_bytes} bytes"
            );
            got += count;
        }
        assert_eq!(got, expected);
    }
    assert_eq!(subject.read_from(&a, 0, 0).await.next_offset, 15);
}

/// The range of a partition, gaps included.
pub async fn a_reader_begins_anywhere_in_the_range_and_nowhere_else(subject: &dyn Subject) {
    let a = subject.topic(1).await;
    let records = (0..10).map(|n| record(&a, 0, "k", &n.to_string()));
    subject.commit(records.collect()).await.unwrap();
    for from in 0..10 {
        let read = subject.read_from(&a, 0, from).await;
        assert_eq!(text(&read.records[0].value), from.to_string());
        assert_eq!(read.next_offset, 11);
    }
    assert!(subject.read_from(&a, 0, 10).await.records.is_empty());
    assert!(subject.read_from(&a, 0, 11).await.records.is_empty());
    let log = subject.log();
    let beyond = log.reader(&a, 0, 12).await.map(drop).unwrap_err();
    assert!(
        matches!(
            beyond,
            LogError::OutOfRange {
                earliest: 0,
                offset: 12,
                ..
            }
        ),
        "{beyond}"
    );
    let no_partition = log.reader(&a, 1, 0).await.map(drop).unwrap_err();
    assert!(matches!(
        no_partition,
        LogError::UnknownPartition { partition: 1, .. }
    ));
    let nowhere = subject.name("nowhere");
    let no_topic = log.reader(&nowhere, 0, 0).await.map(drop).unwrap_err();
    assert!(
        matches!(no_topic, LogError::UnknownPartition { .. }),
        "{no_topic}"
    );
    let no_offsets = log.offsets(&nowhere, 0).await.unwrap_err();
    assert!(
        matches!(no_offsets, LogError::UnknownPartition { .. }),
        "{no_offsets}"
    );
}

/// Deletion, also under a reader's feet.
pub async fn what_was_deleted_below_is_out_of_range_and_never_comes_back(subject: &dyn Subject) {
    let (a, log) = (subject.topic(1).await, subject.log());
    for n in 0..20 {
        log.append(vec![record(&a, 0, "k", &n.to_string())])
            .await
            .unwrap();
    }
    log.delete_below(&a, 0, 13).await.unwrap();
    log.delete_below(&a, 0, 5).await.unwrap();
    let offsets = |earliest, end| Offsets { earliest, end };
    assert_eq!(log.offsets(&a, 0).await.unwrap(), offsets(13, 20));
    assert_eq!(subject.values(&a, 0).await[0], "13");
    let gone = log.reader(&a, 0, 4).await.map(drop).unwrap_err();
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
    log.delete_below(&a, 0, 1_000).await.unwrap();
    assert_eq!(log.offsets(&a, 0).await.unwrap(), offsets(20, 20));
    log.append(vec![record(&a, 0, "k", "20")]).await.unwrap();
    assert_eq!(subject.values(&a, 0).await, ["20"]);
}

/// Offsets by append time.
pub async fn the_offset_at_a_time_is_that_of_the_first_record_from_then_on(subject: &dyn Subject) {
    let (a, log) = (subject.topic(1).await, subject.log());
    for _ in 0..3 {
        subject.commit(vec![record(&a, 0, "k", "v")]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let records = subject.all(&a, 0).await;
    for at in records
        .iter()
        .flat_map(|record| [record.append_time_ms, record.append_time_ms + 1])
    {
        let expected = records.iter().find(|record| record.append_time_ms >= at);
        let from = log.offset_at(&a, 0, at).await.unwrap();
        let read = subject.read_from(&a, 0, from).await;
        assert_eq!(read.records.first(), expected, "at {at}, from {from}");
        assert_eq!(read.next_offset, 6);
    }
    for long_ago in [i64::MIN, -1, 0] {
        assert_eq!(log.offset_at(&a, 0, long_ago).await.unwrap(), 0);
    }
    log.delete_below(&a, 0, 3).await.unwrap();
    assert!(log.offset_at(&a, 0, 0).await.unwrap() >= 3);
}

/// Waiting for the first record.
pub async fn a_fetch_that_waits_wakes_when_something_is_appended(subject: &dyn Subject) {
    let (a, log) = (subject.topic(1).await, subject.log());
    let mut reader = log.reader(&a, 0, 0).await.unwrap();
    let waiting = tokio::spawn(async move {
        loop {
            // Coming to the end is news as well.
            let fetched = reader.fetch(10, 1_000, PATIENCE).await.unwrap();
            if !fetched.records.is_empty() {
                return fetched;
            }
        }
    });
    tokio::time::sleep(WAIT).await;
    log.append(vec![record(&a, 0, "k", "v")]).await.unwrap();
    let fetched = tokio::time::timeout(PATIENCE / 2, waiting).await;
    assert_eq!(fetched.unwrap().unwrap().records.len(), 1);
}

/// Waiting in vain.
pub async fn a_fetch_gives_up_waiting_and_knows_that_it_is_at_the_end(subject: &dyn Subject) {
    let a = subject.topic(1).await;
    let mut reader = subject.log().reader(&a, 0, 0).await.unwrap();
    // Long enough for what was known when the reader was made to be worth nothing any more.
    for _ in 0..40 {
        let fetched = reader.fetch(10, 1_000, WAIT).await.unwrap();
        assert!(fetched.records.is_empty() && fetched.next_offset == 0);
    }
    assert!(reader.fetch(10, 1_000, WAIT).await.unwrap().at_end);
}

/// Cancellation.
pub async fn a_fetch_that_is_dropped_loses_nothing(subject: &dyn Subject) {
    let (a, log) = (subject.topic(1).await, subject.log());
    let mut reader = log.reader(&a, 0, 0).await.unwrap();
    let mut seen = Vec::new();
    for n in 0..50 {
        log.append(vec![record(&a, 0, "k", &n.to_string())])
            .await
            .unwrap();
        let hurry = Duration::from_micros(n * 20);
        if let Ok(fetched) = tokio::time::timeout(hurry, reader.fetch(10, 1_000, PATIENCE)).await {
            seen.extend(fetched.unwrap().records);
        }
    }
    while seen.len() < 50 {
        seen.extend(reader.fetch(10, 1_000, PATIENCE).await.unwrap().records);
    }
    let offsets: Vec<i64> = seen.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (0..50).collect::<Vec<_>>());
}

/// One reader's position and end are not another's.
pub async fn two_readers_of_a_partition_do_not_disturb_each_other(subject: &dyn Subject) {
    let (a, log) = (subject.topic(1).await, subject.log());
    for n in 0..6 {
        subject
            .commit(vec![record(&a, 0, "k", &n.to_string())])
            .await
            .unwrap();
    }
    let mut ahead = log.reader(&a, 0, 0).await.unwrap();
    assert!(
        !ahead
            .fetch(1, 1, PATIENCE)
            .await
            .unwrap()
            .records
            .is_empty()
    );
    let behind = subject.values(&a, 0).await;
    assert_eq!(behind, ["0", "1", "2", "3", "4", "5"]);
    let mut rest = Vec::new();
    while rest.len() < 5 {
        rest.extend(ahead.fetch(10, 1_000, PATIENCE).await.unwrap().records);
    }
    let rest: Vec<String> = rest.iter().map(|record| text(&record.value)).collect();
    assert_eq!(rest, ["1", "2", "3", "4", "5"]);
}

/// Topics.
pub async fn a_topic_that_is_not_there_is_none(subject: &dyn Subject) {
    let log = subject.log();
    assert_eq!(log.topic(&subject.name("nowhere")).await.unwrap(), None);
    let a = subject.topic(3).await;
    let info = log.topic(&a).await.unwrap().unwrap();
    assert_eq!(info.partitions, 3);
    assert_eq!(log.topic(&a).await.unwrap(), Some(info));
}
