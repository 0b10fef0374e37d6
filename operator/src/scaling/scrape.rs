//! What workers show, asked of them directly.
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use reqwest::StatusCode;
use reqwest::redirect::Policy;

use super::exposition::{Shown, read};
use crate::children::OPERATIONS_PORT;

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// How much is read of all workers of a Pipeline in one look, bytes: far more than thousands of tasks need.
const LONGEST: usize = 16 * 1024 * 1024;
/// How many workers of a Pipeline are asked together.
const AT_A_TIME: usize = 16;

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
    #[error("what the workers answer is longer than {LONGEST} bytes")]
    TooLong,
    #[error("it answers {0}")]
    Elsewhere(StatusCode),
}

impl Scraper {
    /// It keeps connections, and uses no proxy: pods are reached directly, and send nobody elsewhere.
    ///
    /// # Errors
    /// The client cannot be made.
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .redirect(Policy::none())
            .build()?;
        Ok(Self(client))
    }

    /// What the workers of a pipeline (`<namespace>/<name>`) show.
    pub(crate) async fn scrape(&self, pipeline: &str, workers: &[Worker]) -> Scraped {
        let left = &AtomicUsize::new(LONGEST);
        let asked = stream::iter(workers).map(|worker| async move {
            let text = self.text(worker.address, left).await;
            (worker, text.map(|text| read(&text, pipeline)))
        });
        let mut asked = asked.buffer_unordered(AT_A_TIME);
        let mut scraped = Scraped {
            shown: BTreeMap::new(),
            failed: Vec::new(),
        };
        while let Some((worker, shown)) = asked.next().await {
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

    /// What one shows, of which no more is read than is `left`.
    async fn text(&self, address: SocketAddr, left: &AtomicUsize) -> Result<String, ScrapeError> {
        let asked = self.0.get(format!("http://{address}/metrics")).send();
        let mut answer = asked.await?.error_for_status()?;
        if answer.status() != StatusCode::OK {
            return Err(ScrapeError::Elsewhere(answer.status()));
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await? {
            let take = |left: usize| left.checked_sub(part.len());
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .map_err(|_| ScrapeError::TooLong)?;
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn pod(status: Value, deleted: Value) -> Option<Worker> {
        let pod = json!({"metadata": {"name": "kpis-worker-1", "deletionTimestamp": deleted}, "status": status});
        Worker::of(&serde_json::from_value(pod).unwrap())
    }

    /// A worker that answers everything like this.
    async fn worker(name: &str, answer: String) -> Worker {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let name = name.to_owned();
        Worker { name, address }
    }

    fn ok(length: usize) -> String {
        let body = "#".repeat(length);
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn a_worker_sends_nobody_elsewhere() {
        let good = worker("good", ok(10)).await;
        let elsewhere = format!(
            "HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: http://{}/metrics\r\ncontent-length: 0\r\n\r\n",
            good.address
        );
        let bad = worker("bad", elsewhere).await;
        let scraped = Scraper::new()
            .unwrap()
            .scrape("shop/kpis", &[good, bad])
            .await;
        assert_eq!(scraped.shown.keys().collect::<Vec<_>>(), ["good"]);
        assert_eq!(scraped.failed, ["bad"]);
    }

    #[tokio::test]
    async fn no_more_is_read_of_all_workers_together_than_is_needed() {
        let mut workers = Vec::new();
        for name in ["a", "b", "c"] {
            workers.push(worker(name, ok(LONGEST / 2)).await);
        }
        let scraped = Scraper::new().unwrap().scrape("shop/kpis", &workers).await;
        assert!(!scraped.failed.is_empty());
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
