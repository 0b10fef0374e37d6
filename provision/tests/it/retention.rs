//! Rows that are kept for a time.
use futures::future::join_all;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};
use tidewheel_planner::plan::{APPEND_TIME, ColumnType, Table};
use tidewheel_provision::postgres::{
    Change, Difference, KeepOptions, Kept, Obstacle, PlannedTable, dry_run, keep,
};

use crate::postgres::{Database, column, rows, windows};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: u64 = 3_600_000;
/// 2026-01-31 12:02 UTC. Partitions of an hour's retention begin every five minutes.
const NOW_MS: i64 = 1_769_860_920_000;

/// The windows of shop.kpi, kept for an hour.
fn kpi() -> PlannedTable {
    retained(windows(
        "kpi",
        &[("page", ColumnType::Text)],
        &[("n", ColumnType::Bigint)],
    ))
}

fn retained(planned: PlannedTable) -> PlannedTable {
    PlannedTable {
        table: Table {
            retention_ms: Some(HOUR_MS),
            ..planned.table
        },
        ..planned
    }
}

impl Database {
    async fn kept_at(&self, planned: &PlannedTable, now_ms: i64) -> Kept {
        let options = KeepOptions {
            now_ms: Some(now_ms),
            ..KeepOptions::default()
        };
        let tables = std::slice::from_ref(planned);
        keep(&self.url(), tables, options).await.unwrap().remove(0)
    }

    /// Upserts a window that begins so many minutes after now.
    fn upsert(&self, minutes: i64, n: i64) {
        let at = NOW_MS / 1000 + minutes * 60;
        self.sql(&format!(
            "INSERT INTO shop.kpi (page, n, window_start, _generation, _partition, _offset, _revision)
             VALUES (NULL, {n}, to_timestamp({at}), 1, 0, {n}, 0)
             ON CONFLICT (window_start, page) DO UPDATE SET n = excluded.n, window_start = excluded.window_start"
        ));
    }

    /// Which partition has which windows, by their n.
    fn places(&self) -> Vec<String> {
        let query = "SELECT tableoid::regclass || ' ' || string_agg(n::text, ' ' ORDER BY n) FROM shop.kpi GROUP BY tableoid ORDER BY min(n)";
        self.sql(query).lines().map(str::to_owned).collect()
    }

    fn partitions(&self) -> String {
        self.sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'shop.kpi'::regclass")
    }

    async fn session(&self) -> PgConnection {
        let options: PgConnectOptions = self.url().parse().unwrap();
        options.connect().await.unwrap()
    }
}

#[tokio::test]
async fn windows_go_to_partitions_that_are_made_ahead_and_dropped_whole() {
    let (database, kpi) = (Database::new(), kpi());
    assert_eq!(database.change(kpi.clone()).await, Change::Created);
    // Nothing waits for a partition: what fits none has the default one.
    database.upsert(0, 1);
    assert_eq!(database.places(), ["shop.kpi_default 1"]);
    let made = database.kept_at(&kpi, NOW_MS).await;
    assert_eq!(
        made.to_string(),
        "table `shop.kpi`: made 16 partitions",
        "{made:?}"
    );
    assert_eq!(made.made[0], "kpi_20260131_1215");
    assert!(made.is_done());
    assert!(database.kept_at(&kpi, NOW_MS).await.is_nothing());

    for (minutes, n) in [(0, 1), (4, 2), (-1, 3), (-59, 4), (-90, 5), (100, 6)] {
        database.upsert(minutes, n);
        database.upsert(minutes, n);
    }
    let noon = ["shop.kpi_20260131_1200 1 3", "shop.kpi_20260131_1205 2"];
    let early = ["shop.kpi_20260131_1100 4", "shop.kpi_default 5 6"];
    assert_eq!(database.places(), [noon, early].concat());

    // An hour later.
    let later = database.kept_at(&kpi, NOW_MS + 60 * MINUTE_MS).await;
    assert_eq!(later.deleted, 1, "{later:?}");
    assert_eq!(later.made.len(), 12);
    let dropped = &later.dropped;
    assert_eq!(dropped.len(), 12);
    assert_eq!(dropped[0], "shop.kpi_20260131_1100");
    assert_eq!(dropped[11], "shop.kpi_20260131_1155");
    // All of the partition of 12:00 was kept for an hour once it is 13:05.
    assert_eq!(
        database.places(),
        [&noon[..], &["shop.kpi_default 6"]].concat()
    );
    let at = |minutes: i64| NOW_MS + minutes * MINUTE_MS;
    assert_eq!(database.kept_at(&kpi, at(62)).await.dropped, [""; 0]);
    let next = database.kept_at(&kpi, at(63)).await;
    assert_eq!(next.dropped, ["shop.kpi_20260131_1200"]);
    // What the default partition has moves to the one that is made for it.
    let last = database.kept_at(&kpi, at(90)).await;
    assert_eq!(last.deleted, 0, "{last:?}");
    assert_eq!(database.places(), ["shop.kpi_20260131_1340 6"]);
    database.upsert(100, 6);
    assert_eq!(database.sql("SELECT count(*) FROM shop.kpi"), "1");
}

