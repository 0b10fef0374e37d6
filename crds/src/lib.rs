//! The API: EventSource, Pipeline and Sink, their CEL rules and generated CRDs.
//!
//! | for | use |
//! |---|---|
//! | reading a resource | [`EventSource`], [`Pipeline`], [`Sink`] and the types in their modules |
//! | judging one before a cluster does | [`violations`] |
//! | installing the API in a cluster | [`crds_yaml`] |
//! | reading about it | [`reference_markdown`] |
//!
//! ```
//! use tidewheel_crds::{Kind, PipelineSpec, admitted, violations};
//!
//! let spec = serde_json::json!({
//!     "sources": [{"name": "clicks"}],
//!     "steps": [{"name": "valid", "sql": "SELECT * FROM clicks WHERE metric IS NOT NULL"}],
//!     "outputs": [{"name": "events_raw", "from": "valid", "postgres": {"sink": "warehouse"}}],
//! });
//! assert!(violations(Kind::Pipeline, &spec, None).is_empty());
//! let spec: PipelineSpec = serde_json::from_value(admitted(Kind::Pipeline, &spec))?;
//! assert_eq!(spec.errors.dead_letter.retention.to_string(), "14d");
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! The Rust types are the one source: the CRDs are generated from them, and the verdicts and the reference are read from the CRDs.
pub mod deletion;
pub mod duration;
pub mod event_source;
pub mod generator;
pub mod pipeline;
pub mod resources;
pub mod scaling;
pub mod sink;
pub mod start;
pub mod status;

mod admission;
mod definition;
mod generated_values;
mod meant;
mod reference;
mod remainder;
mod rules;
mod shape;
mod structure;
mod violation;

pub use definition::{Kind, UnknownKind, crds, crds_yaml};
pub use deletion::DeletionPolicy;
pub use duration::Duration;
pub use event_source::{EventSource, EventSourceSpec};
pub use pipeline::{Pipeline, PipelineSpec};
pub use reference::reference_markdown;
pub use remainder::remainder;
pub use resources::Resources;
pub use scaling::Scaling;
pub use sink::{Sink, SinkSpec};
pub use start::Start;
pub use status::Status;
pub use violation::{Code, Segment, Violation, admitted, display_path, name_violation, violations};

/// The API group of all three kinds.
pub const GROUP: &str = "tidewheel.dev";
/// The API version of all three kinds.
pub const VERSION: &str = "v1alpha1";
