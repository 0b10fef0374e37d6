//! Tests share an operator, which some of them end, and others need to be there; and they share a machine.
use std::sync::{Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static OPERATOR: RwLock<()> = RwLock::new(());

/// For a test that says how soon the operator acts: while this is held nobody ends who leads.
pub(super) fn undisturbed() -> RwLockReadGuard<'static, ()> {
    OPERATOR.read().unwrap_or_else(PoisonError::into_inner)
}

/// For a test that ends who leads: one at a time.
pub(super) fn disturbing() -> RwLockWriteGuard<'static, ()> {
    OPERATOR.write().unwrap_or_else(PoisonError::into_inner)
}

/// How many tests have a cluster of their own at a time, however many run: each takes about 1.5 GB.
const CLUSTERS: usize = 2;
static CLUSTERS_LEFT: Mutex<usize> = Mutex::new(CLUSTERS);
static CLUSTER_ENDED: Condvar = Condvar::new();

/// The right to have a cluster of its own, until it is dropped.
pub(super) struct Turn(());

impl Turn {
    pub(super) fn take() -> Self {
        let left = CLUSTERS_LEFT.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = CLUSTER_ENDED
            .wait_while(left, |left| *left == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *left -= 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *CLUSTERS_LEFT.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        CLUSTER_ENDED.notify_one();
    }
}
