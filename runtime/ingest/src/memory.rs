//! The byte budget that all requests share.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes requests may hold together.
#[derive(Debug)]
pub(crate) struct Memory {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
        })
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// An empty share of the budget, which gives back what it took when it is dropped.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share {
            memory: self.clone(),
            held_bytes: 0,
        }
    }
}

/// What one request holds of the budget.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    held_bytes: usize,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Share {
    /// Takes `bytes` more, all or nothing. Never waits: a request that waited would hold what it has already.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let limit = self.memory.limit_bytes;
        self.memory
            .used_bytes
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= limit)
            })
            .map_err(|_| Exhausted)?;
        self.held_bytes += bytes;
        Ok(())
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.held_bytes.saturating_sub(bytes);
        self.memory.used_bytes.fetch_sub(surplus, Ordering::Relaxed);
        self.held_bytes -= surplus;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_share_never_takes_more_than_the_budget_and_gives_everything_back() {
        let memory = Memory::new(100);
        let (mut one, mut two) = (memory.share(), memory.share());
        one.grow(60).unwrap();
        assert_eq!(two.grow(41), Err(Exhausted));
        two.grow(40).unwrap();
        assert_eq!(memory.used_bytes(), 100);
        one.shrink_to(10);
        assert_eq!(memory.used_bytes(), 50);
        drop((one, two));
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn a_size_that_overflows_is_refused() {
        let memory = Memory::new(usize::MAX);
        let mut share = memory.share();
        share.grow(1).unwrap();
        assert_eq!(share.grow(usize::MAX), Err(Exhausted));
    }
}
