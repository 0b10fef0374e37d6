//! How much the tasks of a worker have in hand together.
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
/// go on meanwhile, with few at a time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a large batch waits for each further part, and about how long for all of them, ms.
const SOON: Duration = Duration::from_millis(20);
const FILLED_WITHIN_MS: i64 = 50;

/// The batches of a worker's tasks. Any number of them may be small, and few large: memory is that of the large ones, however many
/// partitions there are.
pub(crate) struct Batches {
    limits: Limits,
    turns: Semaphore,
}

/// What a task takes at once.
pub(crate) struct Batch<'a> {
    pub(crate) fetched: Fetched,
    /// Of a large batch, for as long as it is in hand.
    _turn: Option<SemaphorePermit<'a>>,
}

impl Batches {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            turns: Semaphore::new(limits.large_batches.max(1)),
        }
    }

    /// The next batch of a reader, of at most so many records. Where it is dropped, so are records that the reader has handed out.
    pub(crate) async fn next(
        &self,
        reader: &mut dyn Reader,
        most: usize,
        timer: &dyn Timer,
    ) -> Result<Batch<'_>, LogError> {
        let few = FEW.min(self.limits.batch_records / 2).clamp(1, most.max(1));
        let few_bytes = self.limits.batch_bytes / FEW_BYTES;
        let mut fetched = reader.fetch(few, few_bytes, self.limits.fetch_wait).await?;
        let more_wait = fetched.records.len() >= few || bytes(&fetched.records) >= few_bytes / 2;
        let turn = if more_wait && fetched.records.len() < most {
            self.turn(timer).await
        } else {
            None
        };
        if turn.is_some() {
            self.fill(&mut fetched, reader, most, timer).await?;
        }
        Ok(Batch {
            fetched,
            _turn: turn,
        })
    }

    /// Adds what comes soon. Readers have little at hand, of each of many partitions, and ask for more as that is taken.
    async fn fill(
        &self,
        fetched: &mut Fetched,
        reader: &mut dyn Reader,
        most: usize,
        timer: &dyn Timer,
    ) -> Result<(), LogError> {
        let (began_ms, mut bytes_so_far) = (timer.now_ms(), bytes(&fetched.records));
        loop {
            let left = most.saturating_sub(fetched.records.len());
            let left_bytes = self.limits.batch_bytes.saturating_sub(bytes_so_far);
            if left == 0 || left_bytes < self.limits.batch_bytes / FEW_BYTES {
                return Ok(());
            }
            let rest = reader.fetch(left, left_bytes, SOON).await?;
            let is_all = rest.records.is_empty() || rest.at_end;
            bytes_so_far += bytes(&rest.records);
            fetched.records.extend(rest.records);
            fetched.next_offset = rest.next_offset;
            fetched.at_end = rest.at_end;
            let waited_ms = timer.now_ms().saturating_sub(began_ms);
            if is_all || waited_ms >= FILLED_WITHIN_MS {
                return Ok(());
            }
        }
    }

    async fn turn(&self, timer: &dyn Timer) -> Option<SemaphorePermit<'_>> {
        tokio::select! {
            biased;
            turn = self.turns.acquire() => turn.ok(),
            () = timer.sleep(PATIENCE) => None,
        }
    }
}

/// Of keys and values.
fn bytes(records: &[Record]) -> usize {
    let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let sizes = records.iter().map(|it| length(&it.key) + length(&it.value));
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;

    /// A partition with records enough.
    struct Endless {
        next: i64,
        bytes: usize,
    }

    #[async_trait]
    impl Reader for Endless {
        async fn fetch(
            &mut self,
            max_records: usize,
            max_bytes: usize,
            _max_wait: Duration,
        ) -> Result<Fetched, LogError> {
            let fitting = max_records.min(max_bytes / self.bytes).max(1);
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

    fn batches(large_batches: usize) -> Batches {
        Batches::new(Limits {
            large_batches,
            ..Limits::default()
        })
    }

    #[tokio::test]
    async fn who_has_no_turn_goes_on_with_few_until_one_is_given_back() {
        let batches = batches(2);
        let mut readers = [0, 1, 2].map(|next| Endless { next, bytes: 10 });
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
        let mut reader = Endless { next: 0, bytes: 10 };
        let few = batches.next(&mut reader, 1_024, &Soon).await.unwrap();
        let more = batches.next(&mut reader, 1_025, &Soon).await.unwrap();
        let sizes = [&few, &more].map(|batch| batch.fetched.records.len());
        assert_eq!(sizes, [1_024, 1_025]);
        // Eight MiB at most, and one without a turn.
        let mut wide = Endless {
            next: 0,
            bytes: 100 * 1_024,
        };
        let batch = batches.next(&mut wide, 16_384, &Soon).await.unwrap();
        assert_eq!(batch.fetched.records.len(), 10);
        drop(more);
        let batch = batches.next(&mut wide, 16_384, &Soon).await.unwrap();
        assert_eq!(batch.fetched.records.len(), 81);
    }
}
