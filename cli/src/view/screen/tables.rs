//! The tables of a pipeline.
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::super::snapshot::{Ledger, OpenWindow, Pipeline, Results};
use super::super::text;

/// A column is given no more than this, so that others are seen beside a long text.
const WIDEST_COLUMN: usize = 36;

/// The windows that close next, and what stands between them and their results.
pub(super) fn open_windows(pipeline: &Pipeline, now_ms: i64, frame: &mut Frame<'_>, area: Rect) {
    if pipeline.open_windows.is_empty() {
        return frame.render_widget(Paragraph::new("none".dim()), area);
    }
    let shown = pipeline.open_windows.len().min(usize::from(area.height));
    let mut lines: Vec<_> = pipeline
        .open_windows
        .iter()
        .take(shown)
        .map(|window| open_window(pipeline, window, now_ms))
        .collect();
    let more = pipeline.open_windows.len() - shown;
    if let (Some(last), true) = (lines.last_mut(), more > 0) {
        last.push_span(format!("  (+ {more} more)").dim());
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn open_window<'a>(pipeline: &Pipeline, window: &'a OpenWindow, now_ms: i64) -> Line<'a> {
    let closing = match pipeline
        .watermark_ms
        .map(|watermark_ms| window.closes_at_ms - watermark_ms)
    {
        Some(left_ms) if left_ms > 0 => format!("closes in {}", text::duration(left_ms)),
        Some(_) => "is closing".to_owned(),
        None => "waits for a watermark".to_owned(),
    };
    let (start, end) = (
        text::time(window.start_ms, now_ms),
        text::time(window.end_ms, now_ms),
    );
    Line::from(vec![
        format!("{start} – {}  ", end.rsplit(' ').next().unwrap_or(&end)).bold(),
        format!("{closing}, {}  ", text::rows(window.rows)).into(),
        window.step.as_str().dim(),
    ])
}

/// The newest rows of an output.
pub(super) fn newest(results: &Results, frame: &mut Frame<'_>, area: Rect) {
    if results.rows.is_empty() {
        return frame.render_widget(Paragraph::new("no rows yet".dim()), area);
    }
    let width = |column: usize| {
        let values = results
            .rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|value| Span::from(value.as_str()).width());
        let name = results
            .columns
            .get(column)
            .map_or(0, |name| Span::from(name.as_str()).width());
        values.chain([name]).max().unwrap_or(0).min(WIDEST_COLUMN)
    };
    // Columns that do not fit whole are left out: half a number misleads.
    let mut left = usize::from(area.width);
    let mut widths = Vec::new();
    for column in 0..results.columns.len() {
        let needed = width(column) + usize::from(column > 0);
        if needed > left && column > 0 {
            break;
        }
        left = left.saturating_sub(needed);
        widths.push(super::to_u16(width(column)));
    }
    let columns = widths.len();
    let rows = results
        .rows
        .iter()
        .map(|row| Row::new(row.iter().take(columns).map(|value| cell(value))));
    let header = results
        .columns
        .iter()
        .take(columns)
        .map(|name| Cell::from(name.as_str()));
    let table = Table::new(rows, widths.into_iter().map(Constraint::Length))
        .header(Row::new(header).style(Style::new().dim()))
        .column_spacing(1);
    frame.render_widget(table, area);
}

/// A value on one line. What ends in `…` is longer.
fn cell(value: &str) -> Cell<'static> {
    let line: String = value
        .chars()
        .filter(|&c| !turns_direction(c))
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if Span::from(line.as_str()).width() <= WIDEST_COLUMN {
        return Cell::from(line);
    }
    let mut short = String::new();
    for character in line.chars() {
        // Two for a wide character, one for the mark.
        if Span::from(short.as_str()).width() + 3 > WIDEST_COLUMN {
            break;
        }
        short.push(character);
    }
    short.push('…');
    Cell::from(short)
}

/// Characters that would make the rest of the line run backwards.
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Where the records went, a line for each output, and one for each remark on it.
pub(super) fn ledger(pipeline: &Pipeline, frame: &mut Frame<'_>, area: Rect) {
    let names = [
        "", "read", "written", "open", "filtered", "twice", "late", "dead", "missing",
    ];
    let name_width = pipeline
        .ledgers
        .iter()
        .map(|ledger| ledger.output.len())
        .max()
        .unwrap_or(0)
        .clamp(6, 16);
    let mut lines = vec![ledger_line(names.map(str::to_owned), name_width).dim()];
    for ledger in &pipeline.ledgers {
        lines.push(counts(ledger, name_width));
        lines.extend(remarks(ledger).map(|remark| Line::from(remark.red())));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// What is said of a ledger beneath its counts.
pub(super) fn remarks(ledger: &Ledger) -> impl Iterator<Item = String> {
    let reasons = text::reasons(&ledger.dead_letters);
    let dead = (!reasons.is_empty()).then(|| format!("  dead letters: {reasons}"));
    let lost = text::count(ledger.lost);
    let lost = (ledger.lost > 0).then(|| format!("  lost: {lost} deleted before they were read"));
    dead.into_iter().chain(lost)
}

fn counts(ledger: &Ledger, name_width: usize) -> Line<'_> {
    let dead = ledger.dead_letters.values().sum();
    let counts = [
        ledger.read,
        ledger.written,
        ledger.open,
        ledger.filtered,
        ledger.duplicates,
        ledger.late,
        dead,
    ]
    .map(text::count);
    let [read, written, open, filtered, duplicates, late, dead] = counts;
    let missing = ledger.missing.to_string();
    let line = ledger_line(
        [
            ledger.output.clone(),
            read,
            written,
            open,
            filtered,
            duplicates,
            late,
            dead,
            missing,
        ],
        name_width,
    );
    if ledger.missing == 0 {
        line
    } else {
        line.yellow()
    }
}

fn ledger_line(cells: [String; 9], name_width: usize) -> Line<'static> {
    let [name, rest @ ..] = cells;
    let short: String = name.chars().take(name_width).collect();
    let mut line = format!("{short:name_width$}");
    for (cell, width) in rest.iter().zip([10, 10, 8, 9, 7, 6, 6, 8]) {
        line.push_str(&format!("{cell:>width$}"));
    }
    Line::from(line)
}
