//! What people see: on terminals of two sizes, and in lines.
use std::collections::BTreeMap;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use tidewheel_decode::{EventSchema, Field, FieldType, UnknownFields};
use uuid::Uuid;

use super::lines::{Told, lines};
use super::model::Model;
use super::run::Input;
use super::sample::{Address, curl};
use super::snapshot::*;
use super::{screen, text};

/// 2026-03-01T12:34:56Z.
const NOW_MS: i64 = 1_772_368_496_000;
const HOUR_MS: i64 = 3_600_000;

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter()
        .map(|(reason, n)| ((*reason).to_owned(), *n))
        .collect()
}

fn schema() -> EventSchema {
    let field = |path: &str, data_type, required| Field {
        name: path.replace('.', "_"),
        part: tidewheel_decode::Part::Value,
        path: path.split('.').map(str::to_owned).collect(),
        data_type,
        required,
    };
    EventSchema {
        fields: vec![
            field("event_id", FieldType::Uuid, true),
            field("timestamp", FieldType::Timestamp, true),
            field("source", FieldType::Text, false),
            field("attributes.method", FieldType::Text, true),
            field("attributes.code", FieldType::Bigint, false),
            field("ok", FieldType::Boolean, false),
            field("attributes.metric", FieldType::Double, false),
            field("referrer", FieldType::Text, false),
        ],
        unknown: UnknownFields::Keep,
        format: tidewheel_decode::EventFormat::Json,
    }
}

fn address(source: Option<(&'static str, &'static str)>, needs_key: bool) -> Address<'static> {
    Address {
        url: "http://127.0.0.1:8080",
        source,
        needs_key,
    }
}

fn clicks() -> Pipeline {
    let window = |hour: i64, rows| OpenWindow {
        step: "hourly".into(),
        start_ms: NOW_MS / HOUR_MS * HOUR_MS + hour * HOUR_MS,
        end_ms: NOW_MS / HOUR_MS * HOUR_MS + (hour + 1) * HOUR_MS,
        closes_at_ms: NOW_MS / HOUR_MS * HOUR_MS + (hour + 1) * HOUR_MS,
        rows,
    };
    let hour = |start: &str, method: &str, count: &str, bytes: &str| {
        texts(&[
            start,
            method,
            count,
            bytes,
            "0",
            "12",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko",
            "88.5",
        ])
    };
    let columns = [
        "window_start",
        "method",
        "count",
        "sum_bytes",
        "errors",
        "users",
        "agent",
        "p95_bytes",
    ];
    Pipeline {
        name: "web/web-analytics".into(),
        records: 10_000,
        watermark_ms: Some(NOW_MS - 61_000),
        open_windows: vec![window(0, 1_204), window(1, 3)],
        results: vec![
            Results {
                output: "clicks_unique".into(),
                columns: texts(&["event_id", "ts", "method"]),
                rows: (0..20)
                    .map(|n| {
                        texts(&[
                            &format!("0195507a-7c1e-7a43-8d42-{n:012}"),
                            "2026-03-01T12:34:55Z",
                            "GET",
                        ])
                    })
                    .collect(),
            },
            Results {
                output: "clicks_hourly".into(),
                columns: texts(&columns),
                rows: vec![
                    hour("2026-03-01T11:00:00Z", "GET", "5210", "91823011"),
                    hour("2026-03-01T11:00:00Z", "POST", "7", "1200"),
                    hour("2026-03-01T10:00:00Z", "GET", "4999", "88812345"),
                ],
            },
        ],
        ledgers: vec![
            Ledger {
                output: "clicks_unique".into(),
                read: 10_000,
                written: 9_990,
                duplicates: 4,
                dead_letters: counts(&[("WrongType", 5), ("TooLarge", 1)]),
                ..Ledger::default()
            },
            Ledger {
                output: "clicks_hourly".into(),
                read: 10_000,
                written: 8_773,
                open: 1_207,
                filtered: 4,
                duplicates: 4,
                late: 3,
                dead_letters: counts(&[("WrongType", 5), ("TooLarge", 1)]),
                missing: 3,
                ..Ledger::default()
            },
        ],
        blocked: Vec::new(),
    }
}

fn snapshot() -> Snapshot {
    let command = curl(address(None, false), &schema(), &[0], NOW_MS, Uuid::nil());
    Snapshot {
        now_ms: NOW_MS,
        url: Some("http://127.0.0.1:8080".into()),
        http_sources: vec![HttpSource {
            name: "web/clicks".into(),
            command,
        }],
        databases: vec![Database {
            sink: "web/warehouse".into(),
            path: "/tmp/tidewheel-x/tables/web.warehouse.db".into(),
        }],
        sources: vec![SourceCounts {
            name: "web/clicks".into(),
            accepted: 10_006,
            refused: counts(&[("WrongType", 12), ("Malformed", 3), ("Missing", 0)]),
        }],
        pipelines: vec![clicks()],
        notices: Vec::new(),
    }
}

