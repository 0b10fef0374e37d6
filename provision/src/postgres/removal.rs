//! Removing the tables of outputs.
use tidewheel_planner::postgres::{
    layout::{self, GENERATIONS, PROGRESS, REFUSALS, TABLES},
    literal,
};

use super::{Removed, connection::Administrator, error::ProvisionError, tables};

/// Removes the tables of a pipeline that are not spared, and what is recorded of all, in a transaction that is open.
pub(crate) async fn remove(
    administrator: &mut Administrator,
    schema: &str,
    pipeline: &str,
    is_spared: impl Fn(&str) -> bool,
) -> Result<Removed, ProvisionError> {
    let stored = tables::stored(administrator, schema).await?;
    let mut removed = Removed::default();
    for table in stored.iter().filter(|table| table.pipeline == pipeline) {
        if is_spared(&table.table) {
            removed.spared.push(table.table.clone());
        } else {
            let drop = format!(
                "DROP TABLE IF EXISTS {}",
                layout::table(schema, &table.table)
            );
            administrator.run(drop).await?;
            removed.tables.push(table.table.clone());
        }
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
    }
    Ok(removed)
}
