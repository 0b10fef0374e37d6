//! From what runs to what is shown.
#[cfg(test)]
mod tests;

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
    let name = plan.full_name();
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

/// The user's columns, but `window_start` before all others: it says which window a row is of, also where not all columns fit.
fn results(output: &Output, rows: &[Row]) -> Results {
    let all = output.columns().iter().map(|column| &column.name);
    let mut columns: Vec<_> = all.filter(|name| !name.starts_with('_')).collect();
    columns.sort_by_key(|name| *name != "window_start");
    let texts = |row: &Row| {
        let values = columns.iter().map(|name| row.get(*name));
        values
            .map(|value| value.map(text).unwrap_or_default())
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
        Value::Number(number) if number.is_f64() => double(number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// A double short enough to be read; the table has all of its digits.
fn double(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (0.001..1e15).contains(&magnitude) {
        let rounded = format!("{value:.4}");
        rounded
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    } else {
        format!("{value:.4e}")
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
        read: first.read.saturating_sub(first.skipped),
        written: of
            .stage2
            .as_ref()
            .map_or(first.written, |second| second.written),
        open: of
            .stage2
            .as_ref()
            .map_or(0, |second| second.in_flight + open(second.read)),
        filtered: stages()
            .map(|stage| stage.filtered.values().sum::<u64>() + stage.tombstone)
            .sum(),
        duplicates: stages().map(|stage| stage.duplicate).sum(),
        late: stages()
            .map(|stage| stage.late + stage.earlier_generation)
            .sum(),
        lost: stages().map(|stage| stage.lost).sum(),
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
        name: source.full_name(),
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
