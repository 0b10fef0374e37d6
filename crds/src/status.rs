//! What the operator says of a resource.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::shape::MAX_WHOLE;

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
