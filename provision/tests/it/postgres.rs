//! Tables of a real PostgreSQL.
use futures::future::join_all;
use tidewheel_e2e::postgres::{Options, Postgres};
use tidewheel_planner::plan::{Column, ColumnType, Table, TableKind};
use tidewheel_provision::postgres::{
    Change, Difference, Done, Obstacle, PlannedTable, ProvisionError, Refusal, provision,
    stored_tables, tables_of,
};

/// A database of its own on a server that all tests share.
pub(crate) struct Database {
    process: &'static Postgres,
    name: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        let process = Postgres::shared().unwrap();
        let name = process.database().unwrap();
        Self { process, name }
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.process.sql(&self.name, sql).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        self.process.url(&self.name)
    }

    async fn provision(&self, tables: &[PlannedTable]) -> Result<Vec<Done>, ProvisionError> {
        provision(&self.url(), tables).await
    }

    pub(crate) async fn change(&self, table: PlannedTable) -> Change {
        let mut done = self.provision(&[table]).await.unwrap();
        done.remove(0).change
    }

    pub(crate) async fn refusals(&self, tables: &[PlannedTable]) -> Vec<Refusal> {
        match self.provision(tables).await {
            Err(ProvisionError::Refused(refusals)) => refusals,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The columns of a table with their types.
    fn columns(&self, table: &str) -> String {
        self.sql(&format!(
            "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '!' ELSE '' END, ', ' ORDER BY attnum)
             FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0"
        ))
    }
}

pub(crate) fn column(name: &str, data_type: ColumnType) -> Column {
    Column {
        name: name.to_owned(),
        data_type,
        nullable: !name.starts_with('_'),
    }
}

fn planned(table: Table) -> PlannedTable {
    PlannedTable {
        pipeline: "shop/kpis".to_owned(),
        output: table.name.clone(),
        table,
    }
}

pub(crate) fn rows(name: &str, columns: &[(&str, ColumnType)]) -> PlannedTable {
    let ours = TableKind::Rows.position_columns();
    let ours = ours.iter().map(|name| (*name, ColumnType::Bigint));
    let columns = columns.iter().copied().chain(ours);
    planned(Table {
        schema: "shop".to_owned(),
        name: name.to_owned(),
        columns: columns.map(|(name, kind)| column(name, kind)).collect(),
        kind: TableKind::Rows,
        retention_ms: None,
    })
}

pub(crate) fn windows(
    name: &str,
    groups: &[(&str, ColumnType)],
    values: &[(&str, ColumnType)],
) -> PlannedTable {
    let mut key = vec!["window_start".to_owned()];
    key.extend(groups.iter().map(|(name, _)| (*name).to_owned()));
    let kind = TableKind::Windows { key };
    let times = [
        ("window_start", ColumnType::Timestamp),
        ("window_end", ColumnType::Timestamp),
    ];
    let ours = kind.position_columns().iter();
    let ours = ours.map(|name| (*name, ColumnType::Bigint));
    let columns = groups
        .iter()
        .chain(values)
        .copied()
        .chain(times)
        .chain(ours);
    planned(Table {
        schema: "shop".to_owned(),
        name: name.to_owned(),
        columns: columns.map(|(name, kind)| column(name, kind)).collect(),
        kind,
        retention_ms: None,
    })
}

const ALL: [(&str, ColumnType); 9] = [
    ("text", ColumnType::Text),
    ("bigint", ColumnType::Bigint),
    ("double", ColumnType::Double),
    ("boolean", ColumnType::Boolean),
    ("timestamp", ColumnType::Timestamp),
    ("uuid", ColumnType::Uuid),
    ("json", ColumnType::Json),
    (
        "numeric",
        ColumnType::Numeric {
            precision: 10,
            scale: 2,
        },
    ),
    ("date", ColumnType::Date),
];

#[tokio::test]
async fn tables_are_made_with_their_schema_and_left_alone_afterwards() {
    let database = Database::new();
    let tables = [
        rows("events", &ALL),
        windows(
            "kpi",
            &[("page", ColumnType::Text)],
            &[("count", ColumnType::Bigint)],
        ),
    ];
    let done = database.provision(&tables).await.unwrap();
    let shown: Vec<String> = done.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["table `shop.events`: created", "table `shop.kpi`: created"]
    );
    assert_eq!(
        database.columns("shop.events"),
        "text text, bigint bigint, double double precision, boolean boolean, timestamp timestamp with time zone, uuid uuid, json jsonb, numeric numeric(10,2), date date, _generation bigint!, _partition bigint!, _offset bigint!, _ordinal bigint!"
    );
    assert_eq!(
        database.sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'shop.kpi'::regclass"),
        "UNIQUE NULLS NOT DISTINCT (window_start, page)"
    );
    database.sql("INSERT INTO shop.kpi VALUES (NULL, 1, now(), now(), 1, 0, 0, 0)");
    let done = database.provision(&tables).await.unwrap();
    assert!(done.iter().all(|done| done.change == Change::Unchanged));
    assert_eq!(database.sql("SELECT count(*) FROM shop.kpi"), "1");
}

