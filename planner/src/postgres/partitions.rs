//! Native partitions, by which rows are kept for a time and dropped whole.
//!
//! A table with a retention is parted by time: rows by when they were appended, windows by their start. Its partitions cover the time from the
//! retention ago to a little ahead of now. What fits none of them, such as an event from the far future, goes to the default partition, so
//! that no row ever waits for a partition to be made; what is too old there is deleted.
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{literal, qualified, quoted, shown};
use crate::plan::{APPEND_TIME, Table, TableKind};
use crate::sql::windowed::WINDOW_START;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// How long a partition may be; each is a multiple of those before it, or begins and ends with a day.
const WIDTHS_MS: [i64; 12] = [
    5 * MINUTE_MS,
    15 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
    2 * DAY_MS,
    7 * DAY_MS,
    14 * DAY_MS,
    28 * DAY_MS,
];
/// Rows outlive their retention by one partition: at most by a tenth of it.
const AT_LEAST: i64 = 10;
/// Partitions that are made ahead, besides that of now.
const AHEAD: i64 = 3;
/// The longest name that PostgreSQL does not cut.
const NAME_BYTES: usize = 63;

/// A partition that a table has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FoundPartition {
    /// Its name as SQL refers to it.
    pub name: String,
    /// Whether it takes what fits no other.
    pub is_default: bool,
    /// Its first moment, ms since the epoch; none where it has no beginning.
    pub from_ms: Option<i64>,
    /// The first moment after it; none where it has no end.
    pub to_ms: Option<i64>,
}

/// A partition that a table lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name, in the schema of the table.
    pub name: String,
    /// Its first moment, ms since the epoch.
    pub from_ms: i64,
    /// The first moment after it.
    pub to_ms: i64,
}

/// The column by whose age rows are kept.
#[must_use]
pub fn age_column(table: &Table) -> &'static str {
    match table.kind {
        TableKind::Rows => APPEND_TIME,
        TableKind::Windows { .. } => WINDOW_START,
    }
}

/// What the table is parted by, as PostgreSQL's `pg_get_partkeydef` spells it.
#[must_use]
pub fn partition_key(table: &Table) -> String {
    format!("RANGE ({})", quoted(age_column(table)))
}

/// The query for the partitions of a table that is parted by [`partition_key`] and for the time of the database: one row, whose first
/// column is a text, JSON that [`read`] reads, and whose second is that time in ms since the epoch.
#[must_use]
pub fn inspect_partitions(table: &Table) -> String {
    let moment = |of: &str| {
        // MINVALUE and MAXVALUE are none, and have no quotes.
        let bound = format!("substring(b.bound FROM '{of} \\(''([^'']+)''\\)')::timestamptz");
        format!(
            "CASE WHEN isfinite({bound}) THEN floor(extract(epoch FROM {bound}) * 1000)::bigint END"
        )
    };
    format!(
        "SELECT coalesce(jsonb_agg(jsonb_build_object(
    'name', c.oid::regclass::text,
    'is_default', b.bound = 'DEFAULT',
    'from_ms', {},
    'to_ms', {})), '[]')::text,
    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) b
WHERE i.inhparent = {}::regclass AND NOT i.inhdetachpending",
        moment("FROM"),
        moment("TO"),
        literal(&qualified(table))
    )
}

/// Reads the answer to [`inspect_partitions`].
///
/// # Errors
/// Says what is not as expected, which would be a mistake in the question.
pub fn read(answer: &str) -> Result<Vec<FoundPartition>, serde_json::Error> {
    serde_json::from_str(answer)
}

/// The partitions that a table lacks at `now_ms`, the newest first: those of the time that rows are kept for, and some ahead. They fit
/// between those that are there, which may be of another length.
#[must_use]
pub fn missing(
    table: &Table,
    retention_ms: u64,
    now_ms: i64,
    found: &[FoundPartition],
) -> Vec<Partition> {
    let width = width_ms(retention_ms);
    let begin = |moment_ms: i64| moment_ms.div_euclid(width).saturating_mul(width);
    let end = begin(now_ms).saturating_add((AHEAD + 1) * width);
    let mut taken: Vec<(i64, i64)> = found
        .iter()
        .filter(|partition| !partition.is_default)
        .map(|partition| {
            let (from, to) = (partition.from_ms, partition.to_ms);
            (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX))
        })
        .collect();
    taken.sort_unstable();
    let mut missing = Vec::new();
    let mut from = begin(cutoff_ms(retention_ms, now_ms));
    while from < end {
        let covering = taken
            .iter()
            .find(|(start, stop)| *start <= from && from < *stop);
        if let Some((_, stop)) = covering {
            from = *stop;
            continue;
        }
        let next = taken
            .iter()
            .map(|(start, _)| *start)
            .find(|start| *start > from);
        let to = begin(from)
            .saturating_add(width)
            .min(next.unwrap_or(i64::MAX));
        missing.push(Partition {
            name: partition_name(table, from),
            from_ms: from,
            to_ms: to,
        });
        from = to;
    }
    missing.reverse();
    missing
}

