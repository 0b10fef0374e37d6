//! The table of an output.
use sqlx::Row as _;
use tidewheel_planner::{
    plan::Column,
    postgres::{
        Difference, Found, Owner, add_column, column_comment, create_table, inspect,
        layout::{self, TABLES},
        literal, qualified, quoted, shown, table_comment, type_name,
    },
};

use super::{
    Change, Done, PlannedTable, StoredTable,
    connection::{Administrator, unavailable},
    error::{Obstacle, ProvisionError, Refusal},
};

/// Makes a table or adds to it what it lacks, or says what is in the way.
pub(crate) async fn prepare(
    administrator: &mut Administrator,
    planned: &PlannedTable,
) -> Result<Result<Done, Vec<Refusal>>, ProvisionError> {
    let owner = read_owner(administrator, planned).await?;
    let found = read(administrator, planned).await?;
    let recorded = owner.is_some();
    if let Some(refusal) = owner.and_then(|owner| foreign(planned, owner)) {
        return Ok(Err(vec![refusal]));
    }
    if !recorded && let Some(from) = read_other_table(administrator, planned).await? {
        return Ok(Err(vec![moved(planned, from)]));
    }
    let change = match found {
        None if recorded => return Ok(Err(vec![removed(planned)])),
        None => {
            let create = create_table(&planned.table).join(";\n");
            administrator.run(create).await?;
            Change::Created
        }
        Some(found) => {
            let columns = match additions(planned, &found, recorded) {
                Ok(additions) => apply(administrator, planned, additions).await?,
                Err(refusals) => return Ok(Err(refusals)),
            };
            match (recorded, columns.is_empty()) {
                (false, _) => Change::Adopted(columns),
                (true, false) => Change::Changed(columns),
                (true, true) => Change::Unchanged,
            }
        }
    };
    if !recorded {
        record(administrator, planned).await?;
    }
    Ok(Ok(Done {
        table: shown(&planned.table),
        change,
    }))
}

/// What there is to say of a table that is as planned; none where it is not.
pub(crate) async fn as_planned(
    administrator: &mut Administrator,
    planned: &PlannedTable,
) -> Result<Option<Done>, ProvisionError> {
    let owner = read_owner(administrator, planned).await?;
    let is_ours = owner.is_some_and(|owner| foreign(planned, owner).is_none());
    let found = match is_ours {
        true => read(administrator, planned).await?,
        false => None,
    };
    let lacks_nothing = |found: &Found| {
        let additions = additions(planned, found, true);
        additions.is_ok_and(|additions| additions.is_empty())
    };
    Ok(found.filter(lacks_nothing).map(|_| Done {
        table: shown(&planned.table),
        change: Change::Unchanged,
    }))
}

/// What may be done to a table that is there.
enum Addition {
    Column(Column),
    Width { column: String, to: String },
    Key,
}

/// What a table lacks, or everything that is in the way.
fn additions(
    planned: &PlannedTable,
    found: &Found,
    recorded: bool,
) -> Result<Vec<Addition>, Vec<Refusal>> {
    let (mut additions, mut refusals) = (Vec::new(), Vec::new());
    for difference in found.differences(&planned.table) {
        match difference {
            Difference::Missing(column) => additions.push(Addition::Column(column)),
            Difference::Narrow {
                column,
                planned: to,
                ..
            } => additions.push(Addition::Width { column, to }),
            Difference::NoKey { found: None } if !recorded => additions.push(Addition::Key),
            other => refusals.push(differs(planned, other)),
        }
    }
    if found.lacks_partitions(&planned.table) && refusals.is_empty() {
        refusals.push(differs(planned, Difference::NotPartitioned));
    }
    if refusals.is_empty() {
        Ok(additions)
    } else {
        Err(refusals)
    }
}

/// Adds what a table lacks. Names of the columns that are new or wider.
async fn apply(
    administrator: &mut Administrator,
    planned: &PlannedTable,
    additions: Vec<Addition>,
) -> Result<Vec<String>, ProvisionError> {
    let table = &planned.table;
    let mut columns = Vec::new();
    for addition in additions {
        match addition {
            Addition::Column(column) => {
                administrator.run(add_column(table, &column)).await?;
                if let Some(comment) = column_comment(table, &column) {
                    administrator.run(comment).await?;
                }
                columns.push(format!("{} {}", column.name, type_name(column.data_type)));
            }
            Addition::Width { column, to } => {
                let alter = format!(
                    "ALTER TABLE {} ALTER COLUMN {} TYPE {to}",
                    qualified(table),
                    quoted(&column)
                );
                administrator.run(alter).await?;
                columns.push(format!("{column} {to}"));
            }
            Addition::Key => {
                let key: Vec<String> = table.key().iter().map(|name| quoted(name)).collect();
                let alter = format!(
                    "ALTER TABLE {} ADD UNIQUE NULLS NOT DISTINCT ({})",
                    qualified(table),
                    key.join(", ")
                );
                administrator.run(alter).await?;
            }
        }
    }
    Ok(columns)
}

pub(crate) async fn read(
    administrator: &mut Administrator,
    planned: &PlannedTable,
) -> Result<Option<Found>, ProvisionError> {
    let rows = administrator.run(inspect(&planned.table)).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let answer: String = row.try_get(0).map_err(|error| unavailable(&error))?;
    let found = Found::read(&answer);
    found.map(Some).map_err(|error| {
        ProvisionError::Unavailable(format!(
            "what the database says of table `{}` cannot be read: {error}",
            shown(&planned.table)
        ))
    })
}

