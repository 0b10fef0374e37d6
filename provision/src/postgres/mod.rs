//! The tables of a PostgreSQL database: made, extended, and left alone where a change would lose data.
//!
//! ```no_run
//! # async fn run(plan: &tidewheel_planner::plan::Plan) -> Result<(), tidewheel_provision::postgres::ProvisionError> {
//! use tidewheel_provision::postgres;
//!
//! let tables = postgres::tables_of(plan, "shop/warehouse");
//! for done in postgres::provision("postgres://tidewheel:secret@localhost/shop", &tables).await? {
//!     println!("{done}"); // table `shop_analytics.kpi_1m`: created
//! }
//! # Ok(())
//! # }
//! ```
mod connection;
mod error;
mod removal;
mod schema;
mod tables;
mod turns;
mod upkeep;

use std::fmt;

use tidewheel_planner::plan::{Output, Plan, Table};
pub use tidewheel_planner::postgres::{Difference, InvalidUrl};

use self::connection::Administrator;
pub use self::error::{Obstacle, ProvisionError, Refusal};
pub use self::upkeep::{KeepOptions, Kept};

/// A table that an output needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTable {
    /// `<namespace>/<name>` of the Pipeline.
    pub pipeline: String,
    /// Name of the output.
    pub output: String,
    /// The table.
    pub table: Table,
}

/// A table that a schema has for an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTable {
    /// `<namespace>/<name>` of the Pipeline.
    pub pipeline: String,
    /// Name of the output.
    pub output: String,
    /// Name of the table.
    pub table: String,
}

/// What was done to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The table, with its schema unless that is `public`.
    pub table: String,
    /// What was done.
    pub change: Change,
}

/// What was done to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Created,
    /// It was there, is as planned, and is the output's from now on; these columns were added.
    Adopted(Vec<String>),
    /// These columns were added or made wider.
    Changed(Vec<String>),
    /// It is as planned.
    Unchanged,
}

impl Done {
    /// What would be done, where it was not.
    #[must_use]
    pub fn planned(&self) -> impl fmt::Display {
        Said {
            done: self,
            was: "would be ",
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = Said {
            done: self,
            was: "",
        };
        said.fmt(f)
    }
}

/// What was done, or `was`: would be.
struct Said<'a> {
    done: &'a Done,
    was: &'static str,
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table `{}`: ", self.done.table)?;
        let (what, columns) = match &self.done.change {
            Change::Created => ("created", None),
            Change::Adopted(columns) => ("adopted", Some(columns)),
            Change::Changed(columns) => ("changed", Some(columns)),
            Change::Unchanged => return f.write_str("as planned"),
        };
        write!(f, "{}{what}", self.was)?;
        match columns {
            Some(columns) if !columns.is_empty() => {
                write!(f, ", with new or wider columns {}", columns.join(", "))
            }
            _ => Ok(()),
        }
    }
}

impl PlannedTable {
    /// That of an output of a plan; none where it fills no table.
    #[must_use]
    pub fn of(plan: &Plan, output: &Output) -> Option<Self> {
        Some(Self {
            pipeline: plan.full_name(),
            output: output.name.clone(),
            table: output.table()?.clone(),
        })
    }
}

/// The tables that a plan has in a Sink, `<namespace>/<name>`.
#[must_use]
pub fn tables_of(plan: &Plan, sink: &str) -> Vec<PlannedTable> {
    let outputs = plan.outputs.iter().filter(|output| output.sink == sink);
    let planned = outputs.filter_map(|output| PlannedTable::of(plan, output));
    planned.collect()
}

/// Asks a database whether it can be used: it answers, lets us in, and is new enough.
///
/// # Errors
/// It does not.
pub async fn answers(url: &str) -> Result<(), ProvisionError> {
    Administrator::connect(url).await.map(drop)
}

/// Makes tables, or adds to them what they lack, all of them or none. Idempotent, and safe beside another that does the same and beside
/// workers that write. Where everything is as planned it only looks, and waits for nobody.
///
/// New columns are NULL in the rows that there are. Columns that are no longer planned stay, and are NULL in new rows. A table that
/// nobody recorded is adopted where it is as planned.
///
/// # Errors
/// [`ProvisionError::Refused`] names everything that would lose or change stored data, and what to do; nothing was changed then.
pub async fn provision(url: &str, tables: &[PlannedTable]) -> Result<Vec<Done>, ProvisionError> {
    let mut administrator = Administrator::connect(url).await?;
    let looked = administrator.look(async |administrator| as_planned(administrator, tables).await);
    if let Some(done) = looked.await? {
        return Ok(done);
    }
    let done = prepare_all(&mut administrator, tables).await?;
    administrator.commit().await?;
    Ok(done)
}