#[tokio::test]
async fn tables_and_columns_say_what_they_are() {
    let database = Database::new();
    let tables = [windows("kpi", &[], &[("count", ColumnType::Bigint)])];
    database.provision(&tables).await.unwrap();
    assert_eq!(
        database.sql("SELECT obj_description('shop.kpi'::regclass)"),
        "Windows of output kpi of Tidewheel pipeline shop/kpis"
    );
    let comments = "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = 'shop.kpi'::regclass AND attnum > 0 ORDER BY attnum";
    assert_eq!(
        database.sql(comments),
        "count|
window_start|Start of the window
window_end|End of the window, which is not part of it
_generation|Version of the step that wrote the row: a changed step has a higher one
_partition|Partition of the input that the row comes from
_offset|Offset of the input up to which the row counts: a later row of the same window replaces it
_revision|How often the window was amended, from 0"
    );
    // Who says it in other words is not contradicted.
    database.sql("COMMENT ON TABLE shop.kpi IS 'ours'");
    database.provision(&tables).await.unwrap();
    assert_eq!(
        database.sql("SELECT obj_description('shop.kpi'::regclass)"),
        "ours"
    );
}

#[tokio::test]
async fn new_columns_are_added_and_numbers_made_wider_without_touching_rows() {
    let database = Database::new();
    let numeric = |precision| {
        (
            "price",
            ColumnType::Numeric {
                precision,
                scale: 2,
            },
        )
    };
    let first = rows("sales", &[("shop", ColumnType::Text), numeric(6)]);
    database
        .provision(std::slice::from_ref(&first))
        .await
        .unwrap();
    database.sql("INSERT INTO shop.sales VALUES ('a', 12.5, 1, 0, 0, 0)");
    let wider = rows("sales", &[("at", ColumnType::Date), numeric(12)]);
    assert_eq!(
        database.change(wider.clone()).await,
        Change::Changed(vec!["at date".to_owned(), "price numeric(12,2)".to_owned()])
    );
    assert_eq!(
        database.sql("SELECT shop, price, at IS NULL FROM shop.sales"),
        "a|12.50|t"
    );
    // What has more room than planned, or a column more, is left as it is.
    assert_eq!(database.change(first).await, Change::Unchanged);
    assert_eq!(database.change(wider).await, Change::Unchanged);
}

#[tokio::test]
async fn what_would_lose_data_is_refused_all_at_once_and_nothing_is_done() {
    let database = Database::new();
    let numeric = |scale| {
        (
            "price",
            ColumnType::Numeric {
                precision: 6,
                scale,
            },
        )
    };
    let tables = [
        rows("sales", &[("shop", ColumnType::Text), numeric(2)]),
        windows("kpi", &[("page", ColumnType::Text)], &[]),
        windows("other", &[], &[]),
    ];
    database.provision(&tables).await.unwrap();
    let refusals = database
        .refusals(&[
            rows("fresh", &[]),
            rows("sales", &[("shop", ColumnType::Uuid), numeric(3)]),
            windows("kpi", &[("country", ColumnType::Text)], &[]),
            rows("other", &[]),
        ])
        .await;
    let messages: Vec<&str> = refusals.iter().map(|r| r.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "column `shop` of table `shop.sales` holds text and would get uuid: give the column another name with AS, or the output another name",
            "column `price` of table `shop.sales` holds numeric(6,2) and would get numeric(6,3): give the column another name with AS, or the output another name",
            "rows of table `shop.kpi` are identified by (window_start, page) and would be by (window_start, country): give the output another name",
            "table `shop.other` holds windows and would get rows: give the output another name",
        ]
    );
    assert_eq!(
        refusals[0],
        Refusal {
            table: "shop.sales".to_owned(),
            column: Some("shop".to_owned()),
            obstacle: Obstacle::Differs(Difference::Type {
                column: "shop".to_owned(),
                found: "text".to_owned(),
                planned: "uuid".to_owned(),
            }),
            message: messages[0].to_owned(),
        }
    );
    assert_eq!(
        database.sql("SELECT to_regclass('shop.fresh') IS NULL"),
        "t"
    );
    assert!(!database.columns("shop.kpi").contains("country"));
}