async fn read_owner(
    administrator: &mut Administrator,
    planned: &PlannedTable,
) -> Result<Option<Owner>, ProvisionError> {
    let query = format!(
        "SELECT pipeline, output, kind FROM {} WHERE name = {}",
        layout::table(&planned.table.schema, TABLES),
        literal(&planned.table.name)
    );
    let rows = administrator.run(query).await?;
    let owner = rows.first().map(|row| {
        Ok(Owner {
            pipeline: row.try_get(0)?,
            output: row.try_get(1)?,
            kind: row.try_get(2)?,
        })
    });
    owner
        .transpose()
        .map_err(|error: sqlx::Error| unavailable(&error))
}

/// The tables that a schema records.
pub(crate) async fn stored(
    administrator: &mut Administrator,
    schema: &str,
) -> Result<Vec<StoredTable>, ProvisionError> {
    let tables = layout::table(schema, TABLES);
    let there = format!(
        "SELECT FROM to_regclass({}) AS t WHERE t IS NOT NULL",
        literal(&tables)
    );
    if administrator.run(there).await?.is_empty() {
        return Ok(Vec::new());
    }
    let query = format!("SELECT pipeline, output, name FROM {tables} ORDER BY name");
    let rows = administrator.run(query).await?;
    let stored = rows.iter().map(|row| {
        Ok(StoredTable {
            pipeline: row.try_get(0)?,
            output: row.try_get(1)?,
            table: row.try_get(2)?,
        })
    });
    stored
        .collect::<Result<_, _>>()
        .map_err(|error: sqlx::Error| unavailable(&error))
}

/// The table of the schema that the output fills so far, where it is another one.
async fn read_other_table(
    administrator: &mut Administrator,
    planned: &PlannedTable,
) -> Result<Option<String>, ProvisionError> {
    let query = format!(
        "SELECT name FROM {} WHERE pipeline = {} AND output = {} ORDER BY name LIMIT 1",
        layout::table(&planned.table.schema, TABLES),
        literal(&planned.pipeline),
        literal(&planned.output)
    );
    let rows = administrator.run(query).await?;
    let name = rows.first().map(|row| row.try_get(0)).transpose();
    name.map_err(|error| unavailable(&error))
}

async fn record(
    administrator: &mut Administrator,
    planned: &PlannedTable,
) -> Result<(), ProvisionError> {
    let PlannedTable {
        pipeline,
        output,
        table,
    } = planned;
    let insert = format!(
        "INSERT INTO {} (name, pipeline, output, kind) VALUES ({}, {}, {}, {}); {}",
        layout::table(&table.schema, TABLES),
        literal(&table.name),
        literal(pipeline),
        literal(output),
        literal(table.kind.name()),
        table_comment(table, pipeline, output)
    );
    administrator.run(insert).await.map(drop)
}

fn foreign(planned: &PlannedTable, owner: Owner) -> Option<Refusal> {
    let name = shown(&planned.table);
    let refusal = |obstacle: Obstacle, message: String| Refusal {
        table: name.clone(),
        column: None,
        obstacle,
        message,
    };
    if (&owner.pipeline, &owner.output) != (&planned.pipeline, &planned.output) {
        let message = format!(
            "table `{name}` holds output `{}` of pipeline `{}`: give this output another table",
            owner.output, owner.pipeline
        );
        let Owner {
            pipeline, output, ..
        } = owner;
        return Some(refusal(Obstacle::OtherOutput { pipeline, output }, message));
    }
    let kind = planned.table.kind.name();
    (owner.kind != kind).then(|| {
        let message = format!(
            "table `{name}` holds {} and would get {kind}: give the output another name",
            owner.kind
        );
        refusal(Obstacle::OtherKind, message)
    })
}

fn moved(planned: &PlannedTable, from: String) -> Refusal {
    let table = shown(&planned.table);
    Refusal {
        message: format!(
            "output `{}` of pipeline `{}` cannot move from the table `{from}` to `{table}`: the rows that it wrote stay behind, and are not written again: give the output another name, or give it `table: {from}` again, or delete what the tables `_tidewheel_*` have of the output to start over",
            planned.output, planned.pipeline
        ),
        table,
        column: None,
        obstacle: Obstacle::Moved { from },
    }
}

fn removed(planned: &PlannedTable) -> Refusal {
    let table = shown(&planned.table);
    Refusal {
        message: format!(
            "table `{table}` was removed, and rows that were in it will not come again: restore it, or delete what the tables `_tidewheel_*` have of the output to start over"
        ),
        table,
        column: None,
        obstacle: Obstacle::Removed,
    }
}

fn differs(planned: &PlannedTable, difference: Difference) -> Refusal {
    let column = match &difference {
        Difference::Missing(column) => Some(column.name.clone()),
        Difference::Type { column, .. }
        | Difference::Narrow { column, .. }
        | Difference::Generated { column }
        | Difference::Demanding { column } => Some(column.clone()),
        Difference::NoTable | Difference::NotPartitioned | Difference::NoKey { .. } => None,
    };
    Refusal {
        table: shown(&planned.table),
        column,
        message: difference.describe(&planned.table),
        obstacle: Obstacle::Differs(difference),
    }
}