/// The same pipeline 5 s before, with fewer events, and then now.
fn model(snapshot: Snapshot) -> Model {
    let mut before = snapshot.clone();
    before.now_ms -= 5_000;
    before
        .pipelines
        .iter_mut()
        .for_each(|pipeline| pipeline.records -= 6_000);
    let mut model = Model::default();
    model.update(before);
    model.update(snapshot);
    model
}

fn drawn(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen::draw(model, frame)).unwrap();
    terminal.backend().to_string()
}

fn several() -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.http_sources.clear();
    snapshot.url = None;
    snapshot.pipelines.push(Pipeline {
        name: "web/empty".into(),
        records: 6_000,
        ..Pipeline::default()
    });
    snapshot.pipelines[0].blocked = vec![(
        "hourly/3".into(),
        "output `clicks_hourly` of pipeline `web/web-analytics`: the sink is unavailable: disk full".into(),
    )];
    snapshot.notices = texts(&["the files have changed: web/web-analytics goes on as it says now"]);
    snapshot
}

#[test]
fn a_small_terminal_shows_all_there_is() {
    insta::assert_snapshot!(drawn(&model(snapshot()), 80, 24));
}

#[test]
fn a_large_terminal_shows_windows_beside_results() {
    insta::assert_snapshot!(drawn(&model(snapshot()), 140, 40));
}

#[test]
fn several_pipelines_are_listed_and_a_blocked_task_says_why() {
    insta::assert_snapshot!(drawn(&model(several()), 80, 24));
    insta::assert_snapshot!(drawn(&model(several()), 140, 40));
}

#[test]
fn tab_shows_the_next_pipeline_and_comes_round() {
    let mut model = model(several());
    let first = drawn(&model, 80, 24);
    model.look_at_next();
    insta::assert_snapshot!(drawn(&model, 80, 24));
    model.look_at_next();
    assert_eq!(drawn(&model, 80, 24), first);
    model.look_at_previous();
    assert_eq!(model.looked_at().unwrap().1.name, "web/empty");
}

#[test]
fn a_terminal_of_any_size_is_drawn_on() {
    let model = model(several());
    let empty = Model::default();
    for (width, height) in [(1, 1), (3, 2), (20, 5), (79, 12), (300, 3), (400, 120)] {
        drawn(&model, width, height);
        drawn(&empty, width, height);
    }
}

#[test]
fn nothing_has_come_yet_is_said() {
    let mut fresh = snapshot();
    fresh.sources.clear();
    fresh.pipelines = vec![Pipeline {
        name: "web/web-analytics".into(),
        results: vec![Results {
            output: "clicks_hourly".into(),
            ..Results::default()
        }],
        ledgers: vec![Ledger {
            output: "clicks_hourly".into(),
            ..Ledger::default()
        }],
        ..Pipeline::default()
    }];
    let mut model = Model::default();
    model.update(fresh);
    insta::assert_snapshot!(drawn(&model, 80, 24));
}

#[test]
fn what_comes_from_events_cannot_break_the_screen() {
    let mut hostile = snapshot();
    let rows = vec![texts(&[
        "\u{1b}[2J\u{7}\n\r\t",
        "日本語のとても長いテキストがここにありますので切られます",
        "e\u{301}\u{202e}x",
    ])];
    hostile.pipelines[0].results = vec![Results {
        output: "o".into(),
        columns: texts(&["a", "b", "c"]),
        rows,
    }];
    let screen = drawn(&model(hostile), 140, 40);
    assert!(
        !screen.chars().any(|c| c.is_control() && c != '\n'),
        "{screen}"
    );
    assert!(
        !screen.contains('\u{202e}'),
        "text must not run backwards: {screen}"
    );
    assert!(screen.contains("日本語"), "{screen}");
    assert!(screen.contains('…'), "{screen}");
}

#[test]
fn rates_are_over_the_last_seconds_and_begin_again_with_the_tasks() {
    let mut model = Model::default();
    let mut at = |now_ms: i64, records: u64| {
        let mut snapshot = snapshot();
        (snapshot.now_ms, snapshot.pipelines[0].records) = (now_ms, records);
        model.update(snapshot);
        model.events_per_second("web/web-analytics")
    };
    assert_eq!(at(0, 0), 0.0);
    assert_eq!(at(1_000, 500), 500.0);
    assert_eq!(
        at(6_000, 500),
        0.0,
        "what was longer ago than five seconds counts no more"
    );
    assert_eq!(at(7_000, 20), 0.0, "a task began again");
    assert_eq!(at(8_000, 30), 10.0);
}

