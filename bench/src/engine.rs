//! Both stages of the engine on one thread, with nothing between them but the records that they exchange.
use std::sync::Arc;
use std::time::Duration;

use tidewheel_engine::stage1::{Recovered, SourceSetup, SourceTask, StartAt};
use tidewheel_engine::stage2::{RecoveredStep, StepSetup, StepTask};
use tidewheel_engine::{Generations, TableWrite};
use tidewheel_log::{NewRecord, Record};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Plan, StepKind};

use crate::Failure;

/// The tasks of a plan with one source partition and one aggregate step.
pub(crate) struct Engine {
    source: SourceTask,
    step: StepTask,
    partials_topic: String,
    partials_end: i64,
    /// Rows that went to outputs.
    pub(crate) rows: usize,
}

impl Engine {
    pub(crate) fn new(plan: &Arc<Plan>) -> Result<Self, Failure> {
        let generations = Arc::new(Generations::default());
        let aggregate = plan
            .steps
            .iter()
            .position(|step| matches!(step.kind, StepKind::Aggregate(_)));
        let step = aggregate.ok_or("the plan has no aggregate step")?;
        let source_setup = SourceSetup {
            plan: plan.clone(),
            generations: generations.clone(),
            source: 0,
            partition: 0,
            source_partitions: vec![1],
        };
        let feeders = vec![format!("{}/0", plan.sources[0].name)];
        let step_setup = StepSetup {
            plan: plan.clone(),
            generations,
            step,
            partition: 0,
            feeders,
            snapshot_every: Duration::from_secs(5),
        };
        Ok(Self {
            source: SourceTask::begin(source_setup, Recovered::default(), &StartAt::default())?,
            step: StepTask::begin(step_setup, &RecoveredStep::default())?,
            partials_topic: PipelineNames::new(&plan.namespace, &plan.name)
                .partials(&plan.steps[step].name, 1),
            partials_end: 0,
            rows: 0,
        })
    }

    /// Takes a micro-batch through both stages.
    pub(crate) fn take(&mut self, records: &[Record]) -> Result<(), Failure> {
        let Some(last) = records.last() else {
            return Ok(());
        };
        let clock_ms = last.append_time_ms;
        let effects = self.source.process(records, last.offset + 1, clock_ms)?;
        if effects.consumed != records.len() {
            return Err("a fresh task takes whole batches".into());
        }
        self.count(&effects.writes);
        let committed: Vec<usize> = effects.writes.iter().map(|write| write.output).collect();
        let mut log = effects.log;
        log.extend(self.source.seal(records, &committed, &[]));
        self.merge(log, clock_ms)
    }

    /// Closes every window.
    pub(crate) fn close(&mut self, clock_ms: i64) -> Result<(), Failure> {
        let Some(closing_ms) = self.source.closing_watermark_ms() else {
            return Ok(());
        };
        let log = self.source.decree(closing_ms)?.log;
        self.merge(log, clock_ms)
    }

    /// Bytes of window state.
    pub(crate) fn state_bytes(&self) -> usize {
        self.step.state_bytes()
    }

    fn merge(&mut self, log: Vec<NewRecord>, clock_ms: i64) -> Result<(), Failure> {
        let partials = log
            .into_iter()
            .filter(|record| record.topic == self.partials_topic);
        let first = self.partials_end;
        let records: Vec<Record> = (first..)
            .zip(partials)
            .map(|(offset, record)| Record {
                offset,
                append_time_ms: clock_ms,
                key: record.key,
                value: record.value,
                headers: record.headers,
            })
            .collect();
        if records.is_empty() {
            return Ok(());
        }
        self.partials_end += records.len() as i64;
        let effects = self.step.process(&records, self.partials_end, clock_ms)?;
        self.count(&effects.writes);
        let committed: Vec<usize> = effects.writes.iter().map(|write| write.output).collect();
        self.step.seal(&committed, &[]);
        Ok(())
    }

    fn count(&mut self, writes: &[TableWrite]) {
        self.rows += writes
            .iter()
            .map(|write| write.rows.num_rows())
            .sum::<usize>();
    }
}
