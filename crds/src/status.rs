//! What the operator says of a resource.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, shape::MAX_WHOLE};

/// What the operator found and did. Written by the operator alone.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The `metadata.generation` that the conditions are about. A newer one was not looked at yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_WHOLE))]
    pub observed_generation: Option<i64>,
    /// How things stand, by type: `Ready`, `Reconciling` and `Stalled` for every kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// Topics and tables that were there before it was made and that it goes on with, such as `topic web.clicks`. Absent until that was
    /// looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), inner(length(max = 320)))]
    pub adopted: Option<Vec<String>>,
    /// The id of the Kafka cluster that its topics are in, which any other is told from by it. Absent until Kafka was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub kafka_cluster: Option<String>,
}

/// What the operator found and did for a Pipeline. Written by the operator alone.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineStatus {
    /// What every kind has.
    #[serde(flatten)]
    pub shared: Status,
    /// What the workers were told to run last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// How many workers there should be now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 512))]
    pub replicas: Option<i32>,
    /// About how many records wait to be processed, in steps of 1, 2, 5, 10, 20, 50 and so on. Absent while nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_WHOLE))]
    pub lag: Option<i64>,
    /// The last decision about the number of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
}

/// A decision about the number of workers, and what led to it.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStatus {
    /// How many there should be.
    #[schemars(range(min = 0, max = 512))]
    pub replicas: i32,
    /// When it was decided.
    #[schemars(length(min = 20, max = 35), extend("format" = "date-time"))]
    pub decided_at: String,
    /// What kept the number from being another: `Min`, `Max`, `Partitions` (more would have nothing to do) or `Pace` (not all at once).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub limited_by: Option<String>,
    /// That, for people.
    #[schemars(length(max = 1_024))]
    pub message: String,
    /// What was measured. Absent where the decision follows from `spec.scaling` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<ScalingInputs>,
}

/// What was measured of the input that needed most workers.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingInputs {
    /// The source, or the aggregate step.
    #[schemars(length(min = 1, max = 63))]
    pub input: String,
    /// Its records that waited.
    #[schemars(range(min = 0, max = MAX_WHOLE))]
    pub lag: i64,
    /// How many came in a second.
    #[schemars(range(min = 0, max = MAX_WHOLE))]
    pub incoming_rate: i64,
    /// How many one worker processed in a second while it had enough to do. Absent where none had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_WHOLE))]
    pub rate_per_replica: Option<i64>,
    /// How long the ready workers would have taken for those that waited, if no more had come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_drain: Option<Duration>,
    /// How many workers were ready.
    #[schemars(range(min = 0, max = 10_000))]
    pub ready_replicas: i32,
    /// How many workers can have something to do: the partitions of the input that has most of them.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub partitions: i32,
}

/// One aspect of how things stand, in the form that Kubernetes has for it.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 63))]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(length(min = 4, max = 7))]
    pub status: String,
    /// Why, in one word for programs.
    #[schemars(length(min = 1, max = 63))]
    pub reason: String,
    /// Why, and what to do, for people.
    #[schemars(length(max = 32_768))]
    pub message: String,
    /// When the status changed last.
    #[schemars(length(min = 20, max = 35), extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// The `metadata.generation` that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_WHOLE))]
    pub observed_generation: Option<i64>,
}

/// What workers were told to run.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Grows with each change of what they run: of two workers, the one with the lower number is old.
    #[schemars(range(min = 0, max = MAX_WHOLE))]
    pub number: i64,
    /// A digest of it.
    #[schemars(length(min = 64, max = 64))]
    pub hash: String,
}
