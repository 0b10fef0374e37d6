//! A connection that changes a database.
use std::{collections::BTreeSet, str::FromStr as _, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgDatabaseError, PgRow, PgSslMode},
};
use tidewheel_planner::postgres::{InvalidUrl, OLDEST_VERSION, check_url, literal};

use super::{error::ProvisionError, turns::Turn};

const CONNECTS_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait for the lock of a table: while somebody waits, writers wait behind.
const LOCK_TIMEOUT_MS: u32 = 5_000;
/// How long to wait for another administrator of the schema, behind whom nobody waits who writes.
const TURN_TIMEOUT_MS: u32 = 30_000;
/// How long a statement may take that only looks.
const LOOK_TIMEOUT_MS: u32 = 10_000;
/// How long everything may take that only looks, where the database does not even say that it takes too long.
const LOOKS_WITHIN: Duration = Duration::from_secs(20);
/// How long upkeep waits for a lock: readers and writers wait behind it, and it can be done later as well.
const UPKEEP_LOCK_TIMEOUT_MS: u32 = 1_000;
/// How long a statement of upkeep may take, since it may hold a lock meanwhile.
const UPKEEP_STATEMENT_TIMEOUT_MS: u32 = 30_000;

/// A connection that changes a database. Where it is dropped in a transaction, nothing was changed.
pub(crate) struct Administrator {
    connection: PgConnection,
    turn: Turn,
}

impl Administrator {
    pub(crate) async fn connect(url: &str) -> Result<Self, ProvisionError> {
        let checked = check_url(url)?;
        let mut options = PgConnectOptions::from_str(url).map_err(|_| InvalidUrl::Malformed)?;
        if checked.verify_ca {
            options = options.ssl_mode(PgSslMode::VerifyCa);
        }
        let options = options
            .extra_float_digits(None)
            .statement_cache_capacity(0)
            .disable_statement_logging();
        let turn = Turn::wait(&options).await?;
        let connecting = tokio::time::timeout(CONNECTS_WITHIN, options.connect()).await;
        let connection = connecting
            .map_err(|_| silent(&turn, CONNECTS_WITHIN))?
            .map_err(|error| unavailable(&error))?;
        match connection.server_version_num() {
            Some(version) if version < OLDEST_VERSION => {
                let (needed, found) = (OLDEST_VERSION / 10_000, version / 10_000);
                Err(ProvisionError::Unsuitable(format!(
                    "PostgreSQL {needed} or newer is needed, and this is {found}: upgrade the database"
                )))
            }
            _ => Ok(Self { connection, turn }),
        }
    }

    /// Begins a transaction that changes these schemas, in which only one administrator of each is at a time.
    pub(crate) async fn begin(&mut self, schemas: &[&str]) -> Result<(), ProvisionError> {
        // In one order, so that no two wait for each other.
        let schemas: BTreeSet<&str> = schemas.iter().copied().collect();
        let turns = schemas.into_iter().map(|schema| {
            let schema = literal(schema);
            format!("SELECT pg_advisory_xact_lock(hashtext('tidewheel'), hashtext({schema})); ")
        });
        let turns: String = turns.collect();
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL client_min_messages = warning; \
             SET LOCAL lock_timeout = {TURN_TIMEOUT_MS}; {turns}SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"
        );
        self.run(begin).await.map(drop)
    }

    /// Does what only looks, in a transaction of its own, and waits for nobody.
    pub(crate) async fn look<T>(
        &mut self,
        look: impl AsyncFnOnce(&mut Self) -> Result<T, ProvisionError>,
    ) -> Result<T, ProvisionError> {
        let looking = async {
            let begin = format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {LOOK_TIMEOUT_MS}; \
                 SET LOCAL client_min_messages = warning"
            );
            self.run(begin).await?;
            let seen = look(self).await?;
            self.roll_back().await?;
            Ok(seen)
        };
        let looked = tokio::time::timeout(LOOKS_WITHIN, looking).await;
        looked.unwrap_or_else(|_| Err(silent(&self.turn, LOOKS_WITHIN)))
    }

    /// Begins a transaction of upkeep, which gives up rather than keep others waiting; whether no other process has the advisory lock
    /// `lock`, a pair of numbers in SQL.
    pub(crate) async fn begin_upkeep(&mut self, lock: &str) -> Result<bool, ProvisionError> {
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {UPKEEP_LOCK_TIMEOUT_MS}; \
             SET LOCAL statement_timeout = {UPKEEP_STATEMENT_TIMEOUT_MS}; SET LOCAL client_min_messages = warning; \
             SELECT pg_try_advisory_xact_lock({lock})"
        );
        let rows = self.run(begin).await?;
        let has = rows.first().map(|row| row.try_get(0)).transpose();
        has.map(|has| has.unwrap_or(false))
            .map_err(|error| unavailable(&error))
    }

    pub(crate) async fn commit(&mut self) -> Result<(), ProvisionError> {
        self.run("COMMIT".to_owned()).await.map(drop)
    }

    pub(crate) async fn roll_back(&mut self) -> Result<(), ProvisionError> {
        self.run("ROLLBACK".to_owned()).await.map(drop)
    }

    /// Runs statements and returns their rows.
    pub(crate) async fn run(&mut self, sql: String) -> Result<Vec<PgRow>, ProvisionError> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut self.connection);
        rows.await.map_err(|error| unavailable(&error))
    }
}

/// There was no answer in time: others need not wait for it as well.
fn silent(turn: &Turn, within: Duration) -> ProvisionError {
    turn.was_silent();
    let seconds = within.as_secs();
    ProvisionError::Unavailable(format!("no answer within {seconds} s"))
}

/// What a failure of the database says, without any secret.
pub(crate) fn unavailable(error: &sqlx::Error) -> ProvisionError {
    let database = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    ProvisionError::Unavailable(match database {
        None => error.to_string(),
        Some(error) => {
            let advice = match error.code() {
                "28P01" | "28000" => ": check user and password in the connection URL",
                "3D000" => ": make the database, or correct its name in the connection URL",
                "42501" => ": grant the role what it lacks, or let its owner make the tables",
                "57014" => {
                    ": the statement took too long: raise the role's statement_timeout while tables are made"
                }
                "53100" => ": make room on the disk of the database",
                "53300" => ": allow the role and the database more connections",
                "55P03" => ": another session holds a lock; try again",
                _ => "",
            };
            format!("{} (SQLSTATE {}){advice}", error.message(), error.code())
        }
    })
}
