//! Random work on a log in memory and one in a folder, compared with a model that keeps everything.
use std::{collections::BTreeMap, time::Duration};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use tidewheel_log::{EmbeddedLog, Log, LogError, NewRecord, Offsets, Options};

use crate::setup::{HandClock, commit, compacted, empty_folder, now, options, record, text, topic};

#[derive(Debug, Clone, PartialEq)]
struct Row {
    offset: i64,
    append_time_ms: i64,
    key: String,
    value: String,
}

#[derive(Debug, Default)]
struct Part {
    rows: Vec<Row>,
    start: i64,
    end: i64,
}

/// A log under test, its folder if it has one, and the model.
struct Run {
    random: ChaCha8Rng,
    clock: HandClock,
    options: Options,
    folder: Option<TempDir>,
    log: Option<EmbeddedLog>,
    now_ms: i64,
    plain: Vec<Part>,
    state: Part,
}

impl Run {
    fn new(seed: u64, in_folder: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let clock = HandClock::default();
        let options = Options {
            segment_bytes: random.random_range(1..3000),
            transaction_markers: random.random_bool(0.7),
            tombstone_retention: Duration::ZERO,
            max_open_files: random.random_range(1..5),
            ..options(&clock)
        };
        let folder = in_folder.then(empty_folder);
        let plain = vec![Part::default()];
        let mut run = Self {
            random,
            clock,
            options,
            folder,
            log: None,
            now_ms: 0,
            plain,
            state: Part::default(),
        };
        run.open();
        run.log().create_topic(&topic("plain", 1)).unwrap();
        run.log().create_topic(&compacted("state")).unwrap();
        run
    }

    fn log(&self) -> &EmbeddedLog {
        self.log.as_ref().unwrap()
    }