/// The partitions whose rows were all kept for long enough at `now_ms`: their names as SQL refers to them, the oldest first.
#[must_use]
pub fn expired(retention_ms: u64, now_ms: i64, found: &[FoundPartition]) -> Vec<String> {
    let cutoff = cutoff_ms(retention_ms, now_ms);
    let mut expired: Vec<(i64, &String)> = found
        .iter()
        .filter_map(|partition| Some((partition.to_ms?, &partition.name)))
        .filter(|(to, _)| *to <= cutoff)
        .collect();
    expired.sort_unstable();
    expired.into_iter().map(|(_, name)| name.clone()).collect()
}

/// Rows of before then were kept for long enough.
fn cutoff_ms(retention_ms: u64, now_ms: i64) -> i64 {
    now_ms.saturating_sub_unsigned(retention_ms)
}

/// The statements that make the partition for what fits no other.
#[must_use]
pub fn create_default(table: &Table) -> Vec<String> {
    let default = in_schema(table, &fitting(table, "_default"));
    let comment = format!("Rows of {} that fit no other partition of it", shown(table));
    vec![
        format!(
            "CREATE TABLE {default} PARTITION OF {} DEFAULT",
            qualified(table)
        ),
        format!("COMMENT ON TABLE {default} IS {}", literal(&comment)),
    ]
}

/// The statements that make a partition and move there what the default partition (as SQL refers to it, where there is one) has of it. To be
/// run in one transaction. Readers and writers go on meanwhile, but for those who need the default partition.
#[must_use]
pub fn create_partition(
    table: &Table,
    partition: &Partition,
    default: Option<&str>,
    columns: &[String],
) -> Vec<String> {
    let (parent, column) = (qualified(table), quoted(age_column(table)));
    let new = in_schema(table, &partition.name);
    let (from, to) = (moment(partition.from_ms), moment(partition.to_ms));
    let comment = format!(
        "Part of {}: {} from {} to before {}",
        shown(table),
        age_column(table),
        written(partition.from_ms),
        written(partition.to_ms)
    );
    // What is locked first is what ATTACH locks anyhow: whoever came later could otherwise wait for us, and we for them.
    let mut statements = vec![format!(
        "LOCK TABLE ONLY {parent} IN SHARE UPDATE EXCLUSIVE MODE"
    )];
    statements
        .extend(default.map(|default| format!("LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")));
    statements.push(format!(
        "CREATE TABLE {new} (LIKE {parent} INCLUDING ALL EXCLUDING IDENTITY)"
    ));
    if let Some(default) = default {
        let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
        let columns = columns.join(", ");
        statements.push(format!(
            "WITH moved AS (DELETE FROM {default} WHERE {column} >= {from} AND {column} < {to} RETURNING {columns}) \
             INSERT INTO {new} ({columns}) SELECT {columns} FROM moved"
        ));
    }
    statements.extend([
        format!("COMMENT ON TABLE {new} IS {}", literal(&comment)),
        format!("ALTER TABLE {parent} ATTACH PARTITION {new} FOR VALUES FROM ({from}) TO ({to})"),
    ]);
    statements
}

/// What is true of the rows of a table, or of its default partition, that were kept for long enough.
#[must_use]
pub fn too_old(table: &Table, retention_ms: u64, now_ms: i64) -> String {
    let cutoff = moment(cutoff_ms(retention_ms, now_ms));
    format!("{} < {cutoff}", quoted(age_column(table)))
}

fn in_schema(table: &Table, name: &str) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(name))
}

/// A moment as a literal that does not depend on the session's time zone.
fn moment(millis: i64) -> String {
    format!("TIMESTAMPTZ '{}'", written(millis))
}

/// `2026-01-31 06:00:00+00`; before all others where the calendar has no such day.
fn written(millis: i64) -> String {
    let Some(time) = chrono::DateTime::from_timestamp_millis(millis) else {
        return "-infinity".to_owned();
    };
    time.format("%Y-%m-%d %H:%M:%S%.f+00").to_string()
}

/// How long the partitions of a table are.
fn width_ms(retention_ms: u64) -> i64 {
    let retention = i64::try_from(retention_ms).unwrap_or(i64::MAX);
    let mut fitting = WIDTHS_MS.iter().rev();
    let fitting = fitting.find(|width| retention / **width >= AT_LEAST);
    *fitting.unwrap_or(&WIDTHS_MS[0])
}

/// `kpi_20260131`, or `kpi_20260131_0600` where it does not begin with a day.
fn partition_name(table: &Table, from_ms: i64) -> String {
    let form = if from_ms.rem_euclid(DAY_MS) == 0 {
        "_%Y%m%d"
    } else if from_ms.rem_euclid(MINUTE_MS) == 0 {
        "_%Y%m%d_%H%M"
    } else {
        "_%Y%m%d_%H%M%S%3f"
    };
    let time = chrono::DateTime::from_timestamp_millis(from_ms).unwrap_or_default();
    fitting(table, &time.format(form).to_string())
}

