//! The state in a few plain lines, where there is no terminal to draw on.
use super::model::Model;
use super::snapshot::{Pipeline, Snapshot};
use super::text;

/// What was said already: how to send events and where the tables are is said once, and so is each notice; the state, when it changes.
#[derive(Debug, Default)]
pub(crate) struct Told {
    introduction: Vec<String>,
    notices: Vec<String>,
    state: Vec<String>,
}

impl Told {
    /// The lines of the state that were not said last time.
    pub(crate) fn changes(&mut self, model: &Model) -> Vec<String> {
        let state = lines(model);
        let said = std::mem::replace(&mut self.state, state);
        self.state
            .iter()
            .filter(|line| !said.contains(line))
            .cloned()
            .collect()
    }

    /// What is new in a snapshot.
    pub(crate) fn news(&mut self, snapshot: &Snapshot) -> Vec<String> {
        let mut news = Vec::new();
        let introduction = introduction(snapshot);
        if introduction != self.introduction {
            news.clone_from(&introduction);
            self.introduction = introduction;
        }
        news.extend(
            snapshot
                .notices
                .iter()
                .skip(self.told_of(&snapshot.notices))
                .cloned(),
        );
        self.notices.clone_from(&snapshot.notices);
        news
    }

    /// How many of the first notices were told: old ones may have been dropped from the front since.
    fn told_of(&self, notices: &[String]) -> usize {
        let kept =
            (0..self.notices.len()).find(|&dropped| notices.starts_with(&self.notices[dropped..]));
        kept.map_or(0, |dropped| self.notices.len() - dropped)
    }
}

fn introduction(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(
        snapshot
            .url
            .iter()
            .map(|url| format!("taking events at {url}")),
    );
    lines.extend(
        snapshot
            .http_sources
            .iter()
            .map(|source| format!("send to {}:\n{}", source.name, source.command)),
    );
    lines.extend(
        snapshot
            .databases
            .iter()
            .map(|database| format!("tables of {}: sqlite3 {}", database.sink, database.path)),
    );
    lines
}

/// A line for each pipeline, and one for each thing that is wrong.
pub(super) fn lines(model: &Model) -> Vec<String> {
    let snapshot = model.snapshot();
    let mut lines = Vec::new();
    for pipeline in &snapshot.pipelines {
        lines.push(status(model, pipeline));
        lines.extend(
            pipeline
                .blocked
                .iter()
                .map(|(task, reason)| format!("{}: {task} is blocked: {reason}", pipeline.name)),
        );
    }
    for source in snapshot
        .sources
        .iter()
        .filter(|source| source.refused.values().any(|&n| n > 0))
    {
        lines.push(format!(
            "{}: refused {}",
            source.name,
            text::reasons(&source.refused)
        ));
    }
    lines
}

fn status(model: &Model, pipeline: &Pipeline) -> String {
    let now_ms = model.snapshot().now_ms;
    let mut line = format!(
        "{}: {} events, {}/s, ",
        pipeline.name,
        text::count(pipeline.records),
        text::rate(model.events_per_second(&pipeline.name))
    );
    line.push_str(&watermark(pipeline, now_ms));
    if let Some(next) = pipeline.open_windows.first() {
        let (open, end) = (pipeline.open_windows.len(), text::time(next.end_ms, now_ms));
        line.push_str(&format!(
            ", {open} open windows, the next to close ends {end}"
        ));
    }
    let off: i64 = pipeline
        .ledgers
        .iter()
        .map(|ledger| ledger.missing.abs())
        .sum();
    if off != 0 {
        line.push_str(&format!(", {off} not accounted for yet"));
    }
    for ledger in pipeline
        .ledgers
        .iter()
        .filter(|ledger| !ledger.dead_letters.is_empty())
    {
        line.push_str(&format!(
            ", dead letters of {}: {}",
            ledger.output,
            text::reasons(&ledger.dead_letters)
        ));
    }
    line
}

/// Up to where event time is complete, and how far that is from now.
pub(super) fn watermark(pipeline: &Pipeline, now_ms: i64) -> String {
    match pipeline.watermark_ms {
        None => "no watermark yet".to_owned(),
        Some(ms) if ms <= now_ms => format!(
            "watermark {} ({} ago)",
            text::time(ms, now_ms),
            text::duration(now_ms - ms)
        ),
        Some(ms) => format!(
            "watermark {} (in {})",
            text::time(ms, now_ms),
            text::duration(ms - now_ms)
        ),
    }
}
