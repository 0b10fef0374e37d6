//! Names of tables and columns in the file.
use tidewheel_planner::plan::Table;

/// The column that identifies a window row.
pub(super) const KEY: &str = "_key";

/// The table's name in the file: that of the table alone in the schema `public`, else `schema.table`.
///
/// Neither part may hold a dot, so two tables never share a name. In SQL it is quoted: `SELECT * FROM "shop.kpi"`.
pub(super) fn table_name(table: &Table) -> Result<String, String> {
    for part in [&table.schema, &table.name] {
        if part.is_empty() || part.contains(['.', '\0']) {
            return Err(format!(
                "`{part}` cannot name a table here: use a name without dots"
            ));
        }
    }
    let name = match table.schema.as_str() {
        "public" => table.name.clone(),
        schema => format!("{schema}.{}", table.name),
    };
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("sqlite_") || lower.starts_with("_tidewheel") {
        return Err(format!(
            "names like `{name}` are reserved: give the output another table"
        ));
    }
    Ok(name)
}

/// Checks that SQLite can tell the columns apart and that ours are there.
pub(super) fn check_columns(table: &Table) -> Result<(), String> {
    let mut seen = vec![KEY.to_owned()];
    for column in &table.columns {
        let lower = column.name.to_ascii_lowercase();
        if seen.contains(&lower) {
            return Err(format!(
                "SQLite cannot tell column `{}` from another one, because it ignores case: rename one with AS",
                column.name
            ));
        }
        seen.push(lower);
    }
    let missing = table
        .key()
        .iter()
        .map(String::as_str)
        .chain(table.kind.position_columns().iter().copied());
    for name in missing {
        if !table.columns.iter().any(|column| column.name == name) {
            return Err(format!("the planned table has no column `{name}`"));
        }
    }
    Ok(())
}

/// A name as SQL takes it, whatever it holds.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