#[tokio::test]
async fn rows_are_kept_by_when_they_were_appended() {
    let database = Database::new();
    let mut sales = rows("sales", &[("amount", ColumnType::Bigint)]);
    let append_time = column(APPEND_TIME, ColumnType::Timestamp);
    sales.table.columns.push(append_time);
    sales.table.columns.last_mut().unwrap().nullable = true;
    let sales = retained(sales);
    assert_eq!(database.change(sales.clone()).await, Change::Created);
    assert_eq!(database.kept_at(&sales, NOW_MS).await.made.len(), 16);
    let append = |offset: i64, minutes: i64| {
        let at = NOW_MS / 1000 + minutes * 60;
        database.sql(&format!(
            "INSERT INTO shop.sales (amount, _generation, _partition, _offset, _ordinal, _append_time) VALUES (1, 1, 0, {offset}, 0, to_timestamp({at}))"
        ));
    };
    append(1, 0);
    append(2, -2_000);
    // Of before the output had a retention.
    database.sql("INSERT INTO shop.sales VALUES (1, 1, 0, 0, 0)");
    let kept = database.kept_at(&sales, NOW_MS).await;
    assert_eq!((kept.deleted, kept.dropped.len()), (1, 0), "{kept:?}");
    let kept = database.kept_at(&sales, NOW_MS + 100 * MINUTE_MS).await;
    assert_eq!(kept.dropped.len(), 16, "{kept:?}");
    let left = "SELECT string_agg(_offset::text, ' ') FROM shop.sales";
    assert_eq!(database.sql(left), "0", "whose age nobody knows stays");
}

#[tokio::test]
async fn a_table_that_keeps_everything_is_not_given_a_retention() {
    let database = Database::new();
    let (forever, kpi) = (
        PlannedTable {
            table: Table {
                retention_ms: None,
                ..kpi().table
            },
            ..kpi()
        },
        kpi(),
    );
    assert_eq!(database.change(forever.clone()).await, Change::Created);
    let refusals = database.refusals(std::slice::from_ref(&kpi)).await;
    assert_eq!(
        refusals[0].obstacle,
        Obstacle::Differs(Difference::NotPartitioned)
    );
    assert_eq!(
        refusals[0].message,
        "table `shop.kpi` keeps rows for ever, and a retention needs one that is made in partitions: give the output another name, or leave `retention` out and delete old rows yourself"
    );
    let kept = database.kept_at(&kpi, NOW_MS).await;
    assert!(kept.postponed.is_some() && kept.made.is_empty(), "{kept:?}");
    assert_eq!(database.change(forever).await, Change::Unchanged);
}

#[tokio::test]
async fn a_retention_may_change_and_go_and_come_back() {
    let (database, kpi) = (Database::new(), kpi());
    database.change(kpi.clone()).await;
    database.kept_at(&kpi, NOW_MS).await;
    database.upsert(2, 1);
    let retention = |ms: Option<u64>| PlannedTable {
        table: Table {
            retention_ms: ms,
            ..kpi.table.clone()
        },
        ..kpi.clone()
    };
    let longer = retention(Some(24 * HOUR_MS));
    assert_eq!(database.change(longer.clone()).await, Change::Unchanged);
    let kept = database.kept_at(&longer, NOW_MS).await;
    assert!(kept.is_done(), "{kept:?}");
    // Around those of five minutes there are some of an hour, and one from where those end to the next hour.
    assert!(
        kept.made.contains(&"kpi_20260131_1220".to_owned()),
        "{kept:?}"
    );
    assert!(
        kept.made.contains(&"kpi_20260131_0900".to_owned()),
        "{kept:?}"
    );
    assert_eq!(kept.dropped, [""; 0]);
    assert!(database.kept_at(&longer, NOW_MS).await.is_nothing());

    // Without one nothing is dropped or made: rows go to the default partition once there is no other.
    let forever = retention(None);
    assert_eq!(database.change(forever.clone()).await, Change::Unchanged);
    let options = KeepOptions::default();
    assert_eq!(
        keep(&database.url(), &[forever], options).await.unwrap(),
        []
    );
    database.upsert(6_000, 2);
    assert_eq!(
        database.places(),
        ["shop.kpi_20260131_1200 1", "shop.kpi_default 2"]
    );

    let back = database.kept_at(&kpi, NOW_MS + 6_000 * MINUTE_MS).await;
    assert!(back.is_done() && !back.dropped.is_empty(), "{back:?}");
    assert_eq!(database.places(), ["shop.kpi_20260204_1600 2"]);
}

