//! What making tables can fail with.
use std::fmt;

use tidewheel_planner::postgres::{Difference, InvalidUrl};

/// What making tables can fail with.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The URL is none of a PostgreSQL database.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// The database cannot be reached, or refused for now; nothing was changed.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The database is too old, or laid out by a newer build.
    #[error("{0}")]
    Unsuitable(String),
    /// What is there stands in the way of what is planned; nothing was changed.
    #[error("{}", Lines(.0))]
    Refused(Vec<Refusal>),
}

/// A table that cannot become what is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The table, with its schema unless that is `public`.
    pub table: String,
    /// The column that is in the way, where one is.
    pub column: Option<String>,
    /// What is in the way.
    pub obstacle: Obstacle,
    /// That, and what to do, for people.
    pub message: String,
}

/// What is in the way of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The table differs from the plan in what cannot be changed without losing data.
    Differs(Difference),
    /// Another output fills it.
    OtherOutput {
        /// `<namespace>/<name>` of that one's Pipeline.
        pipeline: String,
        /// Its name.
        output: String,
    },
    /// It holds windows where rows are planned, or rows where windows are.
    OtherKind,
    /// The output fills another table of the schema.
    Moved {
        /// Its name.
        from: String,
    },
    /// It was made once, and somebody removed it.
    Removed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

struct Lines<'a>(&'a [Refusal]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{refusal}")?;
        }
        Ok(())
    }
}
