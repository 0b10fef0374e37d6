//! Writing: transactions, and appends outside of them.
use bytes::Bytes;
use tidewheel_log::{
    Cleanup, Header, LogError, NewRecord, Offsets, Record, partition_of, take_over,
};

use crate::subject::{Subject, record, text};

/// Several topics and partitions at once.
pub async fn a_transaction_is_seen_whole_in_all_partitions(subject: &dyn Subject) {
    let (a, b) = (subject.topic(2).await, subject.topic(1).await);
    let records = vec![
        record(&a, 0, "k", "1"),
        record(&b, 0, "k", "2"),
        record(&a, 1, "k", "3"),
    ];
    subject.commit(records).await.unwrap();
    assert_eq!(subject.values(&a, 0).await, ["1"]);
    assert_eq!(subject.values(&a, 1).await, ["3"]);
    assert_eq!(subject.values(&b, 0).await, ["2"]);
    let mut idle = subject.log().producer(&subject.name("idle")).await.unwrap();
    idle.commit(Vec::new()).await.unwrap();
}

/// One record that cannot be stored.
pub async fn a_transaction_that_is_refused_leaves_nothing_anywhere(subject: &dyn Subject) {
    let a = subject.topic(2).await;
    let state = subject.topic_of("state", 1, Cleanup::Compact).await;
    let nowhere = subject.name("nowhere");
    let keyless = NewRecord {
        topic: state,
        value: Some(Bytes::new()),
        ..NewRecord::default()
    };
    let mut producer = subject.log().producer(&subject.name("task")).await.unwrap();
    for bad in [record(&a, 7, "k", "2"), record(&nowhere, 0, "k", "2")] {
        let records = vec![record(&a, 0, "k", "1"), bad.clone()];
        let refused = producer.commit(records).await.unwrap_err();
        let expected = format!(
            "topic {} has no partition {}",
            bad.topic,
            bad.partition.unwrap()
        );
        assert_eq!(refused.to_string(), expected);
    }
    let refused = producer
        .commit(vec![record(&a, 0, "k", "1"), keyless])
        .await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, LogError::Invalid { .. }), "{refused}");
    // What the log will never take is no reason to take the id over again.
    producer
        .commit(vec![record(&a, 0, "k", "3")])
        .await
        .unwrap();
    assert_eq!(subject.values(&a, 0).await, ["3"]);
}

/// The limit of a record.
pub async fn a_record_that_is_too_large_is_refused(subject: &dyn Subject) {
    let a = subject.topic(1).await;
    let large = "x".repeat(subject.too_large_bytes());
    let mut producer = subject.log().producer(&subject.name("task")).await.unwrap();
    let records = vec![record(&a, 0, "k", "small"), record(&a, 0, "k", &large)];
    let refused = producer.commit(records).await.unwrap_err();
    assert!(
        matches!(refused, LogError::TooLarge { size_bytes, limit_bytes } if size_bytes > limit_bytes),
        "{refused}"
    );
    producer
        .commit(vec![record(&a, 0, "k", "next")])
        .await
        .unwrap();
    let refused = subject.log().append(vec![record(&a, 0, "k", &large)]).await;
    assert!(matches!(refused, Err(LogError::TooLarge { .. })));
    assert_eq!(subject.values(&a, 0).await, ["next"]);
}

/// Holders one after the other.
pub async fn who_takes_an_id_over_goes_on_from_all_that_was_committed(subject: &dyn Subject) {
    let (a, log, id) = (subject.topic(2).await, subject.log(), subject.name("task"));
    let home = subject.topic_of("state", 2, Cleanup::Compact).await;
    let at_home = |value: &str| record(&home, 1, "progress", value);
    for value in ["1", "2", "3"] {
        let mut known = None;
        let each = |record: Record| known = Some(text(&record.value));
        let mut holder = take_over(log, &id, (&home, 1), each).await.unwrap();
        let elsewhere = subject.values(&a, 0).await.pop();
        assert_eq!(known, elsewhere, "what is said at home is there elsewhere");
        let whole = vec![record(&a, 0, "k", value), at_home(value)];
        holder.commit(whole).await.unwrap();
        holder.commit(vec![at_home(value)]).await.unwrap();
    }
}

/// Fencing.
pub async fn a_zombie_cannot_commit(subject: &dyn Subject) {
    let (a, log) = (subject.topic(1).await, subject.log());
    let (id, other_id) = (subject.name("task-0"), subject.name("task-1"));
    let mut old = log.producer(&id).await.unwrap();
    let mut other = log.producer(&other_id).await.unwrap();
    old.commit(vec![record(&a, 0, "k", "old")]).await.unwrap();
    let mut new = log.producer(&id).await.unwrap();
    let fenced = old.commit(vec![record(&a, 0, "k", "zombie")]).await;
    let fenced = fenced.unwrap_err();
    assert!(
        matches!(&fenced, LogError::Fenced { transactional_id } if *transactional_id == id),
        "{fenced}"
    );
    let again = old.commit(vec![record(&a, 0, "k", "zombie")]).await;
    assert!(again.is_err());
    new.commit(vec![record(&a, 0, "k", "new")]).await.unwrap();
    other
        .commit(vec![record(&a, 0, "k", "other")])
        .await
        .unwrap();
    assert_eq!(subject.values(&a, 0).await, ["old", "new", "other"]);
}

