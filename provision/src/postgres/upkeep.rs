//! Keeping rows for as long as an output says, and no longer.
//!
//! Everything is done in small transactions that wait for nobody for long: where somebody stands in the way, it is left for the next time,
//! and rows go to the default partition meanwhile.
use std::fmt;

use sqlx::Row as _;
use tidewheel_planner::plan::Table;
use tidewheel_planner::postgres::partitions::{
    self, FoundPartition, Partition, create_default, create_partition, expired, inspect_partitions,
    missing, too_old,
};
use tidewheel_planner::postgres::{Difference, literal, qualified, shown};

use super::{
    PlannedTable,
    connection::{Administrator, unavailable},
    error::ProvisionError,
    tables,
};

/// Rows that are deleted at a time: who amends one of them waits for so many.
const ROWS_AT_ONCE: u64 = 10_000;

/// How tables are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepOptions {
    /// What time it is, ms since the epoch; the database's own clock says it where this does not.
    pub now_ms: Option<i64>,
    /// Whether only what would be done is found, and nothing is done.
    pub dry_run: bool,
}

/// What was done so that the rows of a table are kept for as long as they should be, and no longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The table, with its schema unless that is `public`.
    pub table: String,
    /// Partitions that were made, the newest first.
    pub made: Vec<String>,
    /// Partitions whose rows had been kept for long enough, and that were dropped, the oldest first.
    pub dropped: Vec<String>,
    /// Rows that had been kept for long enough and fitted no such partition, and were deleted.
    pub deleted: u64,
    /// What could not be done now, and why: it is tried again the next time.
    pub postponed: Option<String>,
    /// Whether another process is at it.
    pub elsewhere: bool,
}

impl Kept {
    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        !self.has_done() && self.is_done()
    }

    /// Whether something was done.
    #[must_use]
    pub fn has_done(&self) -> bool {
        !self.made.is_empty() || !self.dropped.is_empty() || self.deleted > 0
    }

    /// Whether everything is as it should be now.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.postponed.is_none() && !self.elsewhere
    }

    /// What would be done, where it was not.
    #[must_use]
    pub fn planned(&self) -> impl fmt::Display {
        Said {
            kept: self,
            words: ["would make", "would drop", "would delete"],
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = Said {
            kept: self,
            words: ["made", "dropped", "deleted"],
        };
        said.fmt(f)
    }
}

/// What was done, and the words for making, dropping and deleting.
struct Said<'a> {
    kept: &'a Kept,
    words: [&'static str; 3],
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([made, dropped, deleted], kept) = (self.words, self.kept);
        let mut parts = Vec::new();
        match kept.made.len() {
            0 => {}
            1 => parts.push(format!("{made} 1 partition")),
            count => parts.push(format!("{made} {count} partitions")),
        }
        if !kept.dropped.is_empty() {
            parts.push(format!("{dropped} {}", kept.dropped.join(", ")));
        }
        match kept.deleted {
            0 => {}
            1 => parts.push(format!("{deleted} 1 old row")),
            count => parts.push(format!("{deleted} {count} old rows")),
        }
        if kept.elsewhere {
            parts.push("another process is at it".to_owned());
        }
        if let Some(reason) = &kept.postponed {
            parts.push(format!("put off: {reason}"));
        }
        write!(f, "table `{}`: {}", kept.table, parts.join("; "))
    }
}

/// Makes partitions ahead, and removes what was kept for long enough; none where the table is not there or keeps its rows for ever.
pub(crate) async fn keep(
    administrator: &mut Administrator,
    planned: &PlannedTable,
    options: KeepOptions,
) -> Result<Option<Kept>, ProvisionError> {
    let table = &planned.table;
    let Some(retention_ms) = table.retention_ms else {
        return Ok(None);
    };
    let Some(found) = tables::read(administrator, planned).await? else {
        return Ok(None);
    };
    let mut kept = Kept {
        table: shown(table),
        ..Kept::default()
    };
    if found.lacks_partitions(table) {
        kept.postponed = Some(Difference::NotPartitioned.describe(table));
        return Ok(Some(kept));
    }
    let columns = found.columns.iter().filter(|column| !column.generated);
    let upkeep = Upkeep {
        table,
        retention_ms,
        now_ms: options.now_ms,
        columns: columns.map(|column| column.name.clone()).collect(),
    };
    let work = upkeep.look(administrator).await?;
    if options.dry_run {
        upkeep.foresee(administrator, work, &mut kept).await?;
        return Ok(Some(kept));
    }
    for phase in work.phases() {
        upkeep.run(administrator, phase, &mut kept).await?;
        if kept.elsewhere {
            break;
        }
    }
    Ok(Some(kept))
}

/// The upkeep of a table.
struct Upkeep<'a> {
    table: &'a Table,
    retention_ms: u64,
    now_ms: Option<i64>,
    /// The columns that have values to be moved.
    columns: Vec<String>,
}

/// What there is to do.
struct Work {
    /// As SQL refers to it.
    default: Option<String>,
    /// Whether the default partition has rows that were kept for long enough.
    has_old: bool,
    missing: Vec<Partition>,
    expired: Vec<String>,
    now_ms: i64,
}

/// What is done together.
#[derive(Clone, Copy)]
enum Phase {
    MakeDefault,
    /// Before partitions are made: then the default one is looked through for what belongs there.
    Delete,
    Make,
    Drop,
}

