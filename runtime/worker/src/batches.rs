//! How much the tasks of a worker have in hand together.
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidewheel_log::{Fetched, LogError, Reader, Record};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::context::Limits;
use crate::timer::Timer;

/// Whoever takes no more records than this takes them at once.
const FEW: usize = 1_024;
/// Of the bytes of a batch, the share that is taken at once.
const FEW_BYTES: usize = 8;
/// How long a task waits for its turn to take many. Whoever has a turn may wait for a sink or a broker that others do not need, so they
/// go on meanwhile, with few at a time, until somebody has a turn again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a large batch waits for each further part, and about how long for all of them.
const SOON: Duration = Duration::from_millis(20);
const FILLED_WITHIN_MS: i64 = 50;

/// The batches of a worker's tasks. Any number of them may be small, and few large.
pub(crate) struct Batches {
    limits: Limits,
    turns: Semaphore,
    /// Somebody has waited in vain, and nobody was given a turn since.
    is_stuck: AtomicBool,
}

/// What a task takes at once.
pub(crate) struct Batch<'a> {
    pub(crate) fetched: Fetched,
    /// When its first records were there, ms.
    pub(crate) began_ms: i64,
    /// What went wrong behind its records, which are good.
    pub(crate) failed: Option<LogError>,
    /// Of a large batch, for as long as it is in hand.
    _turn: Option<SemaphorePermit<'a>>,
}

impl Batches {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            turns: Semaphore::new(limits.large_batches.max(1)),
            is_stuck: AtomicBool::new(false),
        }
    }

    /// The next batch of a reader, of at most so many records. Where the future is dropped, so are records that the reader has handed out.
    pub(crate) async fn next(
        &self,
        reader: &mut dyn Reader,
        most: usize,
        timer: &dyn Timer,
    ) -> Result<Batch<'_>, LogError> {
        let few = self.few().min(most.max(1));
        let fetched = reader
            .fetch(few, self.few_bytes(), self.limits.fetch_wait)
            .await?;
        let is_all = fetched.at_end || self.is_little(&fetched.records);
        let more_wait = !is_all && fetched.records.len() < most;
        let mut batch = Batch {
            fetched,
            began_ms: timer.now_ms(),
            failed: None,
            _turn: None,
        };
        if more_wait && let Some(turn) = self.turn(timer).await {
            batch._turn = Some(turn);
            self.fill(&mut batch, reader, most, timer).await;
        }
        Ok(batch)
    }

    fn few(&self) -> usize {
        FEW.min(self.limits.batch_records / 2).max(1)
    }

    fn few_bytes(&self) -> usize {
        self.limits.batch_bytes / FEW_BYTES
    }

    /// Whether a reader that was asked for few has no more at hand.
    fn is_little(&self, records: &[Record]) -> bool {
        records.len() < self.few() && bytes(records) < self.few_bytes() / 2
    }

    /// Adds what comes soon. Readers have little at hand, of each of many partitions, and ask for more as that is taken.
    async fn fill(
        &self,
        batch: &mut Batch<'_>,
        reader: &mut dyn Reader,
        most: usize,
        timer: &dyn Timer,
    ) {
        let fetched = &mut batch.fetched;
        let (began_ms, mut bytes_so_far) = (timer.now_ms(), bytes(&fetched.records));
        loop {
            let left = most.saturating_sub(fetched.records.len());
            let left_bytes = self.limits.batch_bytes.saturating_sub(bytes_so_far);
            if left == 0 || left_bytes < self.few_bytes() {
                return;
            }
            let rest = match reader.fetch(left, left_bytes, SOON).await {
                Ok(rest) => rest,
                Err(error) => {
                    batch.failed = Some(error);
                    return;
                }
            };
            bytes_so_far += bytes(&rest.records);
            let is_all = rest.at_end || self.is_little(&rest.records);
            fetched.records.extend(rest.records);
            fetched.next_offset = rest.next_offset;
            fetched.at_end = rest.at_end;
            let waited_ms = timer.now_ms().saturating_sub(began_ms);
            if is_all || waited_ms >= FILLED_WITHIN_MS {
                return;
            }
        }
    }

    /// Leave to take many, unless it does not come in time.
    async fn turn(&self, timer: &dyn Timer) -> Option<SemaphorePermit<'_>> {
        let turn = if self.is_stuck.load(Ordering::Relaxed) {
            self.turns.try_acquire().ok()
        } else {
            tokio::select! {
                biased;
                turn = self.turns.acquire() => turn.ok(),
                () = timer.sleep(PATIENCE) => None,
            }
        };
        self.is_stuck.store(turn.is_none(), Ordering::Relaxed);
        turn
    }
}

