//! What a database has, and how it differs from the plan.
use serde::Deserialize;

use super::partitions::partition_key;
use super::{literal, qualified, quoted, shown, type_name};
use crate::plan::{Column, ColumnType, Table, TableKind};

/// The query that describes a table: one row of one text, JSON that [`Found`] reads, or no row where there is no such table.
#[must_use]
pub fn inspect(table: &Table) -> String {
    format!(
        "SELECT jsonb_build_object(
    'kind', c.relkind,
    'partitioned_by', pg_get_partkeydef(c.oid),
    'columns', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'name', a.attname,
            'type', format_type(a.atttypid, a.atttypmod),
            'not_null', a.attnotnull,
            'has_default', a.atthasdef OR a.attidentity <> '',
            'generated', a.attgenerated <> '' OR a.attidentity = 'a') ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
    'keys', coalesce((
        SELECT jsonb_agg((
            SELECT jsonb_agg(a.attname ORDER BY k.place)
            FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
            WHERE k.place <= i.indnkeyatts))
        FROM pg_index i
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
            AND i.indpred IS NULL AND i.indexprs IS NULL
            AND (i.indnullsnotdistinct OR i.indisprimary)), '[]'))::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = {} AND c.relname = {}",
        literal(&table.schema),
        literal(&table.name)
    )
}

/// A table as a database has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// `r` for a table, `p` for one in partitions, anything else for what is none.
    pub kind: String,
    /// The columns that a table in partitions is parted by, as PostgreSQL spells it: `RANGE (window_start)`.
    pub partitioned_by: Option<String>,
    /// Its columns, in their order.
    pub columns: Vec<FoundColumn>,
    /// The columns of each unique index in which NULLs are equal.
    pub keys: Vec<Vec<String>>,
}

/// A column as a database has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FoundColumn {
    /// Its name.
    pub name: String,
    /// Its type, as PostgreSQL's `format_type` spells it.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Whether it has a value where none is given.
    pub has_default: bool,
    /// Whether no value may be given.
    pub generated: bool,
}

/// The output that fills a table, as [`TABLES`](super::layout::TABLES) has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `<namespace>/<name>` of the Pipeline.
    pub pipeline: String,
    /// Name of the output.
    pub output: String,
    /// [`TableKind::name`] of its rows.
    pub kind: String,
}

/// How a table differs from the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It is no table but a view, an index or the like.
    NoTable,
    /// A planned column is not there.
    Missing(Column),
    /// A column has another type.
    Type {
        /// The column.
        column: String,
        /// The type that it has.
        found: String,
        /// The type that is planned.
        planned: String,
    },
    /// A numeric column has room for fewer digits than planned, and as many after the point.
    Narrow {
        /// The column.
        column: String,
        /// The type that it has.
        found: String,
        /// The type that is planned.
        planned: String,
    },
    /// A planned column computes its values itself.
    Generated {
        /// The column.
        column: String,
    },
    /// A column that is not planned demands a value.
    Demanding {
        /// The column.
        column: String,
    },
    /// It is not in partitions by the age of its rows, and rows are to be kept for a time only.
    NotPartitioned,
    /// No unique index with NULLS NOT DISTINCT has the columns of the key.
    NoKey {
        /// The columns of one that there is.
        found: Option<Vec<String>>,
    },
}

