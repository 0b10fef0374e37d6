//! Whether a table is as planned.
use sqlx::Row as _;
use tidewheel_planner::{
    plan::Table,
    postgres::{
        Found, OLDEST_VERSION, inspect,
        layout::{self, TABLES, VERSIONS},
        literal, shown,
    },
};

use super::{connection::Session, failure::Failure};
use crate::OutputId;

/// Checks the layout of the schema, whose output the table is, and its columns.
pub(super) async fn check(
    session: &mut Session<'_>,
    output: &OutputId,
    table: &Table,
) -> Result<(), Failure> {
    check_layout(session, table).await?;
    check_owner(session, output, table).await?;
    check_columns(session, table).await
}

/// Checks the table's columns.
pub(super) async fn check_columns(session: &mut Session<'_>, table: &Table) -> Result<(), Failure> {
    let Some(found) = read(session, table).await? else {
        return Err(Failure::Misfit(format!(
            "table `{}` was removed, and rows that were in it will not come again: restore it, or delete what the tables `_tidewheel_*` have of the output to start over",
            shown(table)
        )));
    };
    match found.differences(table).first() {
        Some(difference) => Err(Failure::Misfit(difference.describe(table))),
        None => Ok(()),
    }
}

async fn check_layout(session: &mut Session<'_>, table: &Table) -> Result<(), Failure> {
    if let Some(version) = session.version()
        && version < OLDEST_VERSION
    {
        return Err(Failure::Misfit(format!(
            "PostgreSQL {} or newer is needed, and this is {}: upgrade the database",
            OLDEST_VERSION / 10_000,
            version / 10_000
        )));
    }
    let versions = layout::table(&table.schema, VERSIONS);
    let there = session
        .run(format!(
            "SELECT to_regclass({}) IS NOT NULL",
            literal(&versions)
        ))
        .await?;
    let there = there.first().map(|row| row.try_get(0)).transpose();
    if !there.map_err(Failure::Sql)?.unwrap_or(false) {
        return Err(not_created(table));
    }
    let version = session
        .run(format!("SELECT version FROM {versions}"))
        .await?;
    let version = version.first().map(|row| row.try_get(0)).transpose();
    match version.map_err(Failure::Sql)? {
        Some(layout::VERSION) => Ok(()),
        Some(version) => Err(Failure::Misfit(format!(
            "the tables `_tidewheel_*` of schema `{}` have layout {version} and this build knows {}: use the newer tidewheel, or another schema",
            table.schema,
            layout::VERSION
        ))),
        None => Err(not_created(table)),
    }
}

async fn check_owner(
    session: &mut Session<'_>,
    output: &OutputId,
    table: &Table,
) -> Result<(), Failure> {
    let query = format!(
        "SELECT pipeline, output, kind FROM {} WHERE name = {}",
        layout::table(&table.schema, TABLES),
        literal(&table.name)
    );
    let rows = session.run(query).await?;
    let Some(row) = rows.first() else {
        return Err(not_created(table));
    };
    let text = |column: usize| row.try_get::<String, _>(column).map_err(Failure::Sql);
    let (pipeline, name, kind) = (text(0)?, text(1)?, text(2)?);
    if (&pipeline, &name) != (&output.pipeline, &output.output) {
        return Err(Failure::Misfit(format!(
            "table `{}` holds output `{name}` of pipeline `{pipeline}`: give this output another table",
            shown(table)
        )));
    }
    if kind != table.kind.name() {
        return Err(Failure::Misfit(format!(
            "table `{}` holds {kind} and would get {}: give the output another name",
            shown(table),
            table.kind.name()
        )));
    }
    Ok(())
}

async fn read(session: &mut Session<'_>, table: &Table) -> Result<Option<Found>, Failure> {
    let rows = session.run(inspect(table)).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let answer: String = row.try_get(0).map_err(Failure::Sql)?;
    let found = Found::read(&answer);
    found.map(Some).map_err(|error| {
        Failure::Misfit(format!(
            "what the database says of table `{}` cannot be read: {error}",
            shown(table)
        ))
    })
}

fn not_created(table: &Table) -> Failure {
    Failure::Misfit(format!(
        "table `{}` was not created yet: create the tables before the pipeline starts",
        shown(table)
    ))
}