/// Of keys and values.
fn bytes(records: &[Record]) -> usize {
    records.iter().map(Record::payload_bytes).sum()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;

    /// A partition with records enough, of so many bytes each; those from an offset on cannot be read.
    struct Endless {
        next: i64,
        bytes: usize,
        damaged_from: i64,
    }

    fn endless(next: i64, bytes: usize) -> Endless {
        Endless {
            next,
            bytes,
            damaged_from: i64::MAX,
        }
    }

    #[async_trait]
    impl Reader for Endless {
        async fn fetch(
            &mut self,
            max_records: usize,
            max_bytes: usize,
            _max_wait: Duration,
        ) -> Result<Fetched, LogError> {
            let good = usize::try_from(self.damaged_from - self.next).unwrap();
            if good == 0 {
                let reason = "a checksum".to_owned();
                return Err(LogError::Damaged { reason });
            }
            let fitting = max_records.min(max_bytes / self.bytes).clamp(1, good);
            let records = (0..fitting as i64).map(|index| Record {
                offset: self.next + index,
                append_time_ms: 0,
                key: None,
                value: Some(Bytes::from(vec![0; self.bytes])),
                headers: Vec::new(),
            });
            let records = records.collect();
            self.next += fitting as i64;
            Ok(Fetched {
                records,
                next_offset: self.next,
                at_end: false,
            })
        }
    }

    /// Time passes at once.
    struct Soon;

    #[async_trait]
    impl Timer for Soon {
        fn now_ms(&self) -> i64 {
            0
        }

        async fn sleep(&self, _duration: Duration) {}
    }

    /// Time does not pass.
    struct Never;

    #[async_trait]
    impl Timer for Never {
        fn now_ms(&self) -> i64 {
            0
        }

        async fn sleep(&self, _duration: Duration) {
            std::future::pending().await
        }
    }

    fn batches(large_batches: usize) -> Batches {
        Batches::new(Limits {
            large_batches,
            ..Limits::default()
        })
    }

    #[tokio::test]
    async fn who_has_no_turn_goes_on_with_few_until_one_is_given_back() {
        let batches = batches(2);
        let mut readers = [0, 1, 2].map(|next| endless(next, 10));
        let [first, second, third] = &mut readers;
        let large = batches.next(first, 16_384, &Soon).await.unwrap();
        let large_too = batches.next(second, 16_384, &Soon).await.unwrap();
        let small = batches.next(third, 16_384, &Soon).await.unwrap();
        let sizes = [&large, &large_too, &small].map(|batch| batch.fetched.records.len());
        assert_eq!(sizes, [16_384, 16_384, 1_024]);
        assert_eq!(small.fetched.next_offset, 2 + 1_024);
        drop(large);
        let next = batches.next(third, 16_384, &Soon).await.unwrap();
        let offsets: Vec<i64> = next.fetched.records.iter().map(|it| it.offset).collect();
        assert_eq!(offsets, (1_026..1_026 + 16_384).collect::<Vec<_>>());
        assert_eq!(next.fetched.next_offset, 1_026 + 16_384);
    }

    #[tokio::test]
    async fn few_records_and_few_bytes_need_no_turn() {
        let batches = batches(1);
        let mut reader = endless(0, 10);
        let few = batches.next(&mut reader, 1_024, &Soon).await.unwrap();
        let more = batches.next(&mut reader, 1_025, &Soon).await.unwrap();
        let sizes = [&few, &more].map(|batch| batch.fetched.records.len());
        assert_eq!(sizes, [1_024, 1_025]);
        // Eight MiB at most, and one without a turn.
        let mut wide = endless(0, 100 * 1_024);
        let batch = batches.next(&mut wide, 16_384, &Soon).await.unwrap();
        assert_eq!(batch.fetched.records.len(), 10);
        drop(more);
        let batch = batches.next(&mut wide, 16_384, &Soon).await.unwrap();
        assert_eq!(batch.fetched.records.len(), 81);
    }

    #[tokio::test]
    async fn what_was_read_before_a_failure_is_there_with_it() {
        let batches = batches(1);
        let mut reader = Endless {
            damaged_from: 3_000,
            ..endless(0, 10)
        };
        let batch = batches.next(&mut reader, 16_384, &Soon).await.unwrap();
        assert_eq!(batch.fetched.records.len(), 3_000);
        assert_eq!(batch.fetched.next_offset, 3_000);
        assert!(matches!(batch.failed, Some(LogError::Damaged { .. })));
        drop(batch);
        assert!(batches.next(&mut reader, 16_384, &Soon).await.is_err());
    }

    #[tokio::test]
    async fn nobody_waits_again_until_a_turn_is_given_back() {
        let batches = batches(1);
        let [mut holder, mut other] = [0, 1].map(|next| endless(next, 10));
        let held = batches.next(&mut holder, 16_384, &Soon).await.unwrap();
        let small = batches.next(&mut other, 16_384, &Soon).await.unwrap();
        assert_eq!(small.fetched.records.len(), 1_024);
        // Who waited now would never come back.
        let small = batches.next(&mut other, 16_384, &Never).await.unwrap();
        assert_eq!(small.fetched.records.len(), 1_024);
        drop(held);
        let large = batches.next(&mut other, 16_384, &Never).await.unwrap();
        assert_eq!(large.fetched.records.len(), 16_384);
    }
}
