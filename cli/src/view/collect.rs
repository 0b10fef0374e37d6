//! From what runs to what is shown.
use std::collections::BTreeMap;

use prometheus::Registry;
use serde_json::Value;
use tidewheel_planner::plan::{Output, Plan};
use tidewheel_sinks::embedded::Row;
use tidewheel_worker::Status;
use uuid::Uuid;

use super::sample::{Address, curl};
use super::snapshot::{HttpSource, Ledger, OpenWindow, Pipeline, Results, SourceCounts};
use crate::dev::results::OutputLedger;

/// A pipeline at one moment. `newest` are the newest rows of its outputs, by name; `ledgers` may be those of all pipelines.
pub(crate) fn pipeline(
    plan: &Plan,
    status: &Status,
    newest: &BTreeMap<String, Vec<Row>>,
    ledgers: &[OutputLedger],
) -> Pipeline {
    let name = format!("{}/{}", plan.namespace, plan.name);
    let blocked = status.iter().filter_map(|((input, partition), task)| {
        Some((format!("{input}/{partition}"), task.blocked.clone()?))
    });
    Pipeline {
        records: status
            .values()
            .filter(|task| task.stage == 1)
            .map(|task| task.records)
            .sum(),
        watermark_ms: watermark_ms(status),
        open_windows: open_windows(status),
        results: plan
            .outputs
            .iter()
            .map(|output| results(output, newest.get(&output.name).map_or(&[], Vec::as_slice)))
            .collect(),
        ledgers: ledgers
            .iter()
            .filter(|ledger| ledger.pipeline == name)
            .map(ledger)
            .collect(),
        blocked: blocked.collect(),
        name,
    }
}

/// Up to where windows may close: what the slowest task says, of those that close windows, or else of those that read sources.
fn watermark_ms(status: &Status) -> Option<i64> {
    let slowest = |stage| {
        status
            .values()
            .filter(|task| task.stage == stage)
            .filter_map(|task| task.watermark_ms)
            .min()
    };
    slowest(2).or_else(|| slowest(1))
}

/// The open windows of all tasks together.
fn open_windows(status: &Status) -> Vec<OpenWindow> {
    let mut windows: BTreeMap<(i64, &str, i64), OpenWindow> = BTreeMap::new();
    for ((step, _), task) in status {
        for open in &task.open_windows {
            let window = windows
                .entry((open.emits_at_ms, step, open.start_ms))
                .or_insert_with(|| OpenWindow {
                    step: step.clone(),
                    start_ms: open.start_ms,
                    end_ms: open.end_ms,
                    closes_at_ms: open.emits_at_ms,
                    rows: 0,
                });
            window.rows += open.contributions.unsigned_abs();
        }
    }
    windows.into_values().collect()
}