#[test]
fn lines_say_the_same_without_a_terminal() {
    insta::assert_snapshot!(lines(&model(several())).join("\n"));
}

#[test]
fn a_line_is_said_again_when_it_changes() {
    let mut told = Told::default();
    let mut several = several();
    let said = told.changes(&model(several.clone()));
    assert_eq!(said, lines(&model(several.clone())));
    assert!(told.changes(&model(several.clone())).is_empty());
    several.pipelines[0].records += 1;
    let changed = told.changes(&model(several));
    assert_eq!(changed.len(), 1, "{changed:?}");
}

#[test]
fn how_to_send_is_said_once_and_each_notice_once() {
    let mut told = Told::default();
    let mut snapshot = snapshot();
    insta::assert_snapshot!(told.news(&snapshot).join("\n"));
    assert!(told.news(&snapshot).is_empty());
    snapshot.notices.push("one".into());
    assert_eq!(told.news(&snapshot), ["one"]);
    snapshot.notices.push("two".into());
    assert_eq!(told.news(&snapshot), ["two"]);
    snapshot.notices = texts(&["two", "three"]);
    assert_eq!(told.news(&snapshot), ["three"], "the oldest was dropped");
    snapshot.notices = texts(&["four"]);
    assert_eq!(told.news(&snapshot), ["four"]);
}

#[test]
fn the_sample_command_goes_to_the_source_and_shows_a_key_where_one_is_needed() {
    let plain = curl(address(None, false), &schema(), &[0], NOW_MS, Uuid::nil());
    let named = curl(
        address(Some(("web", "clicks")), true),
        &schema(),
        &[],
        NOW_MS,
        Uuid::nil(),
    );
    insta::assert_snapshot!(format!("{plain}\n\n{named}"));
}

#[test]
fn the_sample_event_decodes_under_its_schema() {
    let schema = schema();
    let command = curl(address(None, false), &schema, &[], NOW_MS, Uuid::nil());
    let (_, event) = command.split_once("--json '").unwrap();
    let event = event.strip_suffix('\'').unwrap();
    let decoded = tidewheel_decode::Decoder::new(schema.into()).decode([event.as_bytes()]);
    assert!(decoded.refused.is_empty(), "{event}");
}

#[test]
fn the_sample_of_a_source_of_cloud_events_is_one() {
    let mut schema = schema();
    schema.format = tidewheel_decode::EventFormat::CloudEvents;
    let command = curl(address(None, false), &schema, &[], NOW_MS, Uuid::nil());
    let (_, event) = command.split_once("--json '").unwrap();
    let event = event.strip_suffix('\'').unwrap();
    tidewheel_decode::cloud_events::CloudEvents::check(event.as_bytes()).unwrap();
    assert!(event.contains(r#""attributes""#), "{event}");
}

#[test]
fn a_quote_in_a_name_cannot_end_the_shells_quotes() {
    let mut schema = schema();
    schema.fields[2].path = vec!["it's".into()];
    let command = curl(address(None, false), &schema, &[], NOW_MS, Uuid::nil());
    assert_eq!(command.matches('\'').count(), 2, "{command}");
}

#[test]
fn q_and_ctrl_c_quit() {
    let press = |code, modifiers| Input::of(&Event::Key(KeyEvent::new(code, modifiers)));
    assert_eq!(
        press(KeyCode::Char('q'), KeyModifiers::NONE),
        Some(Input::Quit)
    );
    assert_eq!(
        press(KeyCode::Char('c'), KeyModifiers::CONTROL),
        Some(Input::Quit)
    );
    assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), None);
    assert_eq!(press(KeyCode::Tab, KeyModifiers::NONE), Some(Input::Next));
}

#[test]
fn numbers_and_times_read_well() {
    assert_eq!(
        [0, 999, 1_000, 1_234_567].map(text::count),
        ["0", "999", "1,000", "1,234,567"]
    );
    assert_eq!(
        [0.0, 0.4, 9.96, 12_345.6].map(text::rate),
        ["0", "0.4", "10", "12,346"]
    );
    let durations = [
        0,
        1,
        59_000,
        61_000,
        3_600_000,
        7_500_000,
        90_000_000,
        363_000_000_000,
    ]
    .map(text::duration);
    assert_eq!(
        durations,
        [
            "0s", "1s", "59s", "1m 1s", "1h", "2h 5m", "1d 1h", "11y 186d"
        ]
    );
    assert_eq!(text::time(NOW_MS, NOW_MS), "12:34:56");
    assert_eq!(text::time(0, NOW_MS), "1970-01-01 00:00:00");
}
