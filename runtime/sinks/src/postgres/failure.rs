//! What failures of a database mean.
use std::{fmt, time::Duration};

use sqlx::postgres::PgDatabaseError;

use crate::SinkError;

/// What PostgreSQL says of a row for which a table has no partition, and of one that breaks a CHECK constraint, which it names then.
const NO_PARTITION: &str = "23514";

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// What was found where something else was expected.
    Fenced(String),
    /// What a person has to do.
    Misfit(String),
    /// No connection came about.
    Connect(sqlx::Error),
    /// The database or the way to it failed.
    Sql(sqlx::Error),
    /// No answer came for that long.
    Silent(Duration),
}

impl Failure {
    /// The error of an output.
    pub(super) fn of(self, output: &str) -> SinkError {
        let output = output.to_owned();
        match self {
            Self::Fenced(found) => SinkError::Fenced { output, found },
            Self::Misfit(reason) => SinkError::Misfit { output, reason },
            other => SinkError::Unavailable {
                output,
                reason: other.to_string(),
            },
        }
    }

    /// Why a row was refused for its data, where this is such a failure: SQLSTATE classes 22 (data exception) and
    /// 23 (integrity constraint violation), and 54000, a value that is too long for an index. A row whose partition is not there breaks
    /// no constraint: it is the table that lacks something.
    pub(super) fn refusal(&self) -> Option<String> {
        let error = self.database_error()?;
        let code = error.code();
        let lacks_partition = code == NO_PARTITION && error.constraint().is_none();
        if lacks_partition {
            return None;
        }
        if !code.starts_with("22") && !code.starts_with("23") && code != "54000" {
            return None;
        }
        let detail = error.detail().map(|detail| format!(": {detail}"));
        Some(format!(
            "{}{} (SQLSTATE {code})",
            error.message(),
            detail.unwrap_or_default()
        ))
    }

    /// Whether the table or its columns may be other than planned: SQLSTATE class 42.
    pub(super) fn doubts_the_table(&self) -> bool {
        self.database_error()
            .is_some_and(|error| error.code().starts_with("42"))
    }

    fn database_error(&self) -> Option<&PgDatabaseError> {
        match self {
            Self::Sql(error) | Self::Connect(error) => error
                .as_database_error()?
                .try_downcast_ref::<PgDatabaseError>(),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced(text) | Self::Misfit(text) => f.write_str(text),
            Self::Silent(patience) => {
                write!(f, "no answer within {} s", patience.as_secs_f64())
            }
            Self::Connect(error) | Self::Sql(error) => match self.database_error() {
                None => write!(f, "{error}"),
                Some(error) => {
                    let (message, code) = (error.message(), error.code());
                    write!(f, "{message} (SQLSTATE {code})")?;
                    advice(code).map_or(Ok(()), |advice| write!(f, ": {advice}"))
                }
            },
        }
    }
}

/// What to do about an error that does not go away by itself, or what it means where its text does not say.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        NO_PARTITION => "give the table the partition that it lacks, or a DEFAULT one",
        "25006" | "0A000" => "this is a standby, or it was made read-only; it is tried again",
        "25P03" => "the transaction was left open too long; it is tried again",
        "28P01" | "28000" => "check user and password in the connection URL",
        "3D000" => "make the database, or correct its name in the connection URL",
        "40P01" | "40001" => "it is tried again",
        "42501" => "grant the role what it lacks",
        "53100" => "make room on the disk of the database",
        "53300" => "raise max_connections, or use a pooler",
        "55P03" => "another session holds a lock on the table; it is tried again",
        "57014" => "the statement took too long, or somebody cancelled it; it is tried again",
        _ => return None,
    })
}
