//! When a resource is looked at again without anything having changed, and what is not asked again so soon.
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng as _;

use crate::conditions::Finding;

/// How often the world outside is looked at: topics and tables, which nobody watches.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The first pause after something failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// What is remembered of each resource, by its `uid`.
#[derive(Default)]
pub(crate) struct Rhythm(Mutex<HashMap<String, Remembered>>);

#[derive(Default)]
struct Remembered {
    /// How often it failed in a row.
    failures: u32,
    look: Option<Look>,
}

/// What was found outside.
struct Look {
    /// What was looked for.
    subject: String,
    until: Instant,
    findings: Vec<Finding>,
}

impl Rhythm {
    /// It went well: look again when the world outside may have changed.
    pub(crate) fn succeeded(&self, uid: &str) -> Duration {
        self.0.lock().entry(uid.to_owned()).or_default().failures = 0;
        jittered(LOOK_EVERY)
    }

    /// It failed: try again, later each time.
    pub(crate) fn failed(&self, uid: &str) -> Duration {
        let mut remembered = self.0.lock();
        let failures = &mut remembered.entry(uid.to_owned()).or_default().failures;
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(*failures);
        *failures = failures.saturating_add(1).min(16);
        jittered(pause.min(LONGEST_PAUSE))
    }

    /// It is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// Only these are there.
    pub(crate) fn retain(&self, uids: &HashSet<String>) {
        self.0.lock().retain(|uid, _| uids.contains(uid));
    }

    /// What was found when this was looked for not long ago, and was good.
    pub(crate) fn found(&self, uid: &str, subject: &str) -> Option<Vec<Finding>> {
        let remembered = self.0.lock();
        let look = remembered.get(uid)?.look.as_ref()?;
        let is_fresh = look.subject == subject && Instant::now() < look.until;
        is_fresh.then(|| look.findings.clone())
    }

    /// Remembers what was found to be good.
    pub(crate) fn remember(&self, uid: &str, subject: String, findings: Vec<Finding>) {
        // A little less than until the next look.
        let until = Instant::now() + LOOK_EVERY / 2;
        let look = Look {
            subject,
            until,
            findings,
        };
        self.0.lock().entry(uid.to_owned()).or_default().look = Some(look);
    }
}

/// A little more or less, so that not all resources are looked at in the same moment.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.75..1.25))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::{Aspect, Reason};

    #[test]
    fn each_resource_has_a_pause_of_its_own_that_grows_until_it_succeeds() {
        let rhythm = Rhythm::default();
        let pauses: Vec<Duration> = (0..12).map(|_| rhythm.failed("a")).collect();
        assert!(pauses[0] <= FIRST_PAUSE.mul_f64(1.25), "{pauses:?}");
        assert!(pauses[3] >= pauses[0] * 4, "{pauses:?}");
        assert!(pauses[11] <= LONGEST_PAUSE.mul_f64(1.25), "{pauses:?}");
        assert!(rhythm.failed("b") <= FIRST_PAUSE.mul_f64(1.25));
        rhythm.succeeded("a");
        assert!(rhythm.failed("a") <= FIRST_PAUSE.mul_f64(1.25));
    }

    #[test]
    fn what_was_found_holds_for_what_was_looked_for_alone() {
        let rhythm = Rhythm::default();
        let findings = vec![Finding::new(
            Aspect::Topics,
            Reason::TopicsAsDeclared,
            "2 topics",
        )];
        rhythm.remember("a", "these".to_owned(), findings.clone());
        assert_eq!(rhythm.found("a", "these"), Some(findings));
        assert_eq!(rhythm.found("a", "others"), None);
        assert_eq!(rhythm.found("b", "these"), None);
        rhythm.forget("a");
        assert_eq!(rhythm.found("a", "these"), None);
    }

    #[test]
    fn nothing_is_remembered_of_what_is_gone() {
        let rhythm = Rhythm::default();
        for uid in ["a", "b", "c"] {
            rhythm.succeeded(uid);
            rhythm.remember(uid, "these".to_owned(), Vec::new());
        }
        rhythm.retain(&HashSet::from(["b".to_owned()]));
        assert_eq!(rhythm.0.lock().keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(rhythm.found("b", "these"), Some(Vec::new()));
    }
}
