//! What is shown of statuses, rows and ledgers.
use std::sync::Arc;

use prometheus::{IntCounterVec, Opts};
use tidewheel_engine::stage2;
use tidewheel_planner::plan::{Column, ColumnType, Relation, Table, TableKind, Target};
use tidewheel_worker::TaskStatus;

use super::*;
use crate::dev::results::StageLedger;

fn plan() -> Plan {
    let column = |name: &str, data_type| Column {
        name: name.into(),
        data_type,
        nullable: true,
    };
    let columns = vec![
        column("n", ColumnType::Bigint),
        column("text", ColumnType::Text),
        column("window_start", ColumnType::Timestamp),
        column("_offset", ColumnType::Bigint),
    ];
    let table = Table {
        schema: "public".into(),
        name: "t".into(),
        columns,
        kind: TableKind::Rows,
        retention_ms: None,
    };
    let output = Output {
        name: "kpi".into(),
        from: Relation::Source(0),
        sink: "shop/w".into(),
        target: Target::Table(table),
    };
    Plan {
        namespace: "shop".into(),
        name: "kpis".into(),
        revision: None,
        sources: Vec::new(),
        steps: Vec::new(),
        outputs: vec![output],
        dead_letter_retention_ms: 1,
    }
}

fn step_task(watermark_ms: i64, windows: &[(i64, i64)]) -> TaskStatus {
    let window = |&(start_ms, contributions): &(i64, i64)| stage2::OpenWindow {
        start_ms,
        end_ms: start_ms + 10,
        emits_at_ms: start_ms + 15,
        contributions,
    };
    TaskStatus {
        stage: 2,
        watermark_ms: Some(watermark_ms),
        open_windows: windows.iter().map(window).collect(),
        ..TaskStatus::default()
    }
}

fn source_task(records: u64, watermark_ms: Option<i64>) -> TaskStatus {
    TaskStatus {
        stage: 1,
        records,
        watermark_ms,
        ..TaskStatus::default()
    }
}

