//! What a run has made: rows, ledgers and dead letters, as tables, JSON or CSV.
mod csv;
mod dead_letters;
mod document;
mod ledgers;
mod table;
pub(crate) mod topic;

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use tidewheel_log::Log;
use tidewheel_planner::plan::{Output, Plan, Table, Target, Topic};
use tidewheel_sinks::embedded::Row;

use crate::args::ResultFormat;
use crate::dev::pipelines::Pipelines;
use crate::dev::store::Store;
use crate::dev::tables::Tables;
use crate::failure::Failure;
#[cfg(test)]
pub(crate) use ledgers::StageLedger;
pub(crate) use ledgers::{OutputLedger, ledgers};

/// What is to be shown.
pub(crate) struct Selection {
    /// `NAME` or `NAMESPACE/PIPELINE/NAME` of the only output that is shown.
    pub(crate) only: Option<String>,
    /// Rows of each table that are shown to people.
    pub(crate) rows: Option<usize>,
    /// Tasks are still at work: what is on its way between them is in no ledger yet.
    pub(crate) is_partial: bool,
}

impl Selection {
    fn shows(&self, plan: &Plan, output: &str) -> bool {
        let Some(only) = &self.only else { return true };
        only == output || *only == format!("{}/{}/{output}", plan.namespace, plan.name)
    }
}

/// An output and where its rows are.
struct Shown<'a> {
    plan: &'a Plan,
    output: &'a Output,
    rows: Rows<'a>,
}

/// Where the rows of an output are.
enum Rows<'a> {
    Table(&'a Tables, &'a Table),
    Topic(Arc<dyn Log>, &'a Topic),
}

impl<'a> Shown<'a> {
    /// None where there is no such table yet.
    fn new(store: &'a Store, plan: &'a Plan, output: &'a Output) -> Option<Self> {
        let rows = match &output.target {
            Target::Table(table) => Rows::Table(store.tables(&output.sink)?, table),
            Target::Topic(topic) => Rows::Topic(store.log(), topic),
        };
        Some(Self { plan, output, rows })
    }

    fn pipeline(&self) -> String {
        self.plan.full_name()
    }

    /// Gives every row to `each`, in the order of the table or topic, until it breaks off.
    async fn visit(&self, each: impl FnMut(Row) -> ControlFlow<()>) -> Result<(), Failure> {
        match &self.rows {
            Rows::Table(tables, table) => tables.for_each_row(table, each).await?,
            Rows::Topic(log, topic) => topic::for_each_row(log.as_ref(), topic, each).await?,
        }
        Ok(())
    }

    /// How many rows there are.
    async fn count(&self) -> Result<u64, Failure> {
        Ok(match &self.rows {
            Rows::Table(tables, table) => tables.count(table).await?,
            Rows::Topic(log, topic) => topic::count(log.as_ref(), topic).await?,
        })
    }

    /// Gives every row to `each`, in the order of the table or topic.
    async fn for_each_row(
        &self,
        mut each: impl FnMut(Row) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut failed = None;
        let reading = self.visit(|row| match each(row) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        reading.await?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Prints everything to stdout. Whether every ledger balances.
pub(crate) async fn print(
    store: &Store,
    pipelines: &Pipelines,
    format: ResultFormat,
    selection: &Selection,
) -> Result<bool, Failure> {
    let shown: Vec<Shown<'_>> = pipelines
        .iter()
        .flat_map(|pipeline| {
            pipeline
                .plan
                .outputs
                .iter()
                .map(move |output| (pipeline.plan.as_ref(), output))
        })
        .filter(|(plan, output)| selection.shows(plan, &output.name))
        .filter_map(|(plan, output)| Shown::new(store, plan, output))
        .collect();
    if let (Some(only), true) = (&selection.only, shown.is_empty()) {
        let names = pipelines.iter().flat_map(|pipeline| {
            let Plan {
                namespace, name, ..
            } = pipeline.plan.as_ref();
            pipeline
                .plan
                .outputs
                .iter()
                .map(move |output| format!("{namespace}/{name}/{}", output.name))
        });
        let help = format!("there are: {}", names.collect::<Vec<_>>().join(", "));
        return Err(Failure::usage(format!("there is no output `{only}`"), help));
    }
    let ledgers = ledgers(pipelines);
    let dead_letters = dead_letters::read(store.log().as_ref(), pipelines).await?;
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout());
    match format {
        ResultFormat::Json => {
            document::write(
                &mut out,
                store.log().as_ref(),
                &shown,
                &ledgers,
                &dead_letters,
            )
            .await?
        }
        ResultFormat::Csv => csv::write(&mut out, &shown).await?,
        ResultFormat::Table => {
            table::write(&mut out, &shown, &ledgers, &dead_letters, selection.rows).await?
        }
    }
    out.flush()?;
    if selection.is_partial {
        return Ok(false);
    }
    let off: Vec<&OutputLedger> = ledgers.iter().filter(|ledger| !ledger.balanced).collect();
    for ledger in &off {
        eprintln!(
            "error: the ledger of {}, output `{}`, does not balance: {}",
            ledger.pipeline,
            ledger.output,
            ledger.explain()
        );
    }
    Ok(off.is_empty())
}
