//! Removing the tables of outputs.
use tidewheel_planner::postgres::{
    layout::{self, GENERATIONS, PROGRESS, REFUSALS, TABLES},
    literal,
};

use super::{connection::Administrator, error::ProvisionError, tables};

/// Removes the tables of a pipeline, and what is recorded of them, in a transaction that is open. Their names.
pub(crate) async fn remove(
    administrator: &mut Administrator,
    schema: &str,
    pipeline: &str,
) -> Result<Vec<String>, ProvisionError> {
    let stored = tables::stored(administrator, schema).await?;
    let mut removed = Vec::new();
    for table in stored.iter().filter(|table| table.pipeline == pipeline) {
        let drop = format!(
            "DROP TABLE IF EXISTS {}",
            layout::table(schema, &table.table)
        );
        administrator.run(drop).await?;
        for recorded in [GENERATIONS, PROGRESS, REFUSALS] {
            let delete = format!(
                "DELETE FROM {} WHERE pipeline = {} AND output = {}",
                layout::table(schema, recorded),
                literal(&table.pipeline),
                literal(&table.output)
            );
            administrator.run(delete).await?;
        }
        let delete = format!(
            "DELETE FROM {} WHERE name = {}",
            layout::table(schema, TABLES),
            literal(&table.table)
        );
        administrator.run(delete).await?;
        removed.push(table.table.clone());
    }
    Ok(removed)
}