fn collected(
    status: impl IntoIterator<Item = ((&'static str, i32), TaskStatus)>,
    rows: Vec<Row>,
    ledgers: &[OutputLedger],
) -> Pipeline {
    let status = status
        .into_iter()
        .map(|((input, partition), task)| ((input.to_owned(), partition), task))
        .collect();
    pipeline(
        &plan(),
        &status,
        &BTreeMap::from([("kpi".to_owned(), rows)]),
        ledgers,
    )
}

#[test]
fn windows_of_all_tasks_are_added_up_and_the_first_to_close_comes_first() {
    let of = collected(
        [
            (("kpi", 0), step_task(5, &[(20, 2), (0, 1)])),
            (("kpi", 1), step_task(4, &[(0, 4)])),
        ],
        Vec::new(),
        &[],
    );
    let shown: Vec<_> = of
        .open_windows
        .iter()
        .map(|window| (window.start_ms, window.closes_at_ms, window.rows))
        .collect();
    assert_eq!(shown, [(0, 15, 5), (20, 35, 2)]);
}

#[test]
fn the_watermark_is_that_of_the_slowest_task_that_closes_windows() {
    let sources = || {
        [
            (("clicks", 0), source_task(3, Some(9))),
            (("clicks", 1), source_task(4, None)),
            (("clicks", 2), source_task(0, Some(8))),
        ]
    };
    let steps = [
        (("kpi", 0), step_task(5, &[])),
        (("kpi", 1), step_task(4, &[])),
    ];
    assert_eq!(
        collected(sources().into_iter().chain(steps), Vec::new(), &[]).watermark_ms,
        Some(4)
    );
    let without_windows = collected(sources(), Vec::new(), &[]);
    assert_eq!(
        (without_windows.watermark_ms, without_windows.records),
        (Some(8), 7)
    );
}

#[test]
fn rows_show_the_users_columns_in_their_order_and_the_window_first() {
    let row = serde_json::json!({"text": "a", "n": null, "window_start": "2026-01-01T00:00:00Z", "_offset": 7});
    let of = collected([], vec![row.as_object().cloned().unwrap_or_default()], &[]);
    assert_eq!(of.results[0].columns, ["window_start", "n", "text"]);
    assert_eq!(of.results[0].rows, [["2026-01-01T00:00:00Z", "", "a"]]);
}

#[test]
fn doubles_are_short() {
    let shown = [0.0, 324.0, 1138.0620735799998, -0.001, 0.00001234567, 1e300].map(double);
    assert_eq!(
        shown,
        ["0", "324", "1138.0621", "-0.001", "1.2346e-5", "1.0000e300"]
    );
}

#[test]
fn a_ledger_of_windows_counts_what_is_on_its_way_as_open() {
    let stage = |read, written, in_flight| StageLedger {
        read,
        written,
        filtered: BTreeMap::from([("having".to_owned(), 1)]),
        tombstone: 0,
        duplicate: 1,
        late: 1,
        earlier_generation: 0,
        skipped: 0,
        lost: 0,
        dead_lettered: BTreeMap::from([("Late".to_owned(), 2)]),
        in_flight,
    };
    let ledger = OutputLedger {
        pipeline: "shop/kpis".into(),
        output: "kpi".into(),
        balanced: false,
        stage1: StageLedger {
            skipped: 7,
            tombstone: 3,
            ..stage(115, 100, 0)
        },
        stage2: Some(stage(90, 50, 30)),
    };
    let other = OutputLedger {
        pipeline: "shop/other".into(),
        ..ledger.clone()
    };
    let of = collected([], Vec::new(), &[other, ledger]);
    let expected = Ledger {
        output: "kpi".into(),
        read: 108,
        written: 50,
        open: 40,
        filtered: 5,
        duplicates: 2,
        late: 2,
        lost: 0,
        dead_letters: BTreeMap::from([("Late".to_owned(), 4)]),
        missing: 5,
    };
    assert_eq!(of.ledgers, [expected]);
}

#[test]
fn a_blocked_task_is_named_with_its_reason() {
    let blocked = TaskStatus {
        blocked: Some("disk full".into()),
        ..source_task(0, None)
    };
    let of = collected(
        [
            (("clicks", 3), blocked),
            (("clicks", 4), source_task(0, None)),
        ],
        Vec::new(),
        &[],
    );
    assert_eq!(
        of.blocked,
        [("clicks/3".to_owned(), "disk full".to_owned())]
    );
}

#[test]
fn what_ingestion_counts_is_shown_by_source() {
    let registry = Registry::new();
    let counter = |name: &str, labels: &[&str]| {
        let counter = IntCounterVec::new(Opts::new(name, "help"), labels).expect("a good name");
        registry
            .register(Box::new(counter.clone()))
            .expect("a new name");
        counter
    };
    let events = counter("tidewheel_ingest_events_total", &["source", "outcome"]);
    events
        .with_label_values(&["shop/clicks", "accepted"])
        .inc_by(7);
    events
        .with_label_values(&["shop/clicks", "refused"])
        .inc_by(3);
    let refused = counter("tidewheel_ingest_refused_events_total", &["source", "code"]);
    refused
        .with_label_values(&["shop/clicks", "WrongType"])
        .inc_by(3);
    refused.with_label_values(&["shop/clicks", "Missing"]);
    refused.with_label_values(&["", "Malformed"]).inc();
    let expected = SourceCounts {
        name: "shop/clicks".into(),
        accepted: 7,
        refused: BTreeMap::from([("WrongType".to_owned(), 3)]),
    };
    assert_eq!(ingested(&registry), [expected]);
}

#[test]
fn the_series_that_are_read_are_those_that_ingestion_has() {
    let registry = Registry::new();
    let log = Arc::new(tidewheel_log::EmbeddedLog::in_memory(
        tidewheel_log::Options::default(),
    ));
    let ingest =
        tidewheel_ingest::Ingest::new(Default::default(), log, &registry).expect("fresh names");
    let schema = tidewheel_decode::EventSchema {
        fields: Vec::new(),
        unknown: tidewheel_decode::UnknownFields::Keep,
        format: tidewheel_decode::EventFormat::Json,
    };
    let source = tidewheel_ingest::Source {
        namespace: "shop".into(),
        name: "clicks".into(),
        topic: "shop.clicks".into(),
        schema: Arc::new(schema),
        generated: Vec::new(),
        key: Vec::new(),
        api_keys: None,
        cors_origins: Vec::new(),
        events_per_second_per_key: None,
    };
    ingest.replace(vec![source]).expect("a good source");
    assert_eq!(
        ingested(&registry),
        [SourceCounts {
            name: "shop/clicks".into(),
            ..SourceCounts::default()
        }]
    );
    let names: Vec<_> = registry
        .gather()
        .iter()
        .map(|family| family.name().to_owned())
        .collect();
    for name in [
        "tidewheel_ingest_events_total",
        "tidewheel_ingest_refused_events_total",
    ] {
        assert!(names.iter().any(|found| found == name), "{name}");
    }
}
