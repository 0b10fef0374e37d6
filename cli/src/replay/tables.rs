//! The tables that a replay writes: those of the pipeline, or others of the same shape.
use arrow::array::RecordBatch;
use tidewheel_planner::plan::{Output, Plan, Table};
use tidewheel_planner::postgres::shown;
use tidewheel_provision::postgres::PlannedTable;
use tidewheel_sinks::OutputId;
use tidewheel_sinks::postgres::{Replaced, Replacement};
use tidewheel_worker::replay::{Replay, ReplayedOutput};

use crate::failure::Failure;
use crate::roles::provision::make_tables;
use crate::roles::sinks::{SinkUrls, open};

/// Where windows go.
pub(super) struct Tables {
    urls: SinkUrls,
    /// The schema of other tables than the pipeline's.
    into: Option<String>,
}

impl Tables {
    /// Those of `plan`, or those of the same names in the schema `into`.
    pub(super) fn new(plan: &Plan, urls: SinkUrls, into: Option<&str>) -> Result<Self, Failure> {
        let mut own = plan.outputs.iter().filter_map(Output::table);
        if let Some(into) = into
            && own.any(|table| table.schema == into)
        {
            return Err(Failure::usage(
                format!("--into {into} is the schema that the workers write"),
                "give --into another schema, or leave it out to write to the pipeline's tables",
            ));
        }
        if into.is_some_and(str::is_empty) {
            return Err(Failure::usage(
                "--into names no schema",
                "give --into the name of a schema, which is made where it is missing",
            ));
        }
        for sink in plan.table_sinks() {
            open(sink, &urls.url(sink)?)?;
        }
        Ok(Self {
            urls,
            into: into.map(str::to_owned),
        })
    }

    /// The table of an output in a message.
    pub(super) fn shown(&self, output: &Output) -> String {
        self.table(output)
            .map_or_else(String::new, |table| shown(&table))
    }

    /// Makes what is missing, where that is ours to make.
    pub(super) async fn check(&self, plan: &Plan, replay: &Replay) -> Result<(), Failure> {
        if self.into.is_none() {
            return Ok(());
        }
        for replayed in replay.outputs() {
            let output = &plan.outputs[replayed.output];
            let Some(table) = self.table(output) else {
                continue;
            };
            let planned = PlannedTable {
                pipeline: plan.full_name(),
                output: output.name.clone(),
                table,
            };
            make_tables(&output.sink, &self.urls.url(&output.sink)?, &[planned]).await?;
        }
        Ok(())
    }

    /// Puts rows of windows in the place of those that are there.
    pub(super) async fn replace(
        &self,
        plan: &Plan,
        replayed: &ReplayedOutput,
        rows: &[RecordBatch],
    ) -> Result<Replaced, Failure> {
        let output = &plan.outputs[replayed.output];
        let Some(table) = self.table(output) else {
            return Ok(Replaced::default());
        };
        let id = OutputId {
            pipeline: plan.full_name(),
            output: output.name.clone(),
        };
        let replacement = Replacement {
            output: &id,
            table: &table,
            step: &replayed.step,
            generation: self.into.is_none().then_some(replayed.generation),
            first_ms: *replayed.starts_ms.start(),
            next_ms: replayed.starts_ms.end().saturating_add(replayed.every_ms),
            overlap: replayed.every_ms != replayed.size_ms,
            rows,
        };
        let database = open(&output.sink, &self.urls.url(&output.sink)?)?;
        let replaced = database.replace(&replacement).await;
        replaced.map_err(|error| {
            Failure::Run(format!(
                "{error}. Run it again once that is mended: a table has all of what was computed or nothing"
            ))
        })
    }

    fn table(&self, output: &Output) -> Option<Table> {
        let mut table = output.table()?.clone();
        if let Some(into) = &self.into {
            table.schema.clone_from(into);
            // What somebody has put aside stays until they remove it.
            table.retention_ms = None;
        }
        Some(table)
    }
}
