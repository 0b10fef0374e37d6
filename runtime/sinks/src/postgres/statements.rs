//! The SQL of one output of one task. Values stand in it as literals.
use std::{
    fmt::Write as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use tidewheel_planner::{
    plan::{Table, TableKind},
    postgres::{
        layout::{self, GENERATIONS, PROGRESS, REFUSALS},
        literal, qualified, quoted, type_name,
    },
};

use crate::{OutputId, Progress, Refused, TaskId, time};

/// The column of the staging table that says whether a row is to be deleted.
const DELETE: &str = "_delete";

/// How long a text may be before another one is begun.
const TEXT_BYTES: usize = 1 << 18;

/// The statements of one table for one task.
#[derive(Debug)]
pub(super) struct Statements {
    schema: String,
    /// The table as SQL refers to it.
    table: String,
    pipeline: String,
    output: String,
    input: String,
    partition: i32,
    columns: Vec<String>,
    /// Window tables only.
    staging: Option<Staging>,
}

/// What goes into a window table goes through a table of the session first.
#[derive(Debug)]
struct Staging {
    name: String,
    create: String,
    upsert: String,
    key: Vec<String>,
}

impl Statements {
    pub(super) fn new(output: &OutputId, table: &Table, task: &TaskId) -> Self {
        let columns: Vec<String> = table.columns.iter().map(|c| quoted(&c.name)).collect();
        Self {
            schema: table.schema.clone(),
            table: qualified(table),
            pipeline: literal(&output.pipeline),
            output: literal(&output.output),
            input: literal(&task.input),
            partition: task.partition,
            staging: Staging::new(table, &columns),
            columns,
        }
    }

    /// What a transaction that writes begins with, behind `BEGIN`.
    pub(super) fn prepare(&self) -> &str {
        self.staging.as_ref().map_or("", |staging| &staging.create)
    }

    /// Copies rows: into the table, or into the staging table of windows.
    pub(super) fn copy(&self) -> String {
        let columns = self.columns.join(", ");
        match &self.staging {
            None => format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", self.table),
            Some(staging) => format!(
                "COPY {} ({columns}, {DELETE}) FROM STDIN (FORMAT binary)",
                staging.name
            ),
        }
    }

    /// Moves rows from the staging table into the table, in the order of the key, so that nobody waits for each other in a circle.
    pub(super) fn upsert(&self) -> &str {
        self.staging.as_ref().map_or("", |staging| &staging.upsert)
    }

    /// Deletes what the staging table says. `patterns` has, for each combination that occurs there, which key columns are NULL:
    /// an index finds `=` and `IS NULL`, and nothing that means both.
    pub(super) fn delete(&self, patterns: &[Vec<bool>]) -> String {
        let Some(staging) = &self.staging else {
            return String::new();
        };
        patterns.iter().fold(String::new(), |mut sql, nulls| {
            let same = staging.key.iter().zip(nulls).map(|(column, null)| {
                if *null {
                    format!("stored.{column} IS NULL AND gone.{column} IS NULL")
                } else {
                    format!("stored.{column} = gone.{column}")
                }
            });
            let same: Vec<String> = same.collect();
            let _ = write!(
                sql,
                "DELETE FROM {} AS stored USING {} AS gone WHERE gone.{DELETE} AND {} \
                 AND (gone._generation, gone._offset) > (stored._generation, stored._offset); ",
                self.table,
                staging.name,
                same.join(" AND ")
            );
            sql
        })
    }

    /// The generation of the output, which stays what it is to the end of the transaction: one row, or none.
    pub(super) fn hold_generation(&self) -> String {
        format!("{} FOR SHARE", self.read_generation())
    }

    /// Puts what is in the staging table in the place of what the table has of its keys. A row says from then on that it covers all that the
    /// task of its partition has, which no row of that task that comes later says. How many windows and rows: one row of two counts.
    ///
    /// Nothing for tables of rows.
    pub(super) fn replace(&self) -> String {
        let Some(staging) = &self.staging else {
            return String::new();
        };
        let (all, keys) = (self.columns.join(", "), staging.key.join(", "));
        let staged = staging.key.iter().map(|column| format!("staged.{column}"));
        let staged = staged.collect::<Vec<_>>().join(", ");
        let selected = self.columns.iter().map(|column| match column.as_str() {
            "_offset" => "coalesce(p.next_offset, staged._offset) AS _offset".to_owned(),
            column => format!("staged.{column}"),
        });
        let updated = self.columns.iter().map(|column| match column.as_str() {
            "_offset" => "_offset = CASE WHEN stored._generation = excluded._generation \
                 THEN greatest(stored._offset, excluded._offset) ELSE excluded._offset END"
                .to_owned(),
            "_revision" => "_revision = stored._revision + 1".to_owned(),
            column => format!("{column} = excluded.{column}"),
        });
        format!(
            "WITH written AS (INSERT INTO {} AS stored ({all}) \
             SELECT DISTINCT ON ({staged}) {} FROM {} AS staged LEFT JOIN {} AS p \
             ON p.pipeline = {} AND p.output = {} AND p.input = {} AND p.partition = staged._partition \
             ORDER BY {staged} ON CONFLICT ({keys}) DO UPDATE SET {} RETURNING {start}) \
             SELECT count(DISTINCT {start}), count(*) FROM written; ",
            self.table,
            selected.collect::<Vec<_>>().join(", "),
            staging.name,
            self.ours(PROGRESS),
            self.pipeline,
            self.output,
            self.input,
            updated.collect::<Vec<_>>().join(", "),
            start = staging.start(),
        )
    }

    /// Deletes the windows that start from `first_ms` on and before `next_ms`, but for those that this transaction has written. How many rows.
    ///
    /// Nothing for tables of rows.
    pub(super) fn delete_others(&self, first_ms: i64, next_ms: i64) -> String {
        let Some(staging) = &self.staging else {
            return String::new();
        };
        format!(
            "WITH gone AS (DELETE FROM {} WHERE {start} >= {} AND {start} < {} \
             AND NOT xmin = pg_current_xact_id()::xid RETURNING 1) SELECT count(*) FROM gone; ",
            self.table,
            bound(first_ms),
            bound(next_ms),
            start = staging.start(),
        )
    }

    /// The end, in ms, of the last window that starts before `at_ms`: one row, or none. Nothing where the table has no ends of windows.
    pub(super) fn end_before(&self, at_ms: i64) -> Option<String> {
        let staging = self.staging.as_ref()?;
        let end = quoted("window_end");
        self.columns.contains(&end).then(|| {
            format!(
                "SELECT (extract(epoch FROM {end}) * 1000)::bigint FROM {} WHERE {start} < {} \
                 ORDER BY {start} DESC LIMIT 1; ",
                self.table,
                bound(at_ms),
                start = staging.start(),
            )
        })
    }

    /// Makes room in the staging table within a transaction; its end does so too.
    pub(super) fn clear(&self) -> String {
        self.staging.as_ref().map_or_else(String::new, |staging| {
            format!("DELETE FROM {}; ", staging.name)
        })
    }

    /// The generation of the output: one row, or none.
    pub(super) fn read_generation(&self) -> String {
        format!(
            "SELECT generation FROM {} WHERE {}",
            self.ours(GENERATIONS),
            self.of_output()
        )
    }

    /// The generation of the output and the progress of the task: always one row, NULL where there is none.
    pub(super) fn read_state(&self) -> String {
        format!(
            "SELECT ({}) AS generation, p.next_offset, p.watermark_ms FROM (SELECT) AS one \
             LEFT JOIN {} AS p ON {}",
            self.read_generation(),
            self.ours(PROGRESS),
            self.of_task()
        )
    }

    /// The progress of the task: one row, or none. Waits for a commit that is under way.
    pub(super) fn read_progress(&self) -> String {
        format!(
            "SELECT next_offset, watermark_ms FROM {} WHERE {} FOR SHARE",
            self.ours(PROGRESS),
            self.of_task()
        )
    }

    /// What is kept of rows that were refused, oldest first.
    pub(super) fn read_refusals(&self) -> String {
        format!(
            "SELECT origin, reason FROM {} WHERE {} ORDER BY number",
            self.ours(REFUSALS),
            self.of_task()
        )
    }

    /// Moves the progress: one row where it was as expected in this generation, else none.
    pub(super) fn move_progress(
        &self,
        generation: i64,
        expected: Option<Progress>,
        next: Progress,
    ) -> String {
        let table = self.ours(PROGRESS);
        let (offset, watermark) = (next.next_offset, number(next.watermark_ms));
        match expected {
            Some(expected) => format!(
                "UPDATE {table} SET next_offset = {offset}, watermark_ms = {watermark} \
                 WHERE {} AND generation = {generation} AND next_offset = {} \
                 AND watermark_ms IS NOT DISTINCT FROM {} RETURNING 1; ",
                self.of_task(),
                expected.next_offset,
                number(expected.watermark_ms)
            ),
            // Whoever begins a generation waits for this, and then finds the row.
            None => format!(
                "INSERT INTO {table} (pipeline, output, input, partition, generation, next_offset, watermark_ms) \
                 SELECT pipeline, output, {}, {}, generation, {offset}, {watermark} FROM {} \
                 WHERE {} AND generation = {generation} FOR SHARE \
                 ON CONFLICT DO NOTHING RETURNING 1; ",
                self.input,
                self.partition,
                self.ours(GENERATIONS),
                self.of_output(),
            ),
        }
    }

    /// Replaces what is kept of refused rows: at least one text, and none of them much longer than others are.
    pub(super) fn replace_refusals<'a>(
        &'a self,
        refused: impl Iterator<Item = &'a Refused> + Send + 'a,
    ) -> impl Iterator<Item = String> + Send + 'a {
        let table = self.ours(REFUSALS);
        let mut refused = refused.enumerate().peekable();
        let mut begin = Some(format!("DELETE FROM {table} WHERE {}; ", self.of_task()));
        std::iter::from_fn(move || {
            if begin.is_none() && refused.peek().is_none() {
                return None;
            }
            let mut sql = begin.take().unwrap_or_default();
            let mut before = format!(
                "INSERT INTO {table} (pipeline, output, input, partition, number, origin, reason) VALUES "
            );
            while sql.len() < TEXT_BYTES
                && let Some((number, row)) = refused.next()
            {
                let _ = write!(
                    sql,
                    "{before}({}, {}, {}, {}, {number}, {}, {})",
                    self.pipeline,
                    self.output,
                    self.input,
                    self.partition,
                    literal(&row.origin),
                    literal(&row.reason)
                );
                ", ".clone_into(&mut before);
            }
            Some(sql)
        })
    }

    /// Makes a generation the output's: one row where it is higher than the one that was, else none.
    pub(super) fn move_generation(&self, generation: i64) -> String {
        format!(
            "INSERT INTO {} AS stored (pipeline, output, generation) VALUES ({}, {}, {generation}) \
             ON CONFLICT (pipeline, output) DO UPDATE SET generation = excluded.generation \
             WHERE stored.generation < excluded.generation RETURNING 1",
            self.ours(GENERATIONS),
            self.pipeline,
            self.output
        )
    }

    /// What else a new generation changes. Writers of the old one move their progress before they touch a row of a window, so
    /// this waits for them, and the rows that it deletes last include theirs.
    pub(super) fn follow_generation(&self, generation: i64, cut_ms: Option<i64>) -> String {
        let (progress, mine) = (self.ours(PROGRESS), self.of_output());
        if self.staging.is_none() {
            return format!("UPDATE {progress} SET generation = {generation} WHERE {mine}; ");
        }
        let mut sql = format!(
            "DELETE FROM {progress} WHERE {mine}; DELETE FROM {} WHERE {mine}; ",
            self.ours(REFUSALS)
        );
        if let Some(cut_ms) = cut_ms {
            let _ = write!(
                sql,
                "DELETE FROM {} WHERE window_start >= {}; ",
                self.table,
                bound(cut_ms)
            );
        }
        sql
    }

    fn ours(&self, name: &str) -> String {
        layout::table(&self.schema, name)
    }

    fn of_output(&self) -> String {
        format!("pipeline = {} AND output = {}", self.pipeline, self.output)
    }

    fn of_task(&self) -> String {
        format!(
            "{} AND input = {} AND partition = {}",
            self.of_output(),
            self.input,
            self.partition
        )
    }
}

