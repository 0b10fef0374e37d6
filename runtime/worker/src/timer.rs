//! The only clock there is, and who runs tasks.
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio_util::task::AbortOnDropHandle;

/// Reads the time, waits, and runs tasks.
#[async_trait]
pub trait Timer: Send + Sync + 'static {
    /// Ms since the epoch.
    fn now_ms(&self) -> i64;
    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);

    /// Begins a task. What is returned ends with it, and is dropped when nobody needs it any more.
    ///
    /// Whoever polls the outcome runs the task, unless an implementation says otherwise.
    fn spawn(&self, task: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        task
    }
}

/// The clock of the machine, on tokio's timers. Tasks run beside each other on its threads.
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

    fn spawn(&self, task: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let running = AbortOnDropHandle::new(tokio::spawn(task));
        Box::pin(async move {
            if let Err(error) = running.await
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        })
    }
}
