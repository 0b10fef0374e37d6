//! Draws the model on a terminal of any size.
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::lines::watermark;
use super::model::Model;
use super::snapshot::{Pipeline, Snapshot};
use super::text;

mod tables;

/// From this width on, windows stand beside the results.
const WIDE: u16 = 120;
/// Columns that they have there.
const WINDOWS_WIDTH: u16 = 58;
/// Lines that a pipeline needs at least; what is above gives way.
const PIPELINE_LINES: u16 = 12;

/// Draws everything.
pub(crate) fn draw(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    let snapshot = model.snapshot();
    if *snapshot == Snapshot::default() {
        return frame.render_widget(" tidewheel dev ".reversed(), area);
    }
    let header = header(snapshot);
    let header_lines = to_u16(header.len()).min(area.height.saturating_sub(PIPELINE_LINES).max(1));
    let notices = notices(snapshot, model.looked_at().map(|(_, pipeline)| pipeline));
    let [top, list, middle, bottom] = Layout::vertical([
        Constraint::Length(header_lines),
        Constraint::Length(to_u16(snapshot.pipelines.len().min(4))),
        Constraint::Fill(1),
        Constraint::Length(to_u16(notices.len().min(3))),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header), top);
    frame.render_widget(Paragraph::new(pipelines(model, list.height)), list);
    match model.looked_at() {
        Some((_, pipeline)) => draw_pipeline(pipeline, snapshot.now_ms, frame, middle),
        None => frame.render_widget(
            Paragraph::new("No pipeline reads these sources yet.".dim()),
            middle,
        ),
    }
    let hidden = notices.len().saturating_sub(usize::from(bottom.height));
    frame.render_widget(
        Paragraph::new(notices.into_iter().skip(hidden).collect::<Vec<_>>()),
        bottom,
    );
}

/// What this is, how to send events to it, and where its tables are.
fn header(snapshot: &Snapshot) -> Vec<Line<'_>> {
    let mut title = vec![" tidewheel dev ".reversed(), Span::raw(" ")];
    match &snapshot.url {
        Some(url) => title.push(url.as_str().bold()),
        None => title.push("takes no events over HTTP".dim()),
    }
    title.push(format!("  {} UTC  ", text::time(snapshot.now_ms, snapshot.now_ms)).into());
    let keys = if snapshot.pipelines.len() > 1 {
        "q quits, Tab: next"
    } else {
        "q quits"
    };
    title.push(keys.dim());
    let mut lines = vec![Line::from(title)];
    for database in &snapshot.databases {
        lines.push(Line::from(vec![
            "tables: ".dim(),
            format!("sqlite3 {}", database.path).into(),
        ]));
    }
    for source in &snapshot.http_sources {
        lines.push(Line::from(sending(snapshot, &source.name)));
        // From the left edge, so that it can be copied.
        lines.extend(source.command.lines().map(|line| Line::from(line.cyan())));
    }
    let posted = |name: &String| {
        snapshot
            .http_sources
            .iter()
            .any(|source| source.name == *name)
    };
    for source in snapshot
        .sources
        .iter()
        .filter(|source| !posted(&source.name))
    {
        lines.push(Line::from(sending(snapshot, &source.name)));
    }
    lines
}

/// A source, and what came in there.
fn sending<'a>(snapshot: &'a Snapshot, name: &'a str) -> Vec<Span<'a>> {
    let mut spans = vec!["source: ".dim(), name.bold()];
    if let Some(counts) = snapshot.sources.iter().find(|source| source.name == name) {
        spans.push(format!("  {} accepted", text::count(counts.accepted)).into());
        let refused = text::reasons(&counts.refused);
        if !refused.is_empty() {
            spans.push(format!(", refused: {refused}").red());
        }
    }
    spans
}

