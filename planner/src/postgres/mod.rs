//! How tables look in PostgreSQL: one description for who makes them and for who writes them.
//!
//! Everything here is text. [`layout`] has the tables of ours, which hold progress beside the data; [`create_table`] is a table of an output;
//! [`inspect`] is the question what a database has, and [`Found`] the answer, which is compared with the plan.
//!
//! ```
//! use tidewheel_planner::plan::{Column, ColumnType, Table, TableKind};
//! use tidewheel_planner::postgres;
//!
//! let column = |name: &str, data_type| Column { name: name.to_owned(), data_type, nullable: true };
//! let table = Table {
//!     schema: "shop".into(),
//!     name: "kpi".into(),
//!     columns: vec![column("page", ColumnType::Text), column("window_start", ColumnType::Timestamp)],
//!     kind: TableKind::Windows { key: vec!["window_start".into(), "page".into()] },
//!     retention_ms: None,
//! };
//! assert_eq!(
//!     postgres::create_table(&table)[0],
//!     "CREATE TABLE shop.kpi (\n    page text,\n    window_start timestamp with time zone,\n    UNIQUE NULLS NOT DISTINCT (window_start, page)\n)"
//! );
//! ```
mod create;
mod found;
pub mod layout;
pub mod partitions;
mod quote;
mod url;

use std::borrow::Cow;

pub use self::create::{add_column, column_comment, create_table, table_comment};
pub use self::found::{Difference, Found, FoundColumn, Owner, inspect};
pub use self::quote::{literal, quoted};
pub use self::url::{CheckedUrl, InvalidUrl, check_url};
use crate::plan::{ColumnType, Table};

/// The oldest version that is supported, as `server_version_num` has it: unique indexes have NULLS NOT DISTINCT since 15.
pub const OLDEST_VERSION: u32 = 150_000;

/// The type of a column, spelled as PostgreSQL's `format_type` does.
#[must_use]
pub fn type_name(data_type: ColumnType) -> Cow<'static, str> {
    Cow::Borrowed(match data_type {
        ColumnType::Text => "text",
        ColumnType::Bigint => "bigint",
        ColumnType::Double => "double precision",
        ColumnType::Boolean => "boolean",
        ColumnType::Timestamp => "timestamp with time zone",
        ColumnType::Uuid => "uuid",
        ColumnType::Json => "jsonb",
        ColumnType::Date => "date",
        ColumnType::Numeric { precision, scale } => {
            return Cow::Owned(format!("numeric({precision},{scale})"));
        }
    })
}

/// The table as SQL refers to it.
#[must_use]
pub fn qualified(table: &Table) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}

/// The table as messages refer to it: with its schema, unless that is `public`.
#[must_use]
pub fn shown(table: &Table) -> String {
    match table.schema.as_str() {
        "public" => table.name.clone(),
        schema => format!("{schema}.{}", table.name),
    }
}
