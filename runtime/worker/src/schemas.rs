//! Where the schemas come from that records of a source name.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidewheel_decode::writer_schema::WriterSchema;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::{AttemptError, WorkerError};
use crate::status::{TaskKey, TaskStatus};

/// Schemas by their ids.
#[async_trait]
pub trait Schemas: Send + Sync {
    /// The schema of an id, which never changes; [`WriterSchema::Absent`] where it is sure that there is none.
    ///
    /// # Errors
    /// It cannot be read now: the task waits and asks again.
    async fn schema(&self, id: u32) -> Result<Arc<WriterSchema>, SchemasError>;
}

/// A schema that could not be read now; why, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemasError {
    /// There is said to be none, and not for long enough to be sure.
    #[error("{0}")]
    NotYet(String),
    /// Nothing is known of it, nor would be of others.
    #[error("{0}")]
    Unavailable(String),
}

/// Where the schemas of each source come from, by the source's name.
pub type SchemasOf = BTreeMap<String, Arc<dyn Schemas>>;

/// Gives `learn` the schemas of these ids: they are asked for until all are there, or the task is told to stop.
pub(crate) async fn read(
    context: &Context,
    (key, stop): (&TaskKey, &CancellationToken),
    mut ids: BTreeSet<u32>,
    mut learn: impl FnMut(u32, Arc<WriterSchema>),
) -> Result<(), AttemptError> {
    if ids.is_empty() {
        return Ok(());
    }
    let Some(schemas) = context.schemas.get(&key.0) else {
        let source_name = key.0.clone();
        return Err(WorkerError::NoRegistry { source_name }.into());
    };
    let mut pause = Duration::from_millis(50);
    loop {
        let error = tokio::select! {
            biased;
            error = read_some(schemas.as_ref(), &mut ids, &mut learn) => error,
            () = stop.cancelled() => return Err(AttemptError::Stopped),
        };
        let Some(error) = error else {
            context.board.update(key, TaskStatus::unblock);
            return Ok(());
        };
        tracing::warn!(task = ?key, %error, "a schema cannot be read; trying again");
        context.board.update(key, |status| {
            status.unblock();
            status.at_end = false;
            status.blocked = Some(error.to_string());
        });
        tokio::select! {
            biased;
            () = context.timer.sleep(pause) => {}
            () = stop.cancelled() => return Err(AttemptError::Stopped),
        }
        pause = (pause * 2).min(context.limits.longest_pause);
    }
}

/// Asks for each schema once, so that all which are not there yet are waited for together, and takes out the ids of those that are read. Why
/// some are not.
async fn read_some(
    schemas: &dyn Schemas,
    ids: &mut BTreeSet<u32>,
    learn: &mut impl FnMut(u32, Arc<WriterSchema>),
) -> Option<SchemasError> {
    let mut why = None;
    for id in ids.clone() {
        match schemas.schema(id).await {
            Ok(schema) => {
                learn(id, schema);
                ids.remove(&id);
            }
            Err(error @ SchemasError::NotYet(_)) => why = Some(error),
            Err(error @ SchemasError::Unavailable(_)) => return Some(error),
        }
    }
    why
}