    fn open(&mut self) {
        self.log = None; // one owner at a time
        self.log = Some(match &self.folder {
            Some(folder) => EmbeddedLog::open(folder.path(), self.options.clone()).unwrap(),
            None => EmbeddedLog::in_memory(self.options.clone()),
        });
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..40 => self.write(true),
            40..55 => self.write(false),
            55..75 => self.read(),
            75..82 => self.log().maintain().unwrap(),
            82..88 => self.delete(),
            88..94 => {
                self.now_ms += self.random.random_range(0..1000);
                self.clock.set(self.now_ms);
            }
            94..97 if self.plain.len() < 5 => {
                self.plain.push(Part::default());
                self.log()
                    .create_topic(&topic("plain", self.plain.len() as i32))
                    .unwrap();
            }
            _ if self.folder.is_some() => self.open(),
            _ => {}
        }
    }

    fn write(&mut self, in_transaction: bool) {
        let gap = i64::from(in_transaction && self.options.transaction_markers);
        let mut records = Vec::new();
        let mut touched = BTreeMap::new();
        for _ in 0..self.random.random_range(1..12) {
            let key = format!("k{}", self.random.random_range(0..6));
            let value = "v".repeat(*[0, 1, 30, 900].choose(&mut self.random).unwrap());
            let to_state = self.random.random_bool(0.3);
            let is_deletion = to_state && self.random.random_bool(0.2);
            let partition = if to_state {
                0
            } else {
                self.random.random_range(0..self.plain.len())
            };
            let name = if to_state { "state" } else { "plain" };
            let mut new = record(name, partition as i32, &key, &value);
            if is_deletion {
                new = NewRecord { value: None, ..new };
            }
            let row = Row {
                offset: 0,
                append_time_ms: self.now_ms,
                key,
                value: text(&new.value),
            };
            touched
                .entry((to_state, partition))
                .or_insert_with(Vec::new)
                .push(row);
            records.push(new);
        }
        if in_transaction {
            commit(self.log(), records).unwrap();
        } else {
            now(self.log().append(records)).unwrap();
        }
        for ((to_state, partition), rows) in touched {
            let part = if to_state {
                &mut self.state
            } else {
                &mut self.plain[partition]
            };
            let end = part.end;
            part.rows.extend(
                rows.into_iter()
                    .zip(end..)
                    .map(|(row, offset)| Row { offset, ..row }),
            );
            part.end = part.rows.last().unwrap().offset + 1 + gap;
        }
    }

    fn delete(&mut self) {
        let partition = self.random.random_range(0..self.plain.len());
        let below = self.random.random_range(0..=self.plain[partition].end);
        now(self.log().delete_below("plain", partition as i32, below)).unwrap();
        let part = &mut self.plain[partition];
        part.start = part.start.max(below);
        part.rows.retain(|row| row.offset >= below);
    }

    fn read(&mut self) {
        let partition = self.random.random_range(0..self.plain.len());
        let from = self.random.random_range(0..=self.plain[partition].end);
        let (records, bytes) = (
            self.random.random_range(1..20),
            self.random.random_range(1..5000),
        );
        let part = &self.plain[partition];
        match now(self.log().reader("plain", partition as i32, from)) {
            Err(LogError::OutOfRange { earliest, .. }) => {
                assert!(from < part.start && earliest == part.start)
            }
            Err(other) => panic!("{other}"),
            Ok(mut reader) => {
                let mut next = from;
                for _ in 0..3 {
                    let fetched = now(reader.fetch(records, bytes, Duration::ZERO)).unwrap();
                    let expected = part.rows.iter().filter(|row| row.offset >= next);
                    let read: Vec<Row> = rows(&fetched.records);
                    assert!(
                        read.iter().eq(expected.clone().take(read.len())),
                        "{read:?}"
                    );
                    assert!(read.len() <= records && (!read.is_empty() || expected.count() == 0));
                    next = fetched.next_offset;
                    assert_eq!(fetched.at_end, next == part.end);
                }
            }
        }
    }

    /// Compares everything.
    fn verify(&self) {
        for (part, partition) in self.plain.iter().zip(0..) {
            let offsets = now(self.log().offsets("plain", partition)).unwrap();
            assert_eq!(
                offsets,
                Offsets {
                    earliest: part.start,
                    end: part.end
                }
            );
            assert_eq!(self.all("plain", partition, part.start), part.rows);
            for time in [0, self.now_ms / 2, self.now_ms, self.now_ms + 1] {
                let found = now(self.log().offset_at("plain", partition, time)).unwrap();
                let first = part
                    .rows
                    .iter()
                    .find(|row| row.append_time_ms >= time)
                    .map(|row| row.offset);
                let rows_before = part.rows.iter().filter(|row| row.offset < found);
                assert_eq!(
                    first.unwrap_or(part.end).max(found),
                    first.unwrap_or(part.end),
                    "at {time}"
                );
                assert!(
                    rows_before.clone().all(|row| row.append_time_ms < time),
                    "at {time}"
                );
            }
        }
        let kept = self.all("state", 0, 0);
        assert!(
            kept.iter().all(|row| self.state.rows.contains(row)),
            "compaction invents nothing"
        );
        assert_eq!(newest(&kept), newest(&self.state.rows));
    }

    fn all(&self, topic: &str, partition: i32, from: i64) -> Vec<Row> {
        let mut reader = now(self.log().reader(topic, partition, from)).unwrap();
        let fetched = now(reader.fetch(usize::MAX, usize::MAX, Duration::ZERO)).unwrap();
        assert!(fetched.at_end);
        rows(&fetched.records)
    }
}

fn rows(records: &[tidewheel_log::Record]) -> Vec<Row> {
    let row = |record: &tidewheel_log::Record| Row {
        offset: record.offset,
        append_time_ms: record.append_time_ms,
        key: text(&record.key),
        value: text(&record.value),
    };
    records.iter().map(row).collect()
}

/// The newest value of each key that was not deleted.
fn newest(rows: &[Row]) -> BTreeMap<&str, &Row> {
    let mut newest: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.key.as_str(), row)).collect();
    newest.retain(|_, row| row.value != "-");
    newest
}

fn agrees_with_the_model(in_folder: bool) {
    for seed in 0..60 {
        println!("seed {seed}"); // shown when it fails
        let mut run = Run::new(seed, in_folder);
        for step in 0..150 {
            run.step();
            if step % 10 == 0 {
                run.verify();
            }
        }
        run.verify();
    }
}

#[test]
fn a_log_in_memory_agrees_with_the_model() {
    agrees_with_the_model(false);
}

#[test]
fn a_log_in_a_folder_agrees_with_the_model() {
    agrees_with_the_model(true);
}