impl Work {
    fn phases(&self) -> Vec<Phase> {
        let phases = [
            (self.default.is_none(), Phase::MakeDefault),
            (self.has_old, Phase::Delete),
            (!self.missing.is_empty(), Phase::Make),
            (!self.expired.is_empty(), Phase::Drop),
        ];
        let due = phases.into_iter().filter(|(is_due, _)| *is_due);
        due.map(|(_, phase)| phase).collect()
    }
}

impl Upkeep<'_> {
    /// What there is to do now.
    async fn look(&self, administrator: &mut Administrator) -> Result<Work, ProvisionError> {
        let rows = administrator.run(inspect_partitions(self.table)).await?;
        let row = rows.first().ok_or_else(|| self.unreadable("no answer"))?;
        let answer: String = row.try_get(0).map_err(|error| unavailable(&error))?;
        let clock: i64 = row.try_get(1).map_err(|error| unavailable(&error))?;
        let found: Vec<FoundPartition> =
            partitions::read(&answer).map_err(|error| self.unreadable(error))?;
        let now_ms = self.now_ms.unwrap_or(clock);
        let default = found.iter().find(|partition| partition.is_default);
        let default = default.map(|partition| partition.name.clone());
        let has_old = match &default {
            Some(default) => {
                let old = too_old(self.table, self.retention_ms, now_ms);
                let query = format!("SELECT FROM ONLY {default} WHERE {old} LIMIT 1");
                !administrator.run(query).await?.is_empty()
            }
            None => false,
        };
        Ok(Work {
            default,
            has_old,
            missing: missing(self.table, self.retention_ms, now_ms, &found),
            expired: expired(self.retention_ms, now_ms, &found),
            now_ms,
        })
    }

    /// Tells what would be done.
    async fn foresee(
        &self,
        administrator: &mut Administrator,
        work: Work,
        kept: &mut Kept,
    ) -> Result<(), ProvisionError> {
        if let Some(default) = work.default.filter(|_| work.has_old) {
            let old = too_old(self.table, self.retention_ms, work.now_ms);
            let count = format!("SELECT count(*) FROM ONLY {default} WHERE {old}");
            kept.deleted = count_of(&administrator.run(count).await?)?;
        }
        kept.made = work.missing.into_iter().map(|made| made.name).collect();
        kept.dropped = work.expired;
        Ok(())
    }

    /// Does all of a phase, or says why it is put off.
    async fn run(
        &self,
        administrator: &mut Administrator,
        phase: Phase,
        kept: &mut Kept,
    ) -> Result<(), ProvisionError> {
        loop {
            if !administrator.begin_upkeep(&self.lock()).await? {
                administrator.roll_back().await?;
                kept.elsewhere = true;
                return Ok(());
            }
            match self.step(administrator, phase, kept).await {
                Ok(more) => {
                    administrator.commit().await?;
                    if !more {
                        return Ok(());
                    }
                }
                Err(error) => {
                    administrator.roll_back().await?;
                    kept.postponed = Some(error.to_string());
                    return Ok(());
                }
            }
        }
    }

    /// A step of a phase, in a transaction; whether there may be more. Another may have been faster: it looks anew.
    async fn step(
        &self,
        administrator: &mut Administrator,
        phase: Phase,
        kept: &mut Kept,
    ) -> Result<bool, ProvisionError> {
        let work = self.look(administrator).await?;
        match (phase, work.default) {
            (Phase::MakeDefault, None) => {
                let create = create_default(self.table).join("; ");
                administrator.run(create).await?;
                Ok(false)
            }
            (Phase::Delete, Some(default)) => {
                let delete = self.delete(&default, work.now_ms);
                let count = count_of(&administrator.run(delete).await?)?;
                kept.deleted += count;
                Ok(count == ROWS_AT_ONCE)
            }
            (Phase::Make, default) => {
                let Some(partition) = work.missing.first() else {
                    return Ok(false);
                };
                let default = default.as_deref();
                let create = create_partition(self.table, partition, default, &self.columns);
                administrator.run(create.join("; ")).await?;
                kept.made.push(partition.name.clone());
                Ok(work.missing.len() > 1)
            }
            (Phase::Drop, _) if !work.expired.is_empty() => {
                let drop = format!("DROP TABLE {}", work.expired.join(", "));
                administrator.run(drop).await?;
                kept.dropped.extend(work.expired);
                Ok(false)
            }
            (Phase::MakeDefault | Phase::Delete | Phase::Drop, _) => Ok(false),
        }
    }

    /// Rows that somebody amends at the moment are left for the next time.
    fn delete(&self, default: &str, now_ms: i64) -> String {
        let old = too_old(self.table, self.retention_ms, now_ms);
        format!(
            "WITH gone AS (DELETE FROM ONLY {default} WHERE ctid = ANY (ARRAY(\
             SELECT ctid FROM ONLY {default} WHERE {old} LIMIT {ROWS_AT_ONCE} FOR UPDATE SKIP LOCKED)) RETURNING 1) \
             SELECT count(*) FROM gone"
        )
    }

    /// What only one process at a time holds.
    fn lock(&self) -> String {
        format!(
            "hashtext('tidewheel'), hashtext({})",
            literal(&qualified(self.table))
        )
    }

    fn unreadable(&self, reason: impl fmt::Display) -> ProvisionError {
        ProvisionError::Unavailable(format!(
            "what the database says of the partitions of table `{}` cannot be read: {reason}",
            shown(self.table)
        ))
    }
}

fn count_of(rows: &[sqlx::postgres::PgRow]) -> Result<u64, ProvisionError> {
    let count = rows.first().map(|row| row.try_get::<i64, _>(0)).transpose();
    let count = count.map_err(|error| unavailable(&error))?;
    Ok(count.unwrap_or_default().unsigned_abs())
}
