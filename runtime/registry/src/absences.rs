//! Since when a registry says of ids that it has no schema of them.
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a registry has to say that it does not have a schema until it is believed: producers write as soon as one of its replicas has
/// taken a schema, and others hear of it later.
const SURE_AFTER: Duration = Duration::from_secs(10);

/// How many ids are remembered, far more than a task asks for at once: whoever makes ids up does not fill the memory.
const MAX_IDS: usize = 1_000_000;

/// The ids of which a registry says that it has no schema.
#[derive(Debug, Default)]
pub(crate) struct Absences {
    since: HashMap<u32, Instant>,
}

impl Absences {
    /// It says so `now`. Whether it has for long enough.
    pub(crate) fn is_sure(&mut self, id: u32, now: Instant) -> bool {
        if self.since.len() >= MAX_IDS && !self.since.contains_key(&id) {
            self.since.clear();
        }
        let since = *self.since.entry(id).or_insert(now);
        now.duration_since(since) >= SURE_AFTER
    }

    /// It has the schema.
    pub(crate) fn forget(&mut self, id: u32) {
        self.since.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_believed_after_a_while() {
        let (mut absences, begin) = (Absences::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert!(!absences.is_sure(1, at(0)));
        assert!(!absences.is_sure(1, at(9)));
        assert!(!absences.is_sure(2, at(10)), "each id for itself");
        assert!(absences.is_sure(1, at(10)));
        assert!(absences.is_sure(1, at(11)));
        absences.forget(1);
        assert!(!absences.is_sure(1, at(12)));
    }
}