#[tokio::test]
async fn a_dry_run_tells_and_does_nothing() {
    let (database, kpi) = (Database::new(), kpi());
    let tables = std::slice::from_ref(&kpi);
    let options = KeepOptions {
        now_ms: Some(NOW_MS),
        dry_run: true,
    };
    let would = dry_run(&database.url(), tables).await.unwrap();
    assert_eq!(
        would[0].planned().to_string(),
        "table `shop.kpi`: would be created"
    );
    assert_eq!(keep(&database.url(), tables, options).await.unwrap(), []);
    database.change(kpi.clone()).await;
    database.upsert(-100, 1);
    let would = keep(&database.url(), tables, options).await.unwrap();
    assert_eq!(
        would[0].planned().to_string(),
        "table `shop.kpi`: would make 16 partitions; would delete 1 old row"
    );
    assert_eq!(database.partitions(), "1");
    assert_eq!(database.places(), ["shop.kpi_default 1"]);
}

#[tokio::test]
async fn of_several_processes_one_does_it() {
    let (database, kpi) = (Database::new(), kpi());
    database.change(kpi.clone()).await;
    let kept = join_all((0..6).map(|_| database.kept_at(&kpi, NOW_MS))).await;
    assert!(kept.iter().all(|kept| kept.postponed.is_none()), "{kept:?}");
    database.kept_at(&kpi, NOW_MS).await;
    assert_eq!(database.partitions(), "17");
    let made: usize = kept.iter().map(|kept| kept.made.len()).sum();
    assert!(made <= 16, "{kept:?}");
}

#[tokio::test]
async fn who_reads_for_long_puts_dropping_off_and_nobody_waits_for_it() {
    let (database, kpi) = (Database::new(), kpi());
    database.change(kpi.clone()).await;
    database.kept_at(&kpi, NOW_MS).await;
    let mut reader = database.session().await;
    let mut reading = reader.begin().await.unwrap();
    sqlx::raw_sql("SELECT count(*) FROM shop.kpi")
        .execute(&mut *reading)
        .await
        .unwrap();
    let later = NOW_MS + 10 * MINUTE_MS;
    let kept = database.kept_at(&kpi, later).await;
    let reason = kept.postponed.clone().unwrap_or_default();
    assert!(reason.contains("another session holds a lock"), "{kept:?}");
    assert_eq!(kept.dropped, [""; 0]);
    database.upsert(60, 1);
    reading.rollback().await.unwrap();
    let kept = database.kept_at(&kpi, later).await;
    assert!(kept.is_done() && kept.dropped.len() == 2, "{kept:?}");
}

#[tokio::test]
async fn partitions_of_others_and_what_was_removed_by_hand_are_no_obstacle() {
    let (database, kpi) = (Database::new(), kpi());
    database.change(kpi.clone()).await;
    database.kept_at(&kpi, NOW_MS).await;
    database.sql(
        "DROP TABLE shop.kpi_default; DROP TABLE shop.kpi_20260131_1205; ALTER TABLE shop.kpi DETACH PARTITION shop.kpi_20260131_1115",
    );
    let kept = database.kept_at(&kpi, NOW_MS).await;
    // Somebody has put a partition aside: its name is taken, and it is theirs now.
    let reason = kept.postponed.unwrap_or_default();
    assert!(
        reason.contains("\"kpi_20260131_1115\" already exists"),
        "{reason}"
    );
    assert_eq!(kept.made, ["kpi_20260131_1205"]);
    database.upsert(100, 1);
    assert_eq!(database.places(), ["shop.kpi_default 1"]);
    let kept = database.kept_at(&kpi, NOW_MS + 300 * MINUTE_MS).await;
    assert!(kept.is_done(), "{kept:?}");
    assert_eq!(
        database.sql("SELECT to_regclass('shop.kpi_20260131_1115') IS NOT NULL"),
        "t"
    );
}

#[tokio::test]
async fn names_that_would_be_cut_and_columns_that_came_later_have_partitions_too() {
    let database = Database::new();
    let mut long = windows(&"k".repeat(63), &[], &[("n", ColumnType::Bigint)]);
    long.table.retention_ms = Some(HOUR_MS);
    database.change(long.clone()).await;
    database.kept_at(&long, NOW_MS).await;
    let table = format!("shop.{}", long.table.name);
    let at = (NOW_MS + 100 * MINUTE_MS) / 1000;
    database.sql(&format!(
        "INSERT INTO {table} (n, window_start, _generation, _partition, _offset, _revision) VALUES (7, to_timestamp({at}), 1, 0, 1, 0)"
    ));
    long.table
        .columns
        .insert(0, column("note", ColumnType::Text));
    let added = Change::Changed(vec!["note text".to_owned()]);
    assert_eq!(database.change(long.clone()).await, added);
    let kept = database.kept_at(&long, NOW_MS + 100 * MINUTE_MS).await;
    assert!(kept.is_done() && kept.made.len() == 16, "{kept:?}");
    let found = format!("SELECT n, tableoid::regclass::text LIKE '%_20260131_1340' FROM {table}");
    assert_eq!(database.sql(&found), "7|t");
}
