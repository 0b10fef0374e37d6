//! Who acts, of several operators: the one that holds the Lease.
//!
//! Strict: each write is preconditioned on the version that was read, time is measured by this process's own clock, from when it saw the Lease
//! change and not by what anybody wrote into it, and who cannot renew in time ends before another may take over.
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};

/// Its name.
const NAME: &str = "tidewheel-operator";
/// For how long who holds it may be silent before another takes it.
const HELD_FOR: Duration = Duration::from_secs(10);
/// After how long without a renewal who holds it ends: well before another may act.
const GIVES_UP_AFTER: Duration = Duration::from_secs(7);
/// How often it is renewed, and looked at by those who wait.
const EVERY: Duration = Duration::from_secs(2);
/// How long it may take to be asked for once: who waits for an answer that never comes must not be late when it is free.
const ASKED_WITHIN: Duration = Duration::from_secs(3);

/// Why this process does not lead.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another took it.
    #[error(
        "the Lease {NAME} is held by `{holder}` now: this process ends, and waits for its turn when it is started again"
    )]
    Taken {
        /// Who holds it.
        holder: String,
    },
    /// It could not be renewed in time.
    #[error("the Lease {NAME} could not be renewed for {} s: this process ends, because another may act by now", GIVES_UP_AFTER.as_secs())]
    NotRenewed,
    /// The API server refuses it.
    #[error("the Lease {NAME} is refused: {0}")]
    Refused(String),
}

/// The Lease, which this process would like to hold.
pub(crate) struct Lease {
    api: Api<Object>,
    identity: String,
}

/// The Lease, which this process holds.
pub(crate) struct Held {
    lease: Lease,
    object: tokio::sync::Mutex<Object>,
    /// When it was asked for: who waits may count from then on.
    since: Instant,
}