impl Staging {
    /// The column with the starts of windows, which comes first in the key.
    fn start(&self) -> &str {
        self.key.first().map_or("window_start", String::as_str)
    }

    /// None for rows that are appended.
    fn new(table: &Table, columns: &[String]) -> Option<Self> {
        let TableKind::Windows { key } = &table.kind else {
            return None;
        };
        let key: Vec<String> = key.iter().map(|name| quoted(name)).collect();
        let definitions: Vec<String> = table
            .columns
            .iter()
            .zip(columns)
            .map(|(column, name)| format!("{name} {}", type_name(column.data_type)))
            .collect();
        let definitions = definitions.join(", ");
        // The session may be another program's before and after us: what another plan left there has another name.
        let mut hasher = DefaultHasher::new();
        definitions.hash(&mut hasher);
        let name = format!("pg_temp._tidewheel_staging_{:016x}", hasher.finish());
        let create = format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {} ({definitions}, {DELETE} boolean) ON COMMIT DELETE ROWS; ",
            name.trim_start_matches("pg_temp.")
        );
        let (all, keys) = (columns.join(", "), key.join(", "));
        let updates: Vec<String> = columns
            .iter()
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        // One row for each key as the database tells them apart: it takes 0.0 and -0.0 for one.
        let upsert = format!(
            "INSERT INTO {} AS stored ({all}) SELECT DISTINCT ON ({keys}) {all} FROM {name} WHERE NOT {DELETE} \
             ORDER BY {keys}, _generation DESC, _offset DESC ON CONFLICT ({keys}) DO UPDATE SET {} \
             WHERE (excluded._generation, excluded._offset) > (stored._generation, stored._offset); ",
            qualified(table),
            updates.join(", ")
        );
        Some(Self {
            name,
            create,
            upsert,
            key,
        })
    }
}

fn number(value: Option<i64>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |value| value.to_string())
}

/// A time as a literal; before or after all others where it lies outside the years 1 to 9999.
fn bound(millis: i64) -> String {
    let text = millis.checked_mul(1000).and_then(time::timestamp_text);
    let text = text.unwrap_or_else(|| {
        let infinity = if millis < 0 { "-infinity" } else { "infinity" };
        infinity.to_owned()
    });
    format!("TIMESTAMPTZ '{text}'")
}
