//! Bounds on events, so that no event costs more than it may.

/// How deep an event may nest objects and arrays; the event itself is level 1.
pub const MAX_DEPTH: usize = 64;

/// How many members the objects of one event may have together.
pub const MAX_MEMBERS: u32 = 10_000;

/// Size of the largest event that is accepted unless [`Decoder::with_max_event_bytes`](crate::Decoder::with_max_event_bytes) says otherwise.
pub const DEFAULT_MAX_EVENT_BYTES: usize = 1024 * 1024;

/// How many bytes of events one batch takes, so that no column outgrows the 2 GiB that Arrow's offsets reach.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024 * 1024;