impl Lease {
    pub(crate) fn new(client: &Client, namespace: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            identity: identity.to_owned(),
        }
    }

    /// Waits until this process holds it. `is_up` becomes true with the first answer.
    pub(crate) async fn acquire(self, is_up: &AtomicBool) -> Result<Held, LeaseError> {
        let mut seen = Seen::default();
        loop {
            let since = Instant::now();
            match tokio::time::timeout(ASKED_WITHIN, self.attempt(&mut seen)).await {
                Ok(Ok(Some(object))) => {
                    is_up.store(true, Ordering::Relaxed);
                    let object = object.into();
                    return Ok(Held {
                        lease: self,
                        object,
                        since,
                    });
                }
                Ok(Ok(None)) => is_up.store(true, Ordering::Relaxed),
                Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                    return Err(LeaseError::Refused(status.message));
                }
                Ok(Err(error)) => tracing::warn!(%error, "the Lease cannot be asked for"),
                // Whether it was written is not known: where it was, this process waits for itself, as for any other.
                Err(_) => tracing::warn!("the Lease was asked for, and there was no answer"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Takes it where nobody holds it; none where somebody does.
    async fn attempt(&self, seen: &mut Seen) -> Result<Option<Object>, kube::Error> {
        let parameters = PostParams::default();
        let Some(found) = self.api.get_opt(NAME).await? else {
            let object = self.taken(Object::default());
            return taken(self.api.create(&parameters, &object).await);
        };
        if !seen.is_free(&found, Instant::now()) {
            return Ok(None);
        }
        let object = self.taken(found);
        taken(self.api.replace(NAME, &parameters, &object).await)
    }

    /// The object as this process would hold it; what it was before is its precondition.
    fn taken(&self, before: Object) -> Object {
        let transitions = before.spec.as_ref().and_then(|spec| spec.lease_transitions);
        let now = MicroTime(Timestamp::now());
        Object {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                ..before.metadata
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(HELD_FOR.as_secs()).ok(),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(transitions.map_or(0, |count| count + 1)),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// What was written; none where somebody was faster.
fn taken(written: Result<Object, kube::Error>) -> Result<Option<Object>, kube::Error> {
    match written {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

impl Held {
    /// Renews it for as long as that can be done in time. Why it could not.
    pub(crate) async fn keep(&self) -> LeaseError {
        let mut renewed = self.since;
        loop {
            tokio::time::sleep(EVERY).await;
            let left = GIVES_UP_AFTER.saturating_sub(renewed.elapsed());
            if left.is_zero() {
                return LeaseError::NotRenewed;
            }
            // From before it was asked: who waits counts from when it was written.
            let asked = Instant::now();
            match tokio::time::timeout(left, self.renew()).await {
                Ok(Ok(())) => renewed = asked,
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                    return self.taken_by().await;
                }
                Ok(Err(error)) => tracing::warn!(%error, "the Lease could not be renewed"),
                Err(_) => return LeaseError::NotRenewed,
            }
        }
    }

    async fn renew(&self) -> Result<(), kube::Error> {
        let mut object = self.object.lock().await;
        let mut next = object.clone();
        if let Some(spec) = &mut next.spec {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        *object = self
            .lease
            .api
            .replace(NAME, &PostParams::default(), &next)
            .await?;
        Ok(())
    }

    async fn taken_by(&self) -> LeaseError {
        let asked = tokio::time::timeout(ASKED_WITHIN, self.lease.api.get_opt(NAME)).await;
        let found = asked.ok().and_then(Result::ok).flatten();
        let holder = found.and_then(|found| found.spec?.holder_identity);
        LeaseError::Taken {
            holder: holder.unwrap_or_else(|| "nobody".to_owned()),
        }
    }

    /// Lets it go, so that another acts at once.
    pub(crate) async fn release(&self) {
        let mut object = self.object.lock().await.clone();
        if let Some(spec) = &mut object.spec {
            spec.holder_identity = None;
        }
        let parameters = PostParams::default();
        let letting_go = self.lease.api.replace(NAME, &parameters, &object);
        match tokio::time::timeout(ASKED_WITHIN, letting_go).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease could not be let go: another waits until it is over");
            }
            Err(_) => tracing::warn!("nobody said that the Lease was let go"),
        }
    }
}

/// The Lease as somebody who waits has seen it.
#[derive(Default)]
struct Seen {
    version: Option<String>,
    /// When it was first seen like that, by the clock of this process.
    since: Option<Instant>,
}

impl Seen {
    /// Whether nobody holds it: nobody is named, or it has not changed for too long. For how long, whoever holds it says.
    fn is_free(&mut self, found: &Object, now: Instant) -> bool {
        let version = found.metadata.resource_version.clone();
        if self.version != version {
            self.version = version;
            self.since = Some(now);
        }
        let spec = found.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let held_for = seconds.map_or(HELD_FOR, Duration::from_secs);
        let silent = self
            .since
            .map(|since| now.duration_since(since))
            .unwrap_or_default();
        holder.is_none_or(str::is_empty) || silent > held_for
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::SocketAddr;

    use kube::Config;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn object(version: &str, holder: Option<&str>) -> Object {
        Object {
            metadata: ObjectMeta {
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: Some(10),
                // Whatever the holder's clock says.
                renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn a_lease_is_free_when_it_was_seen_unchanged_for_longer_than_it_is_held() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!seen.is_free(&object("1", Some("a")), at(0)));
        assert!(!seen.is_free(&object("1", Some("a")), at(10)));
        assert!(
            !seen.is_free(&object("2", Some("a")), at(11)),
            "it was renewed"
        );
        assert!(!seen.is_free(&object("2", Some("a")), at(21)));
        assert!(seen.is_free(&object("2", Some("a")), at(22)));
    }

    #[test]
    fn a_lease_that_was_let_go_is_free_at_once() {
        for holder in [None, Some("")] {
            assert!(Seen::default().is_free(&object("1", holder), Instant::now()));
        }
    }

    #[test]
    fn who_holds_it_gives_up_before_another_may_act() {
        assert!(GIVES_UP_AFTER + EVERY < HELD_FOR);
    }

    /// A request, to its end.
    async fn request(stream: &mut TcpStream) -> String {
        let mut request = String::new();
        loop {
            let mut part = vec![0; 65_536];
            let length = stream.read(&mut part).await.unwrap();
            request.push_str(std::str::from_utf8(&part[..length]).unwrap());
            let Some((headers, body)) = request.split_once("\r\n\r\n") else {
                continue;
            };
            let mut headers = headers.lines();
            let length = headers.find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return request;
            }
        }
    }

    async fn answer(stream: &mut TcpStream, status: &str, body: &str) {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    fn lease(server: SocketAddr) -> Lease {
        let address = format!("http://{server}").parse().unwrap();
        let client = Client::try_from(Config::new(address)).unwrap();
        Lease::new(&client, "tidewheel", "b")
    }

    #[tokio::test]
    async fn who_is_not_answered_asks_again_and_counts_from_when_it_asked() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let lease = lease(server.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (silent, _) = server.accept().await.unwrap();
            let (mut looked, _) = server.accept().await.unwrap();
            request(&mut looked).await;
            let missing = r#"{"kind": "Status", "status": "Failure", "reason": "NotFound", "message": "none", "code": 404}"#;
            answer(&mut looked, "404 Not Found", missing).await;
            let (mut made, _) = server.accept().await.unwrap();
            let asked = request(&mut made).await;
            assert!(asked.starts_with("POST "), "{asked}");
            let asked_at = Instant::now();
            let object = serde_json::to_string(&object("1", Some("b"))).unwrap();
            answer(&mut made, "201 Created", &object).await;
            // All the while.
            drop(silent);
            asked_at
        });
        let is_up = AtomicBool::new(false);
        let held = lease.acquire(&is_up).await.ok().unwrap();
        let asked_at = serving.await.unwrap();
        assert!(is_up.into_inner());
        assert!(held.since < asked_at);
    }

    #[tokio::test]
    async fn who_asked_for_it_too_long_ago_ends_though_it_could_be_renewed() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let held = Held {
            lease: lease(server.local_addr().unwrap()),
            object: object("1", Some("b")).into(),
            since: Instant::now().checked_sub(GIVES_UP_AFTER).unwrap(),
        };
        let serving = tokio::spawn(async move {
            let object = serde_json::to_string(&object("2", Some("b"))).unwrap();
            loop {
                let (mut stream, _) = server.accept().await.unwrap();
                request(&mut stream).await;
                answer(&mut stream, "200 OK", &object).await;
            }
        });
        let ended = tokio::time::timeout(HELD_FOR * 3, held.keep()).await;
        assert!(matches!(ended, Ok(LeaseError::NotRenewed)), "{ended:?}");
        serving.abort();
    }
}