fn results(output: &Output, rows: &[Row]) -> Results {
    let columns: Vec<_> = output
        .table
        .columns
        .iter()
        .map(|column| &column.name)
        .filter(|name| !name.starts_with('_'))
        .collect();
    let texts = |row: &Row| {
        columns
            .iter()
            .map(|name| row.get(*name).map(text).unwrap_or_default())
            .collect()
    };
    Results {
        output: output.name.clone(),
        rows: rows.iter().map(texts).collect(),
        columns: columns.into_iter().cloned().collect(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Both stages in one line: what left stage 1 for windows and has not arrived in stage 2 counts as open.
fn ledger(of: &OutputLedger) -> Ledger {
    let first = &of.stage1;
    let stages = || std::iter::once(first).chain(&of.stage2);
    let mut dead_letters = BTreeMap::new();
    for (reason, count) in stages().flat_map(|stage| &stage.dead_lettered) {
        *dead_letters.entry(reason.clone()).or_default() += count;
    }
    let missing: i128 = stages().map(|stage| stage.missing()).sum();
    let open = |second| first.written.saturating_sub(second);
    Ledger {
        output: of.output.clone(),
        read: first.read,
        written: of
            .stage2
            .as_ref()
            .map_or(first.written, |second| second.written),
        open: of
            .stage2
            .as_ref()
            .map_or(0, |second| second.in_flight + open(second.read)),
        filtered: stages().flat_map(|stage| stage.filtered.values()).sum(),
        duplicates: stages().map(|stage| stage.duplicate).sum(),
        late: stages()
            .map(|stage| stage.late + stage.earlier_generation)
            .sum(),
        dead_letters,
        missing: i64::try_from(missing).unwrap_or(i64::MAX),
    }
}

/// How to send an event that happens at `now_ms` to a source that is served at `url`. `is_only`: no other source is served there.
pub(crate) fn http_source(
    url: &str,
    source: &tidewheel_ingest::Source,
    is_only: bool,
    now_ms: i64,
) -> HttpSource {
    let address = Address {
        url,
        source: (!is_only).then_some((&source.namespace, &source.name)),
        needs_key: source.api_keys.is_some(),
    };
    HttpSource {
        name: format!("{}/{}", source.namespace, source.name),
        command: curl(
            address,
            &source.schema,
            &source.generated,
            now_ms,
            Uuid::new_v4(),
        ),
    }
}

/// What ingestion has counted, by source: from the registry that it was given.
pub(crate) fn ingested(registry: &Registry) -> Vec<SourceCounts> {
    let mut sources: BTreeMap<String, SourceCounts> = BTreeMap::new();
    for family in registry.gather() {
        for metric in family.get_metric() {
            let label = |name: &str| {
                metric
                    .get_label()
                    .iter()
                    .find(|pair| pair.name() == name)
                    .map(|pair| pair.value().to_owned())
            };
            let Some(name) = label("source").filter(|name| !name.is_empty()) else {
                continue;
            };
            let counts = sources.entry(name.clone()).or_insert_with(|| SourceCounts {
                name,
                ..SourceCounts::default()
            });
            let count = metric.get_counter().get_value() as u64;
            match (family.name(), label("outcome").as_deref(), label("code")) {
                ("tidewheel_ingest_events_total", Some("accepted"), _) => counts.accepted = count,
                ("tidewheel_ingest_refused_events_total", _, Some(code)) if count > 0 => {
                    counts.refused.insert(code, count);
                }
                _ => {}
            }
        }
    }
    sources.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus::{IntCounterVec, Opts};
    use tidewheel_engine::stage2;
    use tidewheel_planner::plan::{Column, ColumnType, Relation, Table, TableKind};
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
            column("_offset", ColumnType::Bigint),
        ];
        let table = Table {
            schema: "public".into(),
            name: "t".into(),
            columns,
            kind: TableKind::Rows,
        };
        let output = Output {
            name: "kpi".into(),
            from: Relation::Source(0),
            sink: "shop/w".into(),
            table,
        };
        Plan {
            namespace: "shop".into(),
            name: "kpis".into(),
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
    fn rows_show_the_users_columns_in_their_order() {
        let row = serde_json::json!({"text": "a", "n": null, "_offset": 7});
        let of = collected([], vec![row.as_object().cloned().unwrap_or_default()], &[]);
        assert_eq!(of.results[0].columns, ["n", "text"]);
        assert_eq!(of.results[0].rows, [["", "a"]]);
    }

    #[test]
    fn a_ledger_of_windows_counts_what_is_on_its_way_as_open() {
        let stage = |read, written, in_flight| StageLedger {
            read,
            written,
            filtered: BTreeMap::from([("having".to_owned(), 1)]),
            duplicate: 1,
            late: 1,
            earlier_generation: 0,
            dead_lettered: BTreeMap::from([("Late".to_owned(), 2)]),
            in_flight,
        };
        let ledger = OutputLedger {
            pipeline: "shop/kpis".into(),
            output: "kpi".into(),
            balanced: false,
            stage1: stage(105, 100, 0),
            stage2: Some(stage(90, 50, 30)),
        };
        let other = OutputLedger {
            pipeline: "shop/other".into(),
            ..ledger.clone()
        };
        let of = collected([], Vec::new(), &[other, ledger]);
        let expected = Ledger {
            output: "kpi".into(),
            read: 105,
            written: 50,
            open: 40,
            filtered: 2,
            duplicates: 2,
            late: 2,
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
}