impl Difference {
    /// What is wrong with `table` and what to do, in a sentence for people.
    #[must_use]
    pub fn describe(&self, table: &Table) -> String {
        let name = shown(table);
        match self {
            Self::NoTable => format!(
                "`{name}` exists and is no table: give the output another `table`, or rename that"
            ),
            Self::Missing(column) => format!(
                "table `{name}` has no column `{}` yet: bring the tables up to date before the pipeline starts",
                column.name
            ),
            Self::Type {
                column,
                found,
                planned,
            }
            | Self::Narrow {
                column,
                found,
                planned,
            } => format!(
                "column `{column}` of table `{name}` holds {found} and would get {planned}: give the column another name with AS, or the output another name"
            ),
            Self::Generated { column } => format!(
                "column `{column}` of table `{name}` computes its values itself: give the column another name with AS, or the output another name"
            ),
            Self::Demanding { column } => format!(
                "column `{column}` of table `{name}` demands a value and is given none: ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL",
                qualified(table),
                quoted(column)
            ),
            Self::NotPartitioned => format!(
                "table `{name}` keeps rows for ever, and a retention needs one that is made in partitions: give the output another name, or leave `retention` out and delete old rows yourself"
            ),
            Self::NoKey { found: Some(found) } => format!(
                "rows of table `{name}` are identified by ({}) and would be by ({}): give the output another name",
                found.join(", "),
                table.key().join(", ")
            ),
            Self::NoKey { found: None } => {
                let key: Vec<String> = table.key().iter().map(|name| quoted(name)).collect();
                format!(
                    "nothing keeps rows of table `{name}` apart by ({key}): ALTER TABLE {} ADD UNIQUE NULLS NOT DISTINCT ({key}), or give the output another name",
                    qualified(table),
                    key = key.join(", ")
                )
            }
        }
    }
}

impl Found {
    /// Reads the answer to [`inspect`].
    ///
    /// # Errors
    /// Says what is not as expected, which would be a mistake in the question.
    pub fn read(answer: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(answer)
    }

    /// Whether old rows can be dropped as the plan says. It can be written either way.
    #[must_use]
    pub fn lacks_partitions(&self, table: &Table) -> bool {
        table.retention_ms.is_some() && self.partitioned_by.as_ref() != Some(&partition_key(table))
    }

    /// Everything in which the table differs from what the plan writes.
    #[must_use]
    pub fn differences(&self, table: &Table) -> Vec<Difference> {
        if !matches!(self.kind.as_str(), "r" | "p") {
            return vec![Difference::NoTable];
        }
        let planned = table
            .columns
            .iter()
            .filter_map(|column| self.difference(column));
        let unplanned = self.columns.iter().filter(|found| {
            let planned = table
                .columns
                .iter()
                .any(|planned| planned.name == found.name);
            !planned && found.not_null && !found.has_default && !found.generated
        });
        let demanding = unplanned.map(|found| Difference::Demanding {
            column: found.name.clone(),
        });
        let no_key = (!self.has_key(table)).then(|| Difference::NoKey {
            found: self.keys.first().cloned(),
        });
        planned.chain(demanding).chain(no_key).collect()
    }

    fn difference(&self, planned: &Column) -> Option<Difference> {
        let column = planned.name.clone();
        let Some(found) = self.columns.iter().find(|found| found.name == column) else {
            return Some(Difference::Missing(planned.clone()));
        };
        if found.generated {
            return Some(Difference::Generated { column });
        }
        match fits(&found.type_name, planned.data_type) {
            Fit::Fits => None,
            Fit::Narrow => Some(Difference::Narrow {
                column,
                found: found.type_name.clone(),
                planned: type_name(planned.data_type).into_owned(),
            }),
            Fit::Other => Some(Difference::Type {
                column,
                found: found.type_name.clone(),
                planned: type_name(planned.data_type).into_owned(),
            }),
        }
    }

    fn has_key(&self, table: &Table) -> bool {
        let TableKind::Windows { .. } = table.kind else {
            return true;
        };
        let planned = sorted(table.key());
        self.keys.iter().any(|found| sorted(found) == planned)
    }
}

fn sorted(names: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// How a type takes values of another.
enum Fit {
    Fits,
    Narrow,
    Other,
}

fn fits(found: &str, planned: ColumnType) -> Fit {
    if found == type_name(planned) {
        return Fit::Fits;
    }
    let ColumnType::Numeric { precision, scale } = planned else {
        return Fit::Other;
    };
    if found == "numeric" {
        return Fit::Fits;
    }
    let digits = found
        .strip_prefix("numeric(")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|rest| rest.split_once(','));
    let digits = digits.and_then(|(precision, scale)| {
        Some((precision.parse::<u32>().ok()?, scale.parse::<i32>().ok()?))
    });
    match digits {
        Some((found, digits)) if digits == i32::from(scale) => {
            if found >= u32::from(precision) {
                Fit::Fits
            } else {
                Fit::Narrow
            }
        }
        _ => Fit::Other,
    }
}
