//! State that is compacted under its readers.
use std::{collections::BTreeMap, time::Duration};

use tidewheel_log::{Cleanup, Log, NewRecord, TopicSettings};
use tidewheel_log_contract::Subject;

use crate::setup::{record, shared, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_value_of_each_key_is_read_from_what_compaction_left() {
    let subject = shared().await;
    let topic = TopicSettings {
        name: subject.name("state"),
        partitions: 1,
        cleanup: Cleanup::Compact,
    };
    let eager = [
        ("segment.ms", "50"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "50"),
    ];
    subject.create_topic_with(&topic, &eager).await;
    let state = topic.name;
    let mut producer = subject.log.producer(&subject.name("task")).await.unwrap();
    let mut expected = BTreeMap::new();
    let mut written = 0;
    // Until compaction has left less than half of it; each round closes the segment before.
    loop {
        for _ in 0..10 {
            written += 1;
            let key = format!("key-{}", written % 7);
            let mut records = vec![record(&state, 0, &key, &written.to_string())];
            expected.insert(key, written.to_string());
            if written % 5 == 0 {
                let gone = format!("key-{}", written % 3);
                expected.remove(&gone);
                records.push(NewRecord {
                    value: None,
                    ..record(&state, 0, &gone, "")
                });
            }
            producer.commit(records).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (records, next_offset) = subject.all(&state, 0).await;
        assert_eq!(
            next_offset,
            subject.log.offsets(&state, 0).await.unwrap().end
        );
        let mut found = BTreeMap::new();
        for record in &records {
            match &record.value {
                Some(_) => found.insert(text(&record.key), text(&record.value)),
                None => found.remove(&text(&record.key)),
            };
        }
        assert_eq!(found, expected);
        if records.len() < written / 2 && written > 200 {
            return;
        }
        assert!(written < 20_000, "nothing was compacted");
    }
}