#[tokio::test]
async fn a_table_that_was_made_by_hand_is_adopted_where_it_is_as_planned() {
    let database = Database::new();
    database.sql(
        "CREATE SCHEMA shop;
         CREATE TABLE shop.sales (price numeric, shop text, _generation bigint, _partition bigint, _offset bigint, _ordinal bigint, id serial);
         CREATE TABLE shop.kpi (count bigint, window_start timestamptz, window_end timestamptz, _generation bigint, _partition bigint, _offset bigint, _revision bigint);
         CREATE TABLE shop.strict (who text NOT NULL, n integer);
         CREATE VIEW shop.seen AS SELECT 1 AS n",
    );
    let price = ColumnType::Numeric {
        precision: 9,
        scale: 3,
    };
    let sales = rows("sales", &[("shop", ColumnType::Text), ("price", price)]);
    assert_eq!(
        database.change(sales.clone()).await,
        Change::Adopted(vec![])
    );
    assert_eq!(database.change(sales).await, Change::Unchanged);

    let kpi = windows(
        "kpi",
        &[],
        &[("count", ColumnType::Bigint), ("sum", ColumnType::Double)],
    );
    assert_eq!(
        database.change(kpi).await,
        Change::Adopted(vec!["sum double precision".to_owned()])
    );
    assert_eq!(
        database.sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'shop.kpi'::regclass"),
        "UNIQUE NULLS NOT DISTINCT (window_start)"
    );

    let refusals = database
        .refusals(&[
            rows("strict", &[("n", ColumnType::Bigint)]),
            rows("seen", &[("n", ColumnType::Bigint)]),
        ])
        .await;
    let messages: Vec<&str> = refusals.iter().map(|r| r.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "column `n` of table `shop.strict` holds integer and would get bigint: give the column another name with AS, or the output another name",
            "column `who` of table `shop.strict` demands a value and is given none: ALTER TABLE shop.strict ALTER COLUMN who DROP NOT NULL",
            "`shop.seen` exists and is no table: give the output another `table`, or rename that",
        ]
    );
}

#[tokio::test]
async fn a_table_of_another_output_is_not_taken() {
    let database = Database::new();
    let mine = rows("sales", &[]);
    database
        .provision(std::slice::from_ref(&mine))
        .await
        .unwrap();
    let theirs = PlannedTable {
        pipeline: "shop/other".to_owned(),
        ..mine
    };
    let refusals = database.refusals(&[theirs]).await;
    assert_eq!(
        refusals[0].obstacle,
        Obstacle::OtherOutput {
            pipeline: "shop/kpis".to_owned(),
            output: "sales".to_owned()
        }
    );
}

#[tokio::test]
async fn a_table_that_was_dropped_is_not_made_anew_until_somebody_says_so() {
    let database = Database::new();
    let sales = rows("sales", &[]);
    database
        .provision(std::slice::from_ref(&sales))
        .await
        .unwrap();
    database.sql("DROP TABLE shop.sales");
    let refusals = database.refusals(std::slice::from_ref(&sales)).await;
    assert_eq!(refusals[0].obstacle, Obstacle::Removed);
    database.sql("DELETE FROM shop._tidewheel_tables WHERE name = 'sales'");
    assert_eq!(database.change(sales).await, Change::Created);
}

#[tokio::test]
async fn administrators_take_turns() {
    let database = Database::new();
    let tables = [rows("a", &ALL), windows("b", &[], &[])];
    let outcomes = join_all((0..6).map(|_| database.provision(&tables))).await;
    let created = outcomes
        .into_iter()
        .flat_map(Result::unwrap)
        .filter(|done| done.change == Change::Created);
    assert_eq!(created.count(), 2);
}

#[tokio::test]
async fn a_role_that_owns_its_schema_alone_is_enough() {
    let database = Database::new();
    let role = format!("{}_only", database.name);
    database.sql(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE SCHEMA shop AUTHORIZATION {role}"
    ));
    let port = database.process.port();
    let url = format!("postgres://{role}:x@127.0.0.1:{port}/{}", database.name);
    provision(&url, &[rows("sales", &ALL)]).await.unwrap();
    let elsewhere = PlannedTable {
        table: Table {
            schema: "forbidden".to_owned(),
            ..rows("sales", &[]).table
        },
        ..rows("sales", &[])
    };
    let error = provision(&url, &[elsewhere]).await.unwrap_err().to_string();
    assert!(
        error.contains("permission denied") && error.contains("grant the role what it lacks"),
        "{error}"
    );
}

