//! How far the deletion of data has come, and how long it may hold up that of its resource. Pure but for what it remembers.
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// For how long what cannot be asked is tried, from the first time that this was in vain.
pub(crate) const GIVES_UP_AFTER: Duration = Duration::from_secs(60);
/// For how long pods may take to end: several times as long as they are given. Those of a node that is gone never do.
const PODS_END_WITHIN: Duration = Duration::from_secs(180);

/// What was done about data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Somebody uses it. It goes once nobody does, however long that takes.
    Held(String),
    /// Pods of its own are still there.
    Ends(String),
    /// Everything was tried.
    Tried(Deleted),
}

/// What became of data. All of it is for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// What was deleted.
    pub(crate) gone: Vec<String>,
    /// What stays, and why.
    pub(crate) kept: Vec<String>,
    /// What could not be deleted, and why.
    pub(crate) left: Vec<String>,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is tried again.
    Waits(String),
    /// The resource is let go.
    Over(Deleted),
}

/// Deletions that are under way, by the `uid` of the resource.
#[derive(Default)]
pub(crate) struct Deletions(Mutex<HashMap<String, Deletion>>);

#[derive(Default)]
struct Deletion {
    ends_since: Option<Instant>,
    left_since: Option<Instant>,
    gone: BTreeSet<String>,
}

impl Deletions {
    /// What follows from what was done at `now`. Only what this process has tried itself counts: time in which nobody did is not used up.
    pub(crate) fn judge(&self, uid: &str, removal: Removal, now: Instant) -> Verdict {
        let mut deletions = self.0.lock();
        let deletion = deletions.entry(uid.to_owned()).or_default();
        match removal {
            Removal::Held(why) => Verdict::Waits(why),
            Removal::Ends(why) => {
                let since = *deletion.ends_since.get_or_insert(now);
                if now - since < PODS_END_WITHIN {
                    return Verdict::Waits(why);
                }
                Verdict::Over(Deleted {
                    left: vec![format!("all of it: {why}")],
                    ..Deleted::default()
                })
            }
            Removal::Tried(mut deleted) => {
                deletion.gone.extend(deleted.gone);
                let since = *deletion.left_since.get_or_insert(now);
                if !deleted.left.is_empty() && now - since < GIVES_UP_AFTER {
                    return Verdict::Waits(deleted.left.join("; "));
                }
                deleted.gone = deletion.gone.iter().cloned().collect();
                Verdict::Over(deleted)
            }
        }
    }

    /// It is over.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(gone: &[&str], left: &[&str]) -> Removal {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Removal::Tried(Deleted {
            gone: owned(gone),
            left: owned(left),
            kept: Vec::new(),
        })
    }

    #[test]
    fn who_does_not_answer_is_waited_for_and_then_what_was_left_is_said_with_what_is_gone() {
        let (deletions, begun) = (Deletions::default(), Instant::now());
        let judge =
            |removal, after| deletions.judge("a", removal, begun + Duration::from_secs(after));
        // However long pods take that end.
        assert_eq!(
            judge(Removal::Ends("pods".to_owned()), 0),
            Verdict::Waits("pods".to_owned())
        );
        let first = judge(tried(&["topic a"], &["table b"]), 100);
        assert_eq!(first, Verdict::Waits("table b".to_owned()));
        assert_eq!(
            judge(tried(&[], &["table b"]), 159),
            Verdict::Waits("table b".to_owned())
        );
        let Verdict::Over(deleted) = judge(tried(&[], &["table b"]), 160) else {
            panic!("it is still waited for");
        };
        assert_eq!(deleted.gone, ["topic a"]);
        assert_eq!(deleted.left, ["table b"]);
    }

    #[test]
    fn who_answers_in_time_is_done() {
        let (deletions, begun) = (Deletions::default(), Instant::now());
        deletions.judge("a", tried(&["topic a"], &["table b"]), begun);
        let verdict = deletions.judge("a", tried(&["table b"], &[]), begun);
        let Verdict::Over(deleted) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(deleted.gone, ["table b", "topic a"]);
        assert!(deleted.left.is_empty());
    }

    #[test]
    fn users_are_waited_for_as_long_as_it_takes_and_pods_not() {
        let (deletions, begun) = (Deletions::default(), Instant::now());
        let late = begun + Duration::from_secs(86_400);
        let held = || Removal::Held("read".to_owned());
        deletions.judge("a", held(), begun);
        assert_eq!(
            deletions.judge("a", held(), late),
            Verdict::Waits("read".to_owned())
        );
        let ends = || Removal::Ends("pods".to_owned());
        deletions.judge("a", ends(), begun);
        let verdict = deletions.judge("a", ends(), late);
        assert!(matches!(verdict, Verdict::Over(_)), "{verdict:?}");
        deletions.forget("a");
        let verdict = deletions.judge("a", ends(), late);
        assert!(matches!(verdict, Verdict::Waits(_)), "{verdict:?}");
    }
}
