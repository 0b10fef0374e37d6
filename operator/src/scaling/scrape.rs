//! What workers show, asked of them directly.
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;

use super::exposition::{Shown, read};
use crate::children::OPERATIONS_PORT;

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// The longest answer that is read, bytes: far more than thousands of tasks need.
const LONGEST: usize = 16 * 1024 * 1024;

/// Asks workers.
#[derive(Clone)]
pub(crate) struct Scraper(reqwest::Client);

/// What workers show, by their names.
pub(crate) struct Scraped {
    pub(crate) shown: BTreeMap<String, Shown>,
    /// Why some show nothing.
    pub(crate) failed: Vec<String>,
}

/// Why a worker shows nothing.
#[derive(Debug, thiserror::Error)]
enum ScrapeError {
    #[error("{0}")]
    Request(#[from] reqwest::Error),
    #[error("its answer is longer than {LONGEST} bytes")]
    TooLong,
}

impl Scraper {
    /// It keeps connections, and uses no proxy: pods are reached directly.
    ///
    /// # Errors
    /// The client cannot be made.
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()?;
        Ok(Self(client))
    }

    /// What the workers of a pipeline (`<namespace>/<name>`) show.
    pub(crate) async fn scrape(&self, pipeline: &str, workers: &[Worker]) -> Scraped {
        let asked = workers.iter().map(|worker| async move {
            let text = self.text(worker.address).await;
            (worker, text.map(|text| read(&text, pipeline)))
        });
        let mut scraped = Scraped {
            shown: BTreeMap::new(),
            failed: Vec::new(),
        };
        for (worker, shown) in join_all(asked).await {
            match shown {
                Ok(shown) => {
                    scraped.shown.insert(worker.name.clone(), shown);
                }
                Err(error) => {
                    tracing::debug!(%error, pod = worker.name, "a worker does not show its metrics");
                    scraped.failed.push(worker.name.clone());
                }
            }
        }
        scraped
    }

    async fn text(&self, address: SocketAddr) -> Result<String, ScrapeError> {
        let asked = self.0.get(format!("http://{address}/metrics")).send();
        let mut answer = asked.await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await? {
            if body.len() + part.len() > LONGEST {
                return Err(ScrapeError::TooLong);
            }
            body.extend_from_slice(&part);
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

/// A worker that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Worker {
    name: String,
    address: SocketAddr,
}

impl Worker {
    /// The worker that runs in a pod; none where it is not ready, or ends.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref()?;
        let mut conditions = status.conditions.iter().flatten();
        let is_ready =
            conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
        if !is_ready || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let address: IpAddr = status.pod_ip.as_ref()?.parse().ok()?;
        Some(Self {
            name: pod.metadata.name.clone()?,
            address: SocketAddr::new(address, OPERATIONS_PORT),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(status: Value, deleted: Value) -> Option<Worker> {
        let pod = json!({"metadata": {"name": "kpis-worker-1", "deletionTimestamp": deleted}, "status": status});
        Worker::of(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn workers_that_are_ready_and_stay_are_asked() {
        let status = |ready: &str, ip: &str| json!({"podIP": ip, "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": ready}]});
        for (ip, address) in [("10.0.0.7", "10.0.0.7:9090"), ("fd00::7", "[fd00::7]:9090")] {
            let worker = pod(status("True", ip), Value::Null).unwrap();
            assert_eq!(worker.address.to_string(), address);
        }
        assert_eq!(pod(status("False", "10.0.0.7"), Value::Null), None);
        let ends = json!("2026-01-01T00:00:00Z");
        assert_eq!(pod(status("True", "10.0.0.7"), ends), None);
        assert_eq!(pod(json!({}), Value::Null), None);
    }
}
