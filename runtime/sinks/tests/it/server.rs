//! A database of PostgreSQL, and what tests ask of it.
use chrono::{DateTime, SecondsFormat};
use serde_json::Value;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Row as _,
    postgres::{PgConnectOptions, PgRow},
};
use tidewheel_e2e::postgres::Postgres as Process;
use tidewheel_planner::{
    plan::{ColumnType, Table, TableKind},
    postgres::{qualified, quoted},
};
use tidewheel_provision::postgres::{PlannedTable, ProvisionError, provision};
use tidewheel_sinks::{
    OutputId,
    embedded::Row,
    postgres::{Limits, Postgres},
};

/// A database of its own on a server that all tests share.
pub(crate) struct Server {
    pub(crate) process: &'static Process,
    pub(crate) name: String,
    pub(crate) sink: Postgres,
}

impl Server {
    pub(crate) fn shared() -> Self {
        let process = Process::shared().unwrap();
        let name = process.database().unwrap();
        let sink = Postgres::new(&process.url(&name), Limits::default()).unwrap();
        Self {
            process,
            name,
            sink,
        }
    }

    /// What another program reads or does.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.process.sql(&self.name, sql).unwrap()
    }

    pub(crate) async fn create(&self, output: &OutputId, table: &Table) -> Result<(), String> {
        create(&self.process.url(&self.name), output, table).await
    }

    /// As [`Database::rows`](tidewheel_sinks::embedded::Database::rows) gives them.
    pub(crate) async fn rows(&self, table: &Table) -> Vec<Row> {
        let columns = table.columns.iter();
        let columns: Vec<_> = columns
            .filter(|column| !table.is_ours(&column.name))
            .collect();
        let list: Vec<String> = columns
            .iter()
            .map(|column| format!("{}::text", quoted(&column.name)))
            .collect();
        let order = match &table.kind {
            TableKind::Rows => "_partition, _offset, _ordinal".to_owned(),
            TableKind::Windows { key } => {
                let key: Vec<String> = key
                    .iter()
                    .map(|name| format!("{} NULLS FIRST", quoted(name)))
                    .collect();
                key.join(", ")
            }
        };
        let sql = format!(
            "SELECT {} FROM {} ORDER BY {order}",
            list.join(", "),
            qualified(table)
        );
        let options: PgConnectOptions = self.process.url(&self.name).parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        let rows = sqlx::raw_sql(AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let row = |row: &PgRow| -> Row {
            let values = columns.iter().enumerate().map(|(place, column)| {
                let text: Option<String> = row.get(place);
                (column.name.clone(), json(text, column.data_type))
            });
            values.collect()
        };
        rows.iter().map(row).collect()
    }
}

/// Makes a table, or adds to it what it lacks; says why that would not do.
pub(crate) async fn create(url: &str, output: &OutputId, table: &Table) -> Result<(), String> {
    let planned = PlannedTable {
        pipeline: output.pipeline.clone(),
        output: output.output.clone(),
        table: table.clone(),
    };
    match provision(url, &[planned]).await {
        Err(ProvisionError::Refused(refused)) => Err(refused[0].to_string()),
        other => {
            other.unwrap();
            Ok(())
        }
    }
}

fn json(text: Option<String>, data_type: ColumnType) -> Value {
    let Some(text) = text else { return Value::Null };
    match data_type {
        ColumnType::Bigint => text.parse::<i64>().unwrap().into(),
        ColumnType::Boolean => (text == "true").into(),
        ColumnType::Double => match text.parse::<f64>().unwrap() {
            number if number.is_finite() => number.into(),
            _ => text.into(),
        },
        ColumnType::Timestamp => {
            let time = DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f%#z").unwrap();
            time.to_utc()
                .to_rfc3339_opts(SecondsFormat::AutoSi, true)
                .into()
        }
        ColumnType::Text
        | ColumnType::Uuid
        | ColumnType::Numeric { .. }
        | ColumnType::Date
        | ColumnType::Json => text.into(),
    }
}
