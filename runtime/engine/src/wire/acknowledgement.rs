//! What a task waits for somebody to acknowledge, and that somebody did.
//!
//! Both stand in the task's partition of the state topic:
//!
//! | who writes | key | value |
//! |---|---|---|
//! | the task | [`WAITING`] | [`Waiting`] as JSON |
//! | who acknowledges | [`ACKNOWLEDGED`] | [`Acknowledged`] as JSON |
//!
//! Both write under the task's transactional id, so that nobody else does meanwhile. The task deletes both in the transaction of the progress
//! with which it goes on. An acknowledgement holds the hash of what it is for: what has changed since is not acknowledged by it, whenever it
//! is read.
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewheel_log::NewRecord;
use tidewheel_planner::plan::Plan;
use xxhash_rust::xxh3::xxh3_128;

use super::WireError;
use super::state::{Versioned, version};

/// Key of what a source's task waits for; of a step's task `g<generation>/` stands before it.
pub const WAITING: &str = "waiting";
/// Key of what was acknowledged, with the same prefix.
pub const ACKNOWLEDGED: &str = "acknowledged";

/// The key under which `word`, one of these, stands in a task's state; `generation`: of an aggregate step's task.
pub fn key(word: &str, generation: Option<i64>) -> Bytes {
    generation
        .map_or_else(|| word.to_owned(), |number| format!("g{number}/{word}"))
        .into()
}

/// What is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Missing {
    /// Offsets of the input that were deleted before the task had read them.
    Offsets {
        /// The first.
        from: i64,
        /// The first that is there.
        to: i64,
    },
    /// The progress of outputs in their sinks, by name: the offset that each must have at least.
    Progress {
        /// Those outputs.
        outputs: BTreeMap<String, i64>,
    },
}

/// A task: a partition of an input of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `<namespace>/<name>` of the Pipeline.
    pub pipeline: String,
    /// The source or aggregate step.
    pub input: String,
    /// Its partition.
    pub partition: i32,
}

impl Place {
    /// The task of a partition of an input of a plan.
    pub(crate) fn of(plan: &Plan, input: &str, partition: i32) -> Self {
        Self {
            pipeline: plan.full_name(),
            input: input.to_owned(),
            partition,
        }
    }
}

impl Missing {
    /// 12 hexadecimal digits that stand for exactly this, at this task.
    pub fn hash(&self, place: &Place) -> String {
        let Place {
            pipeline,
            input,
            partition,
        } = place;
        let what = match self {
            Self::Offsets { from, to } => format!("offsets\n{from}\n{to}"),
            Self::Progress { outputs } => {
                let outputs = outputs.iter().map(|(name, at)| format!("\n{name}\n{at}"));
                format!("progress{}", outputs.collect::<String>())
            }
        };
        let text = format!("{pipeline}\n{input}\n{partition}\n{what}");
        format!("{:032x}", xxh3_128(text.as_bytes()))[..12].to_owned()
    }
}

/// What a task waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    pub(super) version: u8,
    /// What is gone.
    pub missing: Missing,
}

/// That somebody knows, and how the task goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    pub(super) version: u8,
    /// The [hash](Missing::hash) of what is acknowledged.
    pub hash: String,
    /// Outputs without progress are filled again with what is still there, instead of from here on only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refill: bool,
}

impl Waiting {
    /// That this is gone.
    pub fn new(missing: Missing) -> Self {
        Self {
            version: version(),
            missing,
        }
    }

    /// The value.
    pub fn encode(&self) -> Bytes {
        self.to_bytes()
    }

    /// Reads a value.
    ///
    /// # Errors
    /// It is damaged, or of a version that this build does not know.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Self::from_bytes(bytes)
    }
}

impl Acknowledged {
    /// That this was acknowledged.
    pub fn new(hash: &str, refill: bool) -> Self {
        Self {
            version: version(),
            hash: hash.to_owned(),
            refill,
        }
    }

    /// The value.
    pub fn encode(&self) -> Bytes {
        self.to_bytes()
    }

    /// Reads a value.
    ///
    /// # Errors
    /// It is damaged, or of a version that this build does not know.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Self::from_bytes(bytes)
    }
}