/// What [`provision`] would do, done in a transaction that is taken back: it needs the same rights.
///
/// # Errors
/// Those of [`provision`].
pub async fn dry_run(url: &str, tables: &[PlannedTable]) -> Result<Vec<Done>, ProvisionError> {
    let mut administrator = Administrator::connect(url).await?;
    let done = prepare_all(&mut administrator, tables).await?;
    administrator.roll_back().await?;
    Ok(done)
}

/// Makes partitions ahead for the tables whose rows are kept for a time, and removes what was kept for long enough. To be called every few
/// minutes, by any number of processes: one of them does it. What was done, of each such table that is there. Never waits for long:
/// rows go to a default partition until it is done.
///
/// # Errors
/// The database cannot be asked. What was done before stays done.
pub async fn keep(
    url: &str,
    tables: &[PlannedTable],
    options: KeepOptions,
) -> Result<Vec<Kept>, ProvisionError> {
    let kept = |table: &&PlannedTable| table.table.retention_ms.is_some();
    let mut tables = tables.iter().filter(kept).peekable();
    if tables.peek().is_none() {
        return Ok(Vec::new());
    }
    let mut administrator = Administrator::connect(url).await?;
    let mut done = Vec::new();
    for table in tables {
        done.extend(upkeep::keep(&mut administrator, table, options).await?);
    }
    Ok(done)
}

/// The tables that a schema has for outputs, as it records them: none where it was never laid out.
///
/// # Errors
/// The database cannot be asked.
pub async fn stored_tables(url: &str, schema: &str) -> Result<Vec<StoredTable>, ProvisionError> {
    let mut administrator = Administrator::connect(url).await?;
    tables::stored(&mut administrator, schema).await
}

/// What was removed of a Pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// The tables that are gone.
    pub tables: Vec<String>,
    /// Those that were spared.
    pub spared: Vec<String>,
}

/// Removes the tables that a schema has for the outputs of a Pipeline (`<namespace>/<name>`), with all rows in them, but for those that are
/// spared, and all that is recorded of any.
///
/// # Errors
/// The database cannot be asked, or refuses; nothing was removed then.
pub async fn remove(
    url: &str,
    schema: &str,
    pipeline: &str,
    is_spared: impl Fn(&str) -> bool,
) -> Result<Removed, ProvisionError> {
    let mut administrator = Administrator::connect(url).await?;
    administrator.begin(&[schema]).await?;
    let removed = removal::remove(&mut administrator, schema, pipeline, is_spared).await?;
    administrator.commit().await?;
    Ok(removed)
}

/// Everything for which [`provision`] would refuse these tables, with the index into `tables`. Changes nothing.
///
/// # Errors
/// The database cannot be asked.
pub async fn obstacles(
    url: &str,
    tables: &[PlannedTable],
) -> Result<Vec<(usize, Refusal)>, ProvisionError> {
    let mut administrator = Administrator::connect(url).await?;
    let (_, refused) = prepare(&mut administrator, tables).await?;
    administrator.roll_back().await?;
    Ok(refused)
}

/// Makes tables in a transaction that is still open; nothing where anything is in the way of one.
async fn prepare_all(
    administrator: &mut Administrator,
    tables: &[PlannedTable],
) -> Result<Vec<Done>, ProvisionError> {
    let (done, refused) = prepare(administrator, tables).await?;
    if refused.is_empty() {
        return Ok(done);
    }
    let refusals = refused.into_iter().map(|(_, refusal)| refusal);
    Err(ProvisionError::Refused(refusals.collect()))
}

/// Makes tables in a transaction that is still open. What was done, and everything that is in the way of a table, by its index.
async fn prepare(
    administrator: &mut Administrator,
    tables: &[PlannedTable],
) -> Result<(Vec<Done>, Vec<(usize, Refusal)>), ProvisionError> {
    let schemas = schemas_of(tables);
    administrator.begin(&schemas).await?;
    for schema in schemas {
        schema::prepare(administrator, schema).await?;
    }
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for (index, table) in tables.iter().enumerate() {
        match tables::prepare(administrator, table).await? {
            Ok(change) => done.push(change),
            Err(refusals) => {
                refused.extend(refusals.into_iter().map(|refusal| (index, refusal)));
            }
        }
    }
    Ok((done, refused))
}

/// What there is to say where everything is as planned; none where something is to be done, or in the way.
async fn as_planned(
    administrator: &mut Administrator,
    tables: &[PlannedTable],
) -> Result<Option<Vec<Done>>, ProvisionError> {
    for schema in schemas_of(tables) {
        if !schema::is_laid_out(administrator, schema).await? {
            return Ok(None);
        }
    }
    let mut done = Vec::new();
    for table in tables {
        match tables::as_planned(administrator, table).await? {
            Some(unchanged) => done.push(unchanged),
            None => return Ok(None),
        }
    }
    Ok(Some(done))
}

fn schemas_of(tables: &[PlannedTable]) -> Vec<&str> {
    let mut schemas: Vec<&str> = tables.iter().map(|t| t.table.schema.as_str()).collect();
    schemas.sort_unstable();
    schemas.dedup();
    schemas
}
