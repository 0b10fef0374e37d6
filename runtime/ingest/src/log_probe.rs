//! Asks a log whether it is there, for probes that cannot wait.
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidewheel_log::{Log, LogError, TopicInfo};
use tokio::time::timeout;

/// How long a probe waits for the log.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Asks a log for topics. A log that cannot be reached takes longer to say why than a probe waits: what it said to an earlier probe
/// is said instead. Clones share everything.
#[derive(Clone)]
pub struct LogProbe {
    log: Arc<dyn Log>,
    /// Why the last question that was answered failed, where it did.
    failed: Arc<Mutex<Option<String>>>,
}

impl LogProbe {
    /// A probe of this log.
    #[must_use]
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            failed: Arc::default(),
        }
    }

    /// What there is of these topics, within two seconds; or why that is not known, for people.
    ///
    /// # Errors
    /// What the log says, or that it says nothing.
    pub async fn topics(&self, topics: Vec<String>) -> Result<Vec<Option<TopicInfo>>, String> {
        let Self { log, failed } = self.clone();
        // Goes on when nobody waits any more.
        let asking = tokio::spawn(async move {
            let asked = topics.iter().map(|topic| log.topic(topic));
            let answer = futures::future::try_join_all(asked).await;
            *failed.lock() = answer.as_ref().err().map(LogError::to_string);
            answer
        });
        match timeout(ANSWERS_WITHIN, asking).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(ended)) => Err(format!("it was not asked: {ended}")),
            Err(_) => Err(self
                .failed
                .lock()
                .clone()
                .unwrap_or_else(|| "the log does not answer".to_owned())),
        }
    }
}
