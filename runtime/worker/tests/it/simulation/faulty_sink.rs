//! Embedded tables as one process sees them: slow, failing, and half-answering.
use std::sync::Arc;

use async_trait::async_trait;
use futures::executor::block_on;
use tidewheel_planner::plan::Table;
use tidewheel_sinks::embedded::Database;
use tidewheel_sinks::{
    Change, Committed, Guarantee, Origin, OutputId, Progress, Refused, Sink, SinkError, TaskId,
    Writer,
};

use super::world::{Luck, World};

#[derive(Clone)]
pub(crate) struct FaultySink {
    pub(crate) world: Arc<World>,
    pub(crate) process: usize,
    pub(crate) inner: Database,
}

impl FaultySink {
    /// Lets the scheduler in before and after a call, which itself is one step whatever threads it takes.
    async fn disturb<T>(
        &self,
        call: impl FnOnce() -> Result<T, SinkError> + Send,
    ) -> Result<T, SinkError>
    where
        T: Send,
    {
        let unavailable = || SinkError::Unavailable {
            output: "simulated".to_owned(),
            reason: "simulated".to_owned(),
        };
        self.world.pause(self.process, 0).await;
        let luck = self.world.luck();
        if luck == Luck::FailsBefore {
            return Err(unavailable());
        }
        let answer = call();
        self.world.pause(self.process, 0).await;
        if luck == Luck::FailsAfter {
            Err(unavailable())
        } else {
            answer
        }
    }
}

#[async_trait]
impl Sink for FaultySink {
    fn guarantee(&self) -> Guarantee {
        self.inner.guarantee()
    }

    async fn writer(
        &self,
        output: &OutputId,
        table: &Table,
        task: &TaskId,
    ) -> Result<Box<dyn Writer>, SinkError> {
        let inner = block_on(self.inner.writer(output, table, task))?;
        Ok(Box::new(FaultyWriter {
            sink: self.clone(),
            inner,
        }))
    }
}

struct FaultyWriter {
    sink: FaultySink,
    inner: Box<dyn Writer>,
}

#[async_trait]
impl Writer for FaultyWriter {
    async fn begin_generation(
        &mut self,
        generation: i64,
        cut_ms: Option<i64>,
    ) -> Result<(), SinkError> {
        let sink = self.sink.clone();
        sink.disturb(|| block_on(self.inner.begin_generation(generation, cut_ms)))
            .await
    }

    async fn last_commit(&mut self) -> Result<Option<(Progress, Vec<Refused>)>, SinkError> {
        let sink = self.sink.clone();
        sink.disturb(|| block_on(self.inner.last_commit())).await
    }

    async fn commit(
        &mut self,
        generation: i64,
        change: &Change,
        expected: Option<Progress>,
        next: Progress,
        kept: &[Refused],
        origin: Origin<'_>,
    ) -> Result<Committed, SinkError> {
        let sink = self.sink.clone();
        sink.disturb(|| {
            block_on(
                self.inner
                    .commit(generation, change, expected, next, kept, origin),
            )
        })
        .await
    }
}
