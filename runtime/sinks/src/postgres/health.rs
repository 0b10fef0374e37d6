//! How a database was when it was last asked.
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::failure::Failure;

/// How a database was when it was last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Nobody asked yet.
    Unknown,
    /// It does what it is told.
    Reachable,
    /// It does not.
    Unreachable {
        /// Since when nothing succeeded.
        since: Duration,
        /// Why, without any secret.
        reason: String,
    },
}

/// Where outcomes are noted.
#[derive(Default)]
pub(super) struct HealthBoard(Mutex<Noted>);

#[derive(Default)]
enum Noted {
    #[default]
    Nothing,
    Good,
    Bad(Instant, String),
}

impl HealthBoard {
    /// Notes how a piece of work ended. Being overtaken says nothing against the database.
    pub(super) fn note(&self, failure: Option<&Failure>) {
        let mut noted = self.0.lock();
        match failure {
            None | Some(Failure::Fenced(_)) => *noted = Noted::Good,
            Some(failure) => {
                let since = match *noted {
                    Noted::Bad(since, _) => since,
                    _ => Instant::now(),
                };
                *noted = Noted::Bad(since, failure.to_string());
            }
        }
    }

    pub(super) fn read(&self) -> Health {
        match &*self.0.lock() {
            Noted::Nothing => Health::Unknown,
            Noted::Good => Health::Reachable,
            Noted::Bad(since, reason) => Health::Unreachable {
                since: since.elapsed(),
                reason: reason.clone(),
            },
        }
    }
}