/// Offsets are not counts.
pub async fn transactions_leave_gaps_and_plain_appends_do_not(subject: &dyn Subject) {
    let a = subject.topic(1).await;
    let first = vec![record(&a, 0, "k", "0"), record(&a, 0, "k", "1")];
    subject.commit(first).await.unwrap();
    let log = subject.log();
    log.append(vec![record(&a, 0, "k", "3")]).await.unwrap();
    subject.commit(vec![record(&a, 0, "k", "4")]).await.unwrap();
    let records = subject.all(&a, 0).await;
    let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [0, 1, 3, 4]);
    let range = Offsets {
        earliest: 0,
        end: 6,
    };
    assert_eq!(log.offsets(&a, 0).await.unwrap(), range);
    let read = subject.read_from(&a, 0, 4).await;
    assert_eq!((read.next_offset, read.at_end), (6, true));
    let in_the_gap = subject.read_from(&a, 0, 2).await;
    assert_eq!(text(&in_the_gap.records[0].value), "3");
}

/// The hash of keys.
pub async fn keys_go_where_kafka_sends_them_and_appends_say_where_that_is(subject: &dyn Subject) {
    let (a, log) = (subject.topic(6).await, subject.log());
    let keyed = |key: &str| NewRecord {
        partition: None,
        ..record(&a, 0, key, key)
    };
    let keys = ["foobar", "abc", "21", "foobar"];
    let appended = log.append(keys.iter().map(|key| keyed(key)).collect());
    let appended = appended.await.unwrap();
    for (key, at) in keys.iter().zip(&appended) {
        assert_eq!(at.partition, partition_of(key.as_bytes(), 6));
        let found = subject.read_from(&a, at.partition, at.offset).await;
        assert_eq!(text(&found.records[0].value), *key);
    }
    assert_eq!(appended[3].partition, appended[0].partition);
    assert!(
        appended[3].offset > appended[0].offset,
        "in the order in which they were given"
    );
}

/// No key.
pub async fn records_without_a_key_are_spread_over_all_partitions(subject: &dyn Subject) {
    let (a, log) = (subject.topic(3).await, subject.log());
    let mut seen = [false; 3];
    for _ in 0..200 {
        let keyless = NewRecord {
            partition: None,
            key: None,
            ..record(&a, 0, "", "v")
        };
        let appended = log.append(vec![keyless]).await.unwrap();
        seen[appended[0].partition as usize] = true;
        if seen == [true; 3] {
            return;
        }
    }
    panic!("of 200 records some partition got none: {seen:?}");
}

/// Keys, values and headers of all shapes.
pub async fn a_record_comes_back_as_it_was_written(subject: &dyn Subject) {
    let a = subject.topic(1).await;
    let header = |name: &str, value: &'static [u8]| Header {
        name: name.into(),
        value: Bytes::from_static(value),
    };
    let written = [
        NewRecord {
            value: Some(Bytes::from_static(b"\0\xff")),
            headers: vec![
                header("reason", b"late"),
                header("reason", b""),
                header("", b"x"),
            ],
            ..record(&a, 0, "k", "")
        },
        NewRecord {
            key: None,
            value: None,
            ..record(&a, 0, "", "")
        },
        NewRecord {
            key: Some(Bytes::new()),
            value: Some(Bytes::from(vec![7; 900_000])),
            ..record(&a, 0, "", "")
        },
        record(&a, 0, "behind the large one", ""),
    ];
    subject.commit(written.to_vec()).await.unwrap();
    let read = subject.all(&a, 0).await;
    assert_eq!(read.len(), written.len());
    for (read, written) in read.iter().zip(&written) {
        assert_eq!(read.key, written.key);
        assert_eq!(read.value, written.value);
        assert_eq!(read.headers, written.headers);
    }
}

/// Append time.
pub async fn append_time_is_the_logs_and_never_decreases(subject: &dyn Subject) {
    let now_ms = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        i64::try_from(since.unwrap().as_millis()).unwrap()
    };
    let a = subject.topic(1).await;
    let mut times = vec![now_ms()];
    for _ in 0..3 {
        subject.commit(vec![record(&a, 0, "k", "v")]).await.unwrap();
    }
    let records = subject.all(&a, 0).await;
    times.extend(records.iter().map(|record| record.append_time_ms));
    times.push(now_ms());
    assert_eq!(times.len(), 5);
    assert!(times.is_sorted(), "{times:?}");
}
