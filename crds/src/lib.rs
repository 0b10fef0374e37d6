//! The API: EventSource, Pipeline and Sink, their CEL rules and generated CRDs.
pub mod duration;
pub mod event_source;
pub mod generator;
pub mod pipeline;
pub mod sink;
pub mod start;

pub use duration::Duration;
pub use event_source::{EventSource, EventSourceSpec};
pub use pipeline::{Pipeline, PipelineSpec};
pub use sink::{Sink, SinkSpec};
pub use start::Start;

/// The API group of all three kinds.
pub const GROUP: &str = "tidewheel.dev";
/// The API version of all three kinds.
pub const VERSION: &str = "v1alpha1";