#[tokio::test]
async fn an_output_keeps_its_table() {
    let database = Database::new();
    let sales = rows("sales", &ALL);
    assert_eq!(database.change(sales.clone()).await, Change::Created);
    let moved = PlannedTable {
        output: "sales".to_owned(),
        ..rows("turnover", &ALL)
    };
    let refusals = database.refusals(std::slice::from_ref(&moved)).await;
    let from = "sales".to_owned();
    assert_eq!(refusals[0].obstacle, Obstacle::Moved { from });
    assert_eq!(
        refusals[0].message,
        "output `sales` of pipeline `shop/kpis` cannot move from the table `sales` to `shop.turnover`: the rows that it wrote stay behind, and are not written again: \
         give the output another name, or give it `table: sales` again, or delete what the tables `_tidewheel_*` have of the output to start over"
    );
    assert_eq!(
        database.sql("SELECT to_regclass('shop.turnover') IS NULL"),
        "t"
    );
    let stored = stored_tables(&database.url(), "shop").await.unwrap();
    assert_eq!((stored.len(), stored[0].table.as_str()), (1, "sales"));
    assert_eq!(stored_tables(&database.url(), "nowhere").await.unwrap(), []);
    database.sql("DELETE FROM shop._tidewheel_tables WHERE output = 'sales'");
    assert_eq!(database.change(moved).await, Change::Created);
}

#[tokio::test]
async fn a_layout_of_a_newer_build_is_left_alone() {
    let database = Database::new();
    database.provision(&[rows("sales", &[])]).await.unwrap();
    database.sql("UPDATE shop._tidewheel_layout SET version = 7");
    let error = database.provision(&[rows("sales", &[])]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tables `_tidewheel_*` of schema `shop` have layout 7 and this build knows 1: use the newer tidewheel, or another schema"
    );
}

#[tokio::test]
async fn a_table_that_is_in_use_is_waited_for_and_not_for_long() {
    let database = Database::new();
    database.provision(&[rows("sales", &[])]).await.unwrap();
    let url = database.process.url(&database.name);
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM shop.sales")
        .execute(&mut other)
        .await
        .unwrap();
    let wider = rows("sales", &[("n", ColumnType::Bigint)]);
    let error = database
        .provision(std::slice::from_ref(&wider))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("another session holds a lock"),
        "{error}"
    );
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    database.provision(&[wider]).await.unwrap();
}

#[tokio::test]
async fn a_plan_says_which_tables_a_sink_has() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/web-analytics");
    let (_, plans, problems) = tidewheel_planner::check(&[folder.into()]);
    assert!(problems.is_empty(), "{problems:?}");
    let sink = &plans[0].outputs[0].sink;
    let tables = tables_of(&plans[0], sink);
    assert_eq!(tables.len(), plans[0].outputs.len());
    assert!(tables_of(&plans[0], "web/nowhere").is_empty());
    let done = Database::new().provision(&tables).await.unwrap();
    assert!(done.iter().all(|done| done.change == Change::Created));
}

/// A session of somebody else.
async fn session(url: &str) -> sqlx::PgConnection {
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    sqlx::ConnectOptions::connect(&options).await.unwrap()
}

/// Takes the turn of an administrator of a schema.
async fn take_turn(other: &mut sqlx::PgConnection, schema: &'static str) {
    let lock =
        format!("BEGIN; SELECT pg_advisory_xact_lock(hashtext('tidewheel'), hashtext('{schema}'))");
    let lock = sqlx::AssertSqlSafe(lock);
    sqlx::raw_sql(lock).execute(other).await.unwrap();
}

#[tokio::test]
async fn a_database_with_few_connections_is_enough_for_any_number_of_pipelines() {
    let few = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let options = Options {
        settings: vec![
            few("max_connections", "8"),
            few("superuser_reserved_connections", "0"),
        ],
        ..Options::default()
    };
    let postgres = Postgres::start(options).unwrap();
    let url = postgres.url("postgres");
    let tables: Vec<PlannedTable> = (0..80)
        .map(|index| PlannedTable {
            pipeline: format!("shop/kpis-{index}"),
            ..rows(&format!("t{index}"), &ALL)
        })
        .collect();
    for expected in [Change::Created, Change::Unchanged] {
        let all = tables
            .iter()
            .map(|table| provision(&url, std::slice::from_ref(table)));
        for done in join_all(all).await {
            assert_eq!(done.unwrap()[0].change, expected);
        }
    }
}

#[tokio::test]
async fn who_only_looks_waits_for_nobody_and_who_changes_for_those_of_the_schema() {
    let database = Database::new();
    let sales = [rows("sales", &ALL)];
    database.provision(&sales).await.unwrap();
    let mut other = session(&database.url()).await;
    take_turn(&mut other, "shop").await;
    let looked = database.provision(&sales).await.unwrap();
    assert_eq!(looked[0].change, Change::Unchanged);
    // Another schema is changed all the same.
    let mut elsewhere = rows("sales", &ALL);
    elsewhere.table.schema = "elsewhere".to_owned();
    assert_eq!(database.change(elsewhere).await, Change::Created);
    let url = database.url();
    let changing = tokio::spawn(async move { provision(&url, &[rows("more", &ALL)]).await });
    // Longer than the lock of a table is waited for.
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    assert!(!changing.is_finished());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    let done = changing.await.unwrap().unwrap();
    assert_eq!(done[0].change, Change::Created);
}
