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
            match self.attempt(&mut seen).await {
                Ok(Some(object)) => {
                    is_up.store(true, Ordering::Relaxed);
                    let object = object.into();
                    return Ok(Held {
                        lease: self,
                        object,
                    });
                }
                Ok(None) => is_up.store(true, Ordering::Relaxed),
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    return Err(LeaseError::Refused(status.message));
                }
                Err(error) => tracing::warn!(%error, "the Lease cannot be asked for"),
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
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(EVERY).await;
            let left = GIVES_UP_AFTER.saturating_sub(renewed.elapsed());
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
            if renewed.elapsed() >= GIVES_UP_AFTER {
                return LeaseError::NotRenewed;
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
        let found = self.lease.api.get_opt(NAME).await.ok().flatten();
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
        if let Err(error) = self
            .lease
            .api
            .replace(NAME, &PostParams::default(), &object)
            .await
        {
            tracing::warn!(%error, "the Lease could not be let go: another waits until it is over");
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
mod tests {
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
}