/// A line for each pipeline; the list is moved so that the one that is looked at is there.
fn pipelines(model: &Model, height: u16) -> Vec<Line<'_>> {
    let looked_at = model.looked_at().map_or(0, |(index, _)| index);
    let first = (looked_at + 1).saturating_sub(usize::from(height));
    let shown = model.snapshot().pipelines.iter().enumerate().skip(first);
    shown
        .map(|(index, pipeline)| pipeline_line(model, pipeline, index == looked_at))
        .collect()
}

fn pipeline_line<'a>(model: &'a Model, pipeline: &'a Pipeline, is_looked_at: bool) -> Line<'a> {
    let style = if is_looked_at {
        Style::new().bold()
    } else {
        Style::new()
    };
    Line::from(vec![
        Span::styled(if is_looked_at { "▶ " } else { "  " }, style),
        Span::styled(pipeline.name.as_str(), style),
        if pipeline.blocked.is_empty() {
            Span::default()
        } else {
            "  blocked".red().bold()
        },
        format!(
            "  {}/s",
            text::rate(model.events_per_second(&pipeline.name))
        )
        .green(),
        format!("  {} events  ", text::count(pipeline.records)).into(),
        watermark(pipeline, model.snapshot().now_ms).into(),
    ])
}

fn draw_pipeline(pipeline: &Pipeline, now_ms: i64, frame: &mut Frame<'_>, area: Rect) {
    let remarks = pipeline.ledgers.iter().flat_map(tables::remarks).count();
    let ledger_height = to_u16(pipeline.ledgers.len() + remarks + 2).min(area.height / 2);
    let [upper, ledger] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(ledger_height)]).areas(area);
    let [newest, windows] = if area.width >= WIDE {
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(WINDOWS_WIDTH)])
            .spacing(1)
            .areas(upper)
    } else {
        let windows_height = to_u16(pipeline.open_windows.len().clamp(1, 3)) + 1;
        Layout::vertical([Constraint::Fill(1), Constraint::Length(windows_height)]).areas(upper)
    };
    results(pipeline, frame, newest);
    let windows = section(frame, windows, "open windows, by event time");
    tables::open_windows(pipeline, now_ms, frame, windows);
    let ledger = section(frame, ledger, "ledger");
    tables::ledger(pipeline, frame, ledger);
}

/// The newest rows of each output: as many lines for each, but none that an output has no rows for.
fn results(pipeline: &Pipeline, frame: &mut Frame<'_>, area: Rect) {
    let outputs = pipeline.results.len().max(1);
    let share = usize::from(area.height) / outputs;
    let mut heights: Vec<usize> = pipeline
        .results
        .iter()
        .map(|of| (of.rows.len().max(1) + 2).min(share))
        .collect();
    let mut left = usize::from(area.height).saturating_sub(heights.iter().sum());
    for (height, of) in heights.iter_mut().zip(&pipeline.results) {
        let more = (of.rows.len() + 2).saturating_sub(*height).min(left);
        *height += more;
        left -= more;
    }
    let areas = Layout::vertical(
        heights
            .iter()
            .map(|&height| Constraint::Length(to_u16(height))),
    )
    .split(area);
    for (of, area) in pipeline.results.iter().zip(areas.iter()) {
        let inner = section(frame, *area, &format!("newest of {}", of.output));
        tables::newest(of, frame, inner);
    }
}

/// A line with a title, and the area below it.
fn section(frame: &mut Frame<'_>, area: Rect, title: &str) -> Rect {
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().dim())
        .title(format!(" {title} ").bold());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

/// What is wrong, then what a person was told last.
fn notices<'a>(snapshot: &'a Snapshot, pipeline: Option<&'a Pipeline>) -> Vec<Line<'a>> {
    let told = snapshot
        .notices
        .iter()
        .flat_map(|notice| notice.lines())
        .map(|line| Line::from(line.yellow()));
    let blocked = pipeline.into_iter().flat_map(|pipeline| &pipeline.blocked);
    let blocked =
        blocked.map(|(task, reason)| Line::from(format!("{task} is blocked: {reason}").red()));
    told.chain(blocked).collect()
}

fn to_u16(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}
