//! The only clock there is.
use std::time::Duration;

use async_trait::async_trait;

/// Reads the time and waits.
#[async_trait]
pub trait Timer: Send + Sync + 'static {
    /// Ms since the epoch.
    fn now_ms(&self) -> i64;
    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}

/// The clock of the machine, on tokio's timers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemTimer;

#[async_trait]
impl Timer for SystemTimer {
    fn now_ms(&self) -> i64 {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
