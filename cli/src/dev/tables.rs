//! The tables of a Sink: a SQLite file, or the PostgreSQL database that `--sink` names.
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use tidewheel_planner::plan::{Output, Plan, Table};
use tidewheel_provision::postgres::{self, KeepOptions, PlannedTable};
use tidewheel_sinks::embedded::{Columns, Database, Row};
use tidewheel_sinks::postgres::Postgres;
use tidewheel_sinks::{OutputId, Sink, SinkError};

use crate::failure::Failure;
use crate::roles::provision::{keep_tables, make_tables, of_sink};
use crate::roles::sinks;

/// The tables of a Sink.
pub(crate) enum Tables {
    /// In a file.
    Embedded(Database),
    /// In a database.
    Postgres { database: Postgres, url: String },
}

impl Tables {
    /// Those of a Sink (`<namespace>/<name>`): in a file of `folder`, or in the database at `url`.
    pub(crate) async fn open(
        folder: &Path,
        sink: &str,
        url: Option<&str>,
    ) -> Result<Self, Failure> {
        match url {
            Some(url) => Ok(Self::Postgres {
                database: sinks::open(sink, url)?,
                url: url.to_owned(),
            }),
            None => {
                // Names hold no dots, so no two Sinks share a file.
                let file = folder.join(format!("{}.db", sink.replace('/', ".")));
                Ok(Self::Embedded(Database::open(file).await?))
            }
        }
    }

    /// Everything for which the tables of these outputs of this Sink could not be made: the index of the output, and what is wrong and
    /// what to do.
    pub(crate) async fn obstacles(
        &self,
        sink: &str,
        outputs: &[(&Plan, &Output, &Table)],
    ) -> Result<Vec<(usize, String)>, Failure> {
        match self {
            Self::Embedded(database) => {
                let tables: Vec<(OutputId, &Table)> = outputs
                    .iter()
                    .map(|&(plan, output, table)| (output_id(plan, output), table))
                    .collect();
                Ok(database.obstacles(&tables).await?)
            }
            Self::Postgres { url, .. } => {
                let planned = outputs.iter();
                let planned =
                    planned.filter_map(|(plan, output, _)| PlannedTable::of(plan, output));
                let tables: Vec<PlannedTable> = planned.collect();
                let found = postgres::obstacles(url, &tables).await;
                let found = found.map_err(|error| of_sink(sink, &error))?;
                let found = found.into_iter();
                Ok(found
                    .map(|(index, refusal)| (index, refusal.message))
                    .collect())
            }
        }
    }

    /// What else can be done about an obstacle.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::Embedded(_) => {
                "what is in the table stays; to begin anew instead, leave --data out or give it another folder"
            }
            Self::Postgres { .. } => {
                "what is in the table stays; to begin anew instead, give --sink another database"
            }
        }
    }

    /// Makes the tables that a plan has in this Sink (`<namespace>/<name>`), or adds to them what they lack.
    pub(crate) async fn prepare(&self, sink: &str, plan: &Plan) -> Result<(), Failure> {
        let database = match self {
            Self::Embedded(database) => database,
            Self::Postgres { url, .. } => {
                let tables = postgres::tables_of(plan, sink);
                make_tables(sink, url, &tables).await?;
                // From then on whoever runs the pipeline looks after them.
                let kept = keep_tables(sink, url, &tables, KeepOptions::default());
                return kept.await.map(drop);
            }
        };
        for output in plan.outputs.iter().filter(|output| output.sink == sink) {
            if let Some(table) = output.table() {
                database
                    .create_table(&output_id(plan, output), table)
                    .await?;
            }
        }
        Ok(())
    }

    /// As a worker takes it.
    pub(crate) fn sink(&self) -> Arc<dyn Sink> {
        match self {
            Self::Embedded(database) => Arc::new(database.clone()),
            Self::Postgres { database, .. } => Arc::new(database.clone()),
        }
    }

    /// Where they are, without any secret.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Embedded(database) => database.path().display().to_string(),
            Self::Postgres { .. } => "the database of --sink".to_owned(),
        }
    }

    /// See [`Database::for_each_row`].
    pub(crate) async fn for_each_row(
        &self,
        table: &Table,
        each: impl FnMut(Row) -> ControlFlow<()>,
    ) -> Result<(), SinkError> {
        match self {
            Self::Embedded(database) => database.for_each_row(table, Columns::Data, each).await,
            Self::Postgres { database, .. } => {
                database.for_each_row(table, Columns::Data, each).await
            }
        }
    }

    /// See [`Database::newest`].
    pub(crate) async fn newest(&self, table: &Table, limit: u32) -> Result<Vec<Row>, SinkError> {
        match self {
            Self::Embedded(database) => database.newest(table, limit).await,
            Self::Postgres { database, .. } => database.newest(table, limit).await,
        }
    }

    /// See [`Database::count`].
    pub(crate) async fn count(&self, table: &Table) -> Result<u64, SinkError> {
        match self {
            Self::Embedded(database) => database.count(table).await,
            Self::Postgres { database, .. } => database.count(table).await,
        }
    }

    /// Leaves a single file behind.
    pub(crate) async fn close(&self) -> Result<(), SinkError> {
        match self {
            Self::Embedded(database) => database.close().await,
            Self::Postgres { .. } => Ok(()),
        }
    }
}

fn output_id(plan: &Plan, output: &Output) -> OutputId {
    OutputId {
        pipeline: plan.full_name(),
        output: output.name.clone(),
    }
}
