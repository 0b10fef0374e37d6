//! Records of state topics.
//!
//! | input | key | value |
//! |---|---|---|
//! | a source | `progress` | [`SourceProgress`] as JSON |
//! | an aggregate step | `g<generation>/progress` | [`StepProgress`] as JSON |
//! | | `g<generation>/snapshot` | [`Snapshot`] as JSON |
//! | | `g<generation>/run/<number>/<part>` | a batch: a part of a run of partial aggregates of one window |
//! | | `g<generation>/refused/<output>/<start_ms>/<group>` | `1`: the sink refused the newest row of that group (its fingerprint, 32 hex digits) |
//! | both | `waiting`, `acknowledged`, of a step with `g<generation>/` before it | see [`acknowledgement`](super::acknowledgement) |
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::acknowledgement::{ACKNOWLEDGED, Acknowledged, WAITING, Waiting};
use super::{WireError, json};
use crate::ledger::Ledger;

const VERSION: u8 = 1;
/// Version of the progress of a source of which a ledger counts tombstones. Builds that know only version 1 would lose the count: they
/// refuse this one.
const VERSION_WITH_TOMBSTONES: u8 = 2;

/// A place in a partition, and the watermark there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The first offset that is not yet covered.
    pub next_offset: i64,
    /// The watermark there, ms since the epoch; none before the first event.
    pub watermark_ms: Option<i64>,
}

/// What the task of a source partition goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceProgress {
    pub(crate) version: u8,
    /// Revision of the plan that wrote it.
    pub revision: i64,
    /// Where the pipeline began to read the partition.
    pub start_offset: i64,
    /// Covered: dead letters, and the ledgers of row outputs.
    pub main: Position,
    /// When the last covered record was appended, ms.
    pub append_time_ms: Option<i64>,
    /// The watermark by the partition's own events, without decrees, ms.
    pub event_watermark_ms: Option<i64>,
    /// For each aggregate step, how far its partials cover.
    pub steps: BTreeMap<String, PartialsProgress>,
    /// For each row output, where its sink must be at least.
    pub outputs: BTreeMap<String, OutputProgress>,
    /// Some of the positions passed, oldest first, for steps that begin anew.
    pub checkpoints: Vec<Checkpoint>,
    /// What `maxOutOfOrder` was while watermarks of this were taken; none where a build began it that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_order: Option<OutOfOrder>,
    /// The offsets that were passed over last because they were gone, as somebody has acknowledged: whoever has come no further than these
    /// goes on behind them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<OffsetRange>,
}

/// What an EventSource's `maxOutOfOrder` was: an event that made a watermark is newer than it by at least the one and at most the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutOfOrder {
    /// The least that it was, ms.
    pub least_ms: i64,
    /// The most that it was, ms.
    pub most_ms: i64,
}

impl OutOfOrder {
    /// What it was and what it is by now, ms.
    pub(crate) fn and(self, ms: i64) -> Self {
        Self {
            least_ms: self.least_ms.min(ms),
            most_ms: self.most_ms.max(ms),
        }
    }
}

/// How far the partials of an aggregate step cover a source partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartialsProgress {
    /// The step's generation.
    pub generation: i64,
    /// Covered.
    pub position: Position,
    /// Fates of the records since the generation began.
    pub ledger: Ledger,
    /// What the generation has read that earlier ones had read before; none where it began at the end of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<OffsetRange>,
}

/// Offsets in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffsetRange {
    /// The first.
    pub from: i64,
    /// One beyond the last.
    pub to: i64,
}

impl OffsetRange {
    /// Whether `offset` is among them.
    pub(crate) fn holds(self, offset: i64) -> bool {
        (self.from..self.to).contains(&offset)
    }
}

/// What the log knows of an output of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputProgress {
    /// The progress that the sink must have at least; none while it was never written.
    pub sink_next_offset: Option<i64>,
    /// Fates.
    pub ledger: Ledger,
    /// The sink has lost its progress, and is filled again from this offset on, as somebody has acknowledged; none once it has progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refill_from: Option<i64>,
}

/// A position passed, and when the record before it was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The position.
    pub position: Position,
    /// The watermark by the partition's own events there, ms.
    pub event_watermark_ms: Option<i64>,
    /// Append time of the last record before it, ms.
    pub append_time_ms: i64,
}

/// What the task of a partition of partials goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepProgress {
    pub(crate) version: u8,
    /// Revision of the plan that wrote it.
    pub revision: i64,
    /// The first offset of the partials that is not yet covered.
    pub next_offset: i64,
    /// The minimum over all that feed it; none until each has spoken.
    pub watermark_ms: Option<i64>,
    /// The last watermark of each of them: `<source>/<partition>`, or `<step>/<partition>` where its windows are aggregated.
    pub watermarks: BTreeMap<String, Option<i64>>,
    /// The first start of a session that is not final, ms; none where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions_from_ms: Option<i64>,
    /// For each output, where its sink must be at least, and its fates in contributions.
    pub outputs: BTreeMap<String, OutputProgress>,
    /// For each aggregate step over its windows, what became of their rows since the generation began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fed: BTreeMap<String, Ledger>,
}

impl StepProgress {
    /// Reads a value of the state topic.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Self::from_bytes(bytes)
    }
}

/// Which runs made up the windows at an offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    pub(crate) version: u8,
    /// The first offset of the partials that is not in the runs.
    pub next_offset: i64,
    /// The watermark there, ms.
    pub watermark_ms: Option<i64>,
    /// Watermarks of the source partitions there.
    pub watermarks: BTreeMap<String, Option<i64>>,
    /// The number that the next run will get.
    pub next_run: u64,
    /// The windows.
    pub windows: Vec<SnapshotWindow>,
    /// Where windows overlap: what is for those that were not emitted yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub panes: Vec<SnapshotPane>,
}

