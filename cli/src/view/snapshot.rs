//! What is shown, as plain data of one moment.
use std::collections::BTreeMap;

/// Everything that is shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Snapshot {
    /// When it was collected, ms since the epoch.
    pub(crate) now_ms: i64,
    /// Where events are taken, such as `http://127.0.0.1:8080`; none where nothing listens.
    pub(crate) url: Option<String>,
    /// How to send an event to each source with `http`.
    pub(crate) http_sources: Vec<HttpSource>,
    /// Where the tables are.
    pub(crate) databases: Vec<Database>,
    /// What came in, by source.
    pub(crate) sources: Vec<SourceCounts>,
    /// The pipelines.
    pub(crate) pipelines: Vec<Pipeline>,
    /// What a person should know, the newest last: problems of changed files, what was taken over.
    pub(crate) notices: Vec<String>,
}

/// A source that takes events over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HttpSource {
    /// `<namespace>/<name>`.
    pub(crate) name: String,
    /// A command that sends an event, over as many lines as read well: see [`super::sample::curl`].
    pub(crate) command: String,
}

/// A file of tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Database {
    /// `<namespace>/<name>` of its Sink.
    pub(crate) sink: String,
    /// The file.
    pub(crate) path: String,
}

/// What came in at a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceCounts {
    /// `<namespace>/<name>`.
    pub(crate) name: String,
    /// Events that are in the log, since the start.
    pub(crate) accepted: u64,
    /// Events that were refused, by the code that their senders were told.
    pub(crate) refused: BTreeMap<String, u64>,
}

/// A pipeline.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pipeline {
    /// `<namespace>/<name>`.
    pub(crate) name: String,
    /// Records that its tasks have taken.
    pub(crate) records: u64,
    /// Up to where event time is complete, ms since the epoch; none before the first event.
    pub(crate) watermark_ms: Option<i64>,
    /// Windows that are not written yet, those that close first in front.
    pub(crate) open_windows: Vec<OpenWindow>,
    /// The newest rows of each output.
    pub(crate) results: Vec<Results>,
    /// Where the records went, by output.
    pub(crate) ledgers: Vec<Ledger>,
    /// Tasks that cannot go on, and why.
    pub(crate) blocked: Vec<(String, String)>,
}

/// A window that is not written yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OpenWindow {
    /// The aggregate step.
    pub(crate) step: String,
    /// Its start, ms since the epoch.
    pub(crate) start_ms: i64,
    /// Its end, ms since the epoch.
    pub(crate) end_ms: i64,
    /// The watermark at which it is written, ms since the epoch.
    pub(crate) closes_at_ms: i64,
    /// Rows in it.
    pub(crate) rows: u64,
}

/// The newest rows of an output, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Results {
    /// The output.
    pub(crate) output: String,
    /// Names of the columns.
    pub(crate) columns: Vec<String>,
    /// The rows, newest first, a text for each column.
    pub(crate) rows: Vec<Vec<String>>,
}

/// Where the records went that an output was offered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// The output.
    pub(crate) output: String,
    /// What came in for it: what was sent again for others is left out.
    pub(crate) read: u64,
    /// What was written, or is in windows that were.
    pub(crate) written: u64,
    /// What is in windows that are not written yet.
    pub(crate) open: u64,
    /// What a WHERE or HAVING left out, and what holds no event: tombstones.
    pub(crate) filtered: u64,
    /// What a deduplication left out.
    pub(crate) duplicates: u64,
    /// What came too late, or belongs to a window that was written before a change.
    pub(crate) late: u64,
    /// What was deleted before it was read, as somebody has acknowledged.
    pub(crate) lost: u64,
    /// What became dead letters, by reason.
    pub(crate) dead_letters: BTreeMap<String, u64>,
    /// What is neither: 0 where all is accounted for.
    pub(crate) missing: i64,
}
