//! How fast the log is on one core: `cargo run --release -p tidewheel-log --example throughput [FOLDER]`.
//!
//! A million records of 500 bytes are appended in batches of 1,000 and read back, in memory and in a folder.
#![allow(clippy::unwrap_used, reason = "an example")]
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidewheel_log::{Cleanup, EmbeddedLog, Log, NewRecord, Options, TopicSettings};

const RECORDS: usize = 1_000_000;
const BATCH: usize = 1_000;
const VALUE_BYTES: usize = 500;
const PARTITIONS: i32 = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    measure("memory", EmbeddedLog::in_memory(Options::default())).await;
    let folder = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "throughput-log".to_owned());
    measure(
        "folder",
        EmbeddedLog::open(&folder, Options::default()).unwrap(),
    )
    .await;
    std::fs::remove_dir_all(folder).unwrap();
}

async fn measure(kind: &str, log: EmbeddedLog) {
    let cleanup = Cleanup::Retention { ms: None };
    log.create_topic(&TopicSettings {
        name: "events".into(),
        partitions: PARTITIONS,
        cleanup,
    })
    .unwrap();
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let batch: Vec<NewRecord> = (0..BATCH)
        .map(|n| NewRecord {
            topic: "events".into(),
            key: Some(format!("key {n}").into()),
            value: Some(value.clone()),
            ..NewRecord::default()
        })
        .collect();

    let begin = Instant::now();
    for _ in 0..RECORDS / BATCH {
        log.append(batch.clone()).await.unwrap();
    }
    report(kind, "append", begin.elapsed());

    let begin = Instant::now();
    let mut read = 0;
    for partition in 0..PARTITIONS {
        let mut reader = log.reader("events", partition, 0).await.unwrap();
        loop {
            let fetched = reader.fetch(BATCH, 1 << 20, Duration::ZERO).await.unwrap();
            read += fetched.records.len();
            if fetched.at_end {
                break;
            }
        }
    }
    assert_eq!(read, RECORDS);
    report(kind, "fetch", begin.elapsed());
}

fn report(kind: &str, what: &str, elapsed: Duration) {
    let rate = RECORDS as f64 / elapsed.as_secs_f64();
    println!("{kind}, {what}: {:.0} thousand records/s", rate / 1e3);
}