/// A pane of a snapshot: a part of time that no window cuts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotPane {
    /// Its start, ms.
    pub start_ms: i64,
    /// The first window in which it counts, ms; none: all over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows_from_ms: Option<i64>,
    /// The runs of it.
    pub runs: Vec<SnapshotRun>,
}

/// A window of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotWindow {
    /// Its start, ms.
    pub start_ms: i64,
    /// The run that holds what was emitted, where it was.
    pub emitted: Option<SnapshotRun>,
    /// The runs that were not emitted yet; where windows overlap, those that came after it was emitted.
    pub pending: Vec<SnapshotRun>,
}

/// A run of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRun {
    /// Its number.
    pub number: u64,
    /// In how many parts it is stored.
    pub parts: u32,
}

impl SourceProgress {
    /// The version that says all that the ledgers of its steps and outputs hold.
    pub(crate) fn version_for<'a>(ledgers: impl IntoIterator<Item = &'a Ledger>) -> u8 {
        let mut ledgers = ledgers.into_iter();
        if ledgers.any(|ledger| ledger.tombstone > 0) {
            VERSION_WITH_TOMBSTONES
        } else {
            VERSION
        }
    }
}

/// The version that this build writes.
pub(crate) const fn version() -> u8 {
    VERSION
}

/// A value that begins with its version.
pub(crate) trait Versioned: Serialize + DeserializeOwned {
    const WHAT: &'static str;
    /// The newest version that can be read; those before it can be, too.
    const NEWEST: u8;
    fn version(&self) -> u8;

    fn to_bytes(&self) -> Bytes {
        json(self).into()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let value: Self =
            serde_json::from_slice(bytes).map_err(|error| WireError::new(Self::WHAT, error))?;
        if !(VERSION..=Self::NEWEST).contains(&value.version()) {
            return Err(WireError::new(
                Self::WHAT,
                format!("version {} is not known here", value.version()),
            ));
        }
        Ok(value)
    }
}

macro_rules! versioned {
    ($($kind:ty: $what:literal, $newest:expr;)*) => {$(
        impl Versioned for $kind {
            const WHAT: &'static str = $what;
            const NEWEST: u8 = $newest;
            fn version(&self) -> u8 { self.version }
        }
    )*};
}
versioned!(
    SourceProgress: "progress of a source", VERSION_WITH_TOMBSTONES;
    StepProgress: "progress of a step", VERSION;
    Snapshot: "snapshot", VERSION;
    Waiting: "waiting", VERSION;
    Acknowledged: "acknowledged", VERSION;
);

/// The key of a source task's progress.
pub const SOURCE_PROGRESS_KEY: &str = "progress";

/// A key of a step task's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepKey {
    /// [`StepProgress`].
    Progress,
    /// [`Snapshot`].
    Snapshot,
    /// A part of a run: the run's number, the part's.
    Run(u64, u32),
    /// The sink refused the newest row of a group.
    Refused(RefusedGroup),
    /// What the task waits for: see [`acknowledgement`](super::acknowledgement).
    Waiting,
    /// What was acknowledged.
    Acknowledged,
}

/// A group of a window, at an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedGroup {
    /// Name of the output.
    pub output: String,
    /// Start of the window, ms.
    pub start_ms: i64,
    /// Fingerprint of the window's start and the group columns.
    pub group: u128,
}

/// The value of [`StepKey::Refused`]: its version, and that is all.
pub const REFUSED: &[u8] = b"1";

impl StepKey {
    /// The key as it stands in the topic.
    pub fn encode(&self, generation: i64) -> Bytes {
        match self {
            Self::Progress => format!("g{generation}/progress"),
            Self::Snapshot => format!("g{generation}/snapshot"),
            Self::Run(number, part) => format!("g{generation}/run/{number}/{part}"),
            Self::Refused(RefusedGroup {
                output,
                start_ms,
                group,
            }) => format!("g{generation}/refused/{output}/{start_ms}/{group:032x}"),
            Self::Waiting => format!("g{generation}/{WAITING}"),
            Self::Acknowledged => format!("g{generation}/{ACKNOWLEDGED}"),
        }
        .into()
    }

    /// Reads a key: the generation and what it is.
    pub fn decode(key: &[u8]) -> Result<(i64, Self), WireError> {
        let damaged = || WireError::new("state key", String::from_utf8_lossy(key));
        let text = std::str::from_utf8(key).map_err(|_| damaged())?;
        let (generation, rest) = text
            .strip_prefix('g')
            .and_then(|text| text.split_once('/'))
            .ok_or_else(damaged)?;
        let key = match rest.split('/').collect::<Vec<_>>()[..] {
            ["progress"] => Self::Progress,
            ["snapshot"] => Self::Snapshot,
            [WAITING] => Self::Waiting,
            [ACKNOWLEDGED] => Self::Acknowledged,
            ["run", number, part] => Self::Run(
                number.parse().map_err(|_| damaged())?,
                part.parse().map_err(|_| damaged())?,
            ),
            ["refused", output, start_ms, group] => Self::Refused(RefusedGroup {
                output: output.to_owned(),
                start_ms: start_ms.parse().map_err(|_| damaged())?,
                group: u128::from_str_radix(group, 16).map_err(|_| damaged())?,
            }),
            _ => return Err(damaged()),
        };
        Ok((generation.parse().map_err(|_| damaged())?, key))
    }
}
