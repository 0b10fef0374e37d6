//! A schema and the tables of ours in it.
use sqlx::Row as _;
use tidewheel_planner::postgres::{
    layout::{self, VERSIONS},
    literal, quoted,
};

use super::{
    connection::{Administrator, unavailable},
    error::ProvisionError,
};

/// Makes a schema and lays it out, where that is not done.
pub(crate) async fn prepare(
    administrator: &mut Administrator,
    schema: &str,
) -> Result<(), ProvisionError> {
    // Asked first, because whoever may not make a schema may not say IF NOT EXISTS either.
    let there = format!(
        "SELECT FROM pg_namespace WHERE nspname = {}",
        literal(schema)
    );
    if administrator.run(there).await?.is_empty() {
        let create = format!("CREATE SCHEMA {}", quoted(schema));
        administrator.run(create).await?;
    }
    if !has_layout(administrator, schema).await? {
        let create = layout::create(schema).join(";\n");
        administrator.run(create).await?;
    }
    check_layout(administrator, schema).await
}

/// Whether a schema is there and laid out.
pub(crate) async fn is_laid_out(
    administrator: &mut Administrator,
    schema: &str,
) -> Result<bool, ProvisionError> {
    let is_there = has_layout(administrator, schema).await?;
    if is_there {
        check_layout(administrator, schema).await?;
    }
    Ok(is_there)
}

async fn has_layout(
    administrator: &mut Administrator,
    schema: &str,
) -> Result<bool, ProvisionError> {
    let there = format!(
        "SELECT FROM to_regclass({}) AS t WHERE t IS NOT NULL",
        literal(&layout::table(schema, VERSIONS))
    );
    let rows = administrator.run(there).await?;
    Ok(!rows.is_empty())
}

/// Refuses what another build has laid out.
async fn check_layout(
    administrator: &mut Administrator,
    schema: &str,
) -> Result<(), ProvisionError> {
    let versions = layout::table(schema, VERSIONS);
    let rows = administrator
        .run(format!("SELECT version FROM {versions}"))
        .await?;
    let version = rows.first().map(|row| row.try_get(0)).transpose();
    match version.map_err(|error| unavailable(&error))? {
        Some(layout::VERSION) => Ok(()),
        version => Err(ProvisionError::Unsuitable(format!(
            "the tables `_tidewheel_*` of schema `{schema}` have layout {} and this build knows {}: use the newer tidewheel, or another schema",
            version.map_or_else(|| "none".to_owned(), |version: i32| version.to_string()),
            layout::VERSION
        ))),
    }
}
