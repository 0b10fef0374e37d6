//! How many connections this process has to a database at a time. A database has few, and they are there for those who work with it: an
//! operator that begins with hundreds of pipelines must not take them all.
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Instant;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ProvisionError;

/// So many are quick enough: most looks take some milliseconds.
const CONNECTIONS: usize = 4;

/// Of the whole process, since the connections are counted where they arrive.
static ALL: LazyLock<Mutex<HashMap<Database, Weak<Turns>>>> = LazyLock::new(Default::default);

/// Host, port and name.
type Database = (String, u16, String);

struct Turns {
    free: Arc<Semaphore>,
    /// When somebody was last not answered in time.
    silent: Mutex<Option<Instant>>,
}

/// Leave to have a connection to a database, until it is dropped.
pub(super) struct Turn {
    turns: Arc<Turns>,
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// Waits for its turn.
    ///
    /// # Errors
    /// The database has not answered somebody in time meanwhile: nobody in the line waits for that again.
    pub(super) async fn wait(options: &PgConnectOptions) -> Result<Self, ProvisionError> {
        let turns = Turns::of(options);
        let since = Instant::now();
        let permit = turns.free.clone().acquire_owned().await;
        // It is never closed.
        let permit = permit.map_err(|error| ProvisionError::Unavailable(error.to_string()))?;
        let silent = *turns.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if silent.is_some_and(|silent| silent >= since) {
            let message = "others were not answered in time a moment ago";
            return Err(ProvisionError::Unavailable(message.to_owned()));
        }
        Ok(Self {
            turns,
            _permit: permit,
        })
    }

    /// There was no answer in time.
    pub(super) fn was_silent(&self) {
        let silent = self.turns.silent.lock();
        *silent.unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Turns {
    fn of(options: &PgConnectOptions) -> Arc<Self> {
        let name = options.get_database().unwrap_or_default();
        let database = (
            options.get_host().to_owned(),
            options.get_port(),
            name.to_owned(),
        );
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = all.get(&database).and_then(Weak::upgrade) {
            return turns;
        }
        all.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Self {
            free: Arc::new(Semaphore::new(CONNECTIONS)),
            silent: Mutex::default(),
        });
        all.insert(database, Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn options(database: &str) -> PgConnectOptions {
        PgConnectOptions::new()
            .host("turns.example")
            .database(database)
    }

    #[tokio::test]
    async fn who_waits_for_a_database_that_does_not_answer_hears_of_it_with_the_others() {
        let shop = options("silent");
        let mut first = Vec::new();
        for _ in 0..CONNECTIONS {
            first.push(Turn::wait(&shop).await.unwrap());
        }
        let mut waiting = std::pin::pin!(Turn::wait(&shop));
        assert!(futures::poll!(&mut waiting).is_pending());
        // Another database is another line.
        assert!(Turn::wait(&options("other")).await.is_ok());
        first[0].was_silent();
        first.pop();
        assert!(waiting.await.is_err());
        // Whoever comes later tries for himself.
        first.pop();
        assert!(Turn::wait(&shop).await.is_ok());
    }
}