/// The table's name and a suffix; where that is too long, a digest takes the place of the name's end.
fn fitting(table: &Table, suffix: &str) -> String {
    let room = NAME_BYTES.saturating_sub(suffix.len());
    if table.name.len() <= room {
        return format!("{}{suffix}", table.name);
    }
    let digest = Sha256::digest(table.name.as_bytes());
    let digest: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    let mut kept = room.saturating_sub(digest.len() + 1);
    while !table.name.is_char_boundary(kept) {
        kept -= 1;
    }
    format!("{}_{digest}{suffix}", &table.name[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Table {
        Table {
            schema: "shop".to_owned(),
            name: name.to_owned(),
            columns: Vec::new(),
            kind: TableKind::Rows,
            retention_ms: None,
        }
    }

    fn as_found(partitions: &[Partition]) -> Vec<FoundPartition> {
        let found = partitions.iter().map(|partition| FoundPartition {
            name: partition.name.clone(),
            is_default: false,
            from_ms: Some(partition.from_ms),
            to_ms: Some(partition.to_ms),
        });
        found.collect()
    }

    /// 2026-01-31, a little after noon.
    const NOON: i64 = 20_484 * DAY_MS + 12 * HOUR_MS + 1;
    const WEEK: u64 = 7 * DAY_MS as u64;

    #[test]
    fn a_partition_is_at_most_a_tenth_of_the_retention() {
        for (retention, width) in [
            (HOUR_MS, 5 * MINUTE_MS),
            (10 * HOUR_MS, HOUR_MS),
            (DAY_MS, HOUR_MS),
            (7 * DAY_MS, 12 * HOUR_MS),
            (30 * DAY_MS, 2 * DAY_MS),
            (365 * DAY_MS, 28 * DAY_MS),
        ] {
            assert_eq!(width_ms(retention as u64), width);
        }
    }

    #[test]
    fn partitions_cover_what_is_kept_and_a_little_ahead_without_gaps() {
        let missing = missing(&table("kpi"), WEEK, NOON, &[]);
        assert!(
            missing
                .windows(2)
                .all(|pair| pair[0].from_ms == pair[1].to_ms)
        );
        let names: Vec<&str> = missing.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names.len(), 18);
        assert_eq!(names[..2], ["kpi_20260202", "kpi_20260201_1200"]);
        assert_eq!(names[17], "kpi_20260124_1200");
        assert!(missing[17].from_ms <= NOON - WEEK as i64);
    }

    #[test]
    fn what_is_there_is_left_alone_and_gaps_are_filled_whatever_its_length() {
        let table = table("kpi");
        let mut there = as_found(&missing(&table, WEEK, NOON, &[]));
        assert_eq!(missing(&table, WEEK, NOON, &there), []);
        let gone = there.remove(3);
        let filled = missing(&table, WEEK, NOON, &there);
        assert_eq!(as_found(&filled), [gone]);
        // Another retention has partitions of other lengths, which begin where those that are there end.
        let longer = missing(&table, 30 * DAY_MS as u64, NOON, &there);
        let ends: Vec<_> = there.iter().map(|found| found.to_ms).collect();
        assert!(
            longer
                .iter()
                .any(|found| ends.contains(&Some(found.from_ms)))
        );
        for found in &longer {
            let apart = |other: &FoundPartition| {
                other.to_ms <= Some(found.from_ms) || other.from_ms >= Some(found.to_ms)
            };
            assert!(there.iter().all(apart), "{found:?}");
        }
        there.extend(as_found(&longer));
        assert_eq!(missing(&table, 30 * DAY_MS as u64, NOON, &there), []);
    }

    #[test]
    fn a_partition_goes_once_all_of_it_is_too_old_and_the_default_one_never() {
        let table = table("kpi");
        let mut there = as_found(&missing(&table, WEEK, NOON, &[]));
        there.push(FoundPartition {
            name: "kpi_default".to_owned(),
            is_default: true,
            from_ms: None,
            to_ms: None,
        });
        assert_eq!(expired(WEEK, NOON, &there), [""; 0]);
        let later = NOON + 12 * HOUR_MS - 2;
        assert_eq!(expired(WEEK, later, &there), [""; 0]);
        assert_eq!(expired(WEEK, later + 1, &there), ["kpi_20260124_1200"]);
        let (far, all) = (NOON + 400 * DAY_MS, there.len() - 1);
        let expired = expired(WEEK, far, &there);
        assert_eq!(expired.len(), all);
        assert_eq!(expired[1], "kpi_20260125");
    }

    #[test]
    fn long_names_stay_apart_when_they_are_cut() {
        let long = "a".repeat(NAME_BYTES);
        let other = format!("{}b", "a".repeat(NAME_BYTES - 1));
        let names = [&long, &other].map(|name| partition_name(&table(name), NOON));
        assert!(names.iter().all(|name| name.len() == NAME_BYTES));
        assert_ne!(names[0], names[1]);
    }
}