/// What stands in the state of a task that has waited, or does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Of an aggregate step's task.
    generation: Option<i64>,
    waiting: Option<Waiting>,
    acknowledged: Option<Acknowledged>,
}

impl Acknowledgement {
    /// Reads it from the newest values of the task's partition of the state topic; of a step's task those of a generation.
    ///
    /// # Errors
    /// What stands there cannot be read.
    pub fn read(
        state: &BTreeMap<Bytes, Bytes>,
        generation: Option<i64>,
    ) -> Result<Self, WireError> {
        let value = |word: &str| state.get(&key(word, generation));
        Ok(Self {
            waiting: value(WAITING)
                .map(|value| Waiting::decode(value))
                .transpose()?,
            acknowledged: value(ACKNOWLEDGED)
                .map(|value| Acknowledged::decode(value))
                .transpose()?,
            generation,
        })
    }

    /// The acknowledgement of exactly this, where there is one.
    pub(crate) fn of(&self, missing: &Missing, place: &Place) -> Option<&Acknowledged> {
        let acknowledged = self.acknowledged.as_ref();
        acknowledged.filter(|acknowledged| acknowledged.hash == missing.hash(place))
    }

    /// What leaves word in `topic` that the task waits for this; none where that stands there.
    pub fn wait(&self, topic: &str, place: &Place, missing: &Missing) -> Option<NewRecord> {
        let is_told = self.waiting.as_ref().map(|waiting| &waiting.missing) == Some(missing);
        let value = Waiting::new(missing.clone()).encode();
        (!is_told).then(|| self.record(topic, place.partition, WAITING, Some(value)))
    }

    /// What acknowledges in `topic` what the task waits for; none where it does not wait for exactly that.
    pub fn answer(
        &self,
        topic: &str,
        place: &Place,
        acknowledged: &Acknowledged,
    ) -> Option<NewRecord> {
        let missing = &self.waiting.as_ref()?.missing;
        let value = acknowledged.encode();
        (missing.hash(place) == acknowledged.hash)
            .then(|| self.record(topic, place.partition, ACKNOWLEDGED, Some(value)))
    }

    /// What the task waits for, and whether that is acknowledged.
    pub fn waiting(&self, place: &Place) -> Option<(&Missing, bool)> {
        let missing = &self.waiting.as_ref()?.missing;
        Some((missing, self.of(missing, place).is_some()))
    }

    /// What deletes from `topic` all that stands there, of a task that goes on.
    pub(crate) fn settle(&mut self, topic: &str, partition: i32) -> Vec<NewRecord> {
        let stands = [
            self.waiting.take().map(|_| WAITING),
            self.acknowledged.take().map(|_| ACKNOWLEDGED),
        ];
        let words = stands.into_iter().flatten();
        words
            .map(|word| self.record(topic, partition, word, None))
            .collect()
    }

    fn record(&self, topic: &str, partition: i32, word: &str, value: Option<Bytes>) -> NewRecord {
        NewRecord {
            topic: topic.to_owned(),
            partition: Some(partition),
            key: Some(key(word, self.generation)),
            value,
            headers: Vec::new(),
        }
    }
}

/// Something is gone, and the task goes on only once somebody has acknowledged that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unacknowledged {
    /// The task.
    pub place: Place,
    /// What is gone.
    pub missing: Missing,
}

impl std::error::Error for Unacknowledged {}

impl fmt::Display for Unacknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            pipeline,
            input,
            partition,
        } = &self.place;
        let command = format!(
            "`tidewheel acknowledge {pipeline} --hash {}`",
            self.missing.hash(&self.place)
        );
        match &self.missing {
            Missing::Offsets { from, to } => write!(
                f,
                "offsets {from} to {} of {input}/{partition} were deleted before they were read, by retention or by somebody: {command} counts them as lost and goes on",
                to - 1
            ),
            Missing::Progress { outputs } => {
                let outputs = outputs
                    .iter()
                    .map(|(name, expected)| format!("{name} (at least offset {expected})"));
                write!(
                    f,
                    "the sink has lost its progress of {}, as far as {input}/{partition} has written it: restore the table and the tables `_tidewheel_*`, or go on with {command} and --refill or --as-it-is",
                    outputs.collect::<Vec<_>>().join(", ")
                )
            }
        }
    }
}
