//! Where the schemas come from that records of a source name.
use std::collections::BTreeMap;
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
#[error("{0}")]
pub struct SchemasError(pub String);

/// Where the schemas of each source come from, by the source's name.
pub type SchemasOf = BTreeMap<String, Arc<dyn Schemas>>;

/// The schema of an id: asked for until it is there, or the task is told to stop.
pub(crate) async fn wait_for(
    context: &Context,
    key: &TaskKey,
    stop: &CancellationToken,
    id: u32,
) -> Result<Arc<WriterSchema>, AttemptError> {
    let Some(schemas) = context.schemas.get(&key.0) else {
        let source_name = key.0.clone();
        return Err(WorkerError::NoRegistry { source_name }.into());
    };
    let mut pause = Duration::from_millis(50);
    loop {
        let asked = tokio::select! {
            biased;
            asked = schemas.schema(id) => asked,
            () = stop.cancelled() => return Err(AttemptError::Stopped),
        };
        let error = match asked {
            Ok(schema) => {
                context.board.update(key, TaskStatus::unblock);
                return Ok(schema);
            }
            Err(error) => error,
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
