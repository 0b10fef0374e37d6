//! Limits and deadlines: what keeps memory bounded whatever clients do.
use std::time::Duration;

/// Limits and deadlines of the ingestion API.
///
/// Memory held for clients is at most `max_in_flight_bytes`, plus `max_connections` read buffers of
/// [`READ_BUFFER_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestSettings {
    /// Largest body as it is sent, in bytes. Larger ones are answered 413.
    pub max_body_bytes: usize,
    /// Largest body after decompression, in bytes. Larger ones are answered 413.
    pub max_decompressed_bytes: usize,
    /// Most events in one request. More are answered 413.
    pub max_events_per_request: usize,
    /// Memory for all requests together, in bytes: bodies, the events made of them, and answers that were not taken yet.
    /// Requests beyond it are answered 503.
    pub max_in_flight_bytes: usize,
    /// Most connections at a time; further ones wait in the listener's queue.
    pub max_connections: usize,
    /// How long a connection may take to send the head of a request; idle connections are closed after it as well.
    pub header_timeout: Duration,
    /// How long a body may pause before the request is answered 408.
    pub body_idle_timeout: Duration,
    /// How long a whole body may take before the request is answered 408.
    pub body_timeout: Duration,
    /// How long the log may take to acknowledge before the request is answered 503.
    pub append_timeout: Duration,
    /// How long a client may leave its answer unread before the connection is closed.
    pub write_timeout: Duration,
    /// How long a shutdown waits for requests that were begun.
    pub shutdown_grace: Duration,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            max_body_bytes: 8 << 20,
            max_decompressed_bytes: 32 << 20,
            max_events_per_request: 10_000,
            max_in_flight_bytes: 256 << 20,
            max_connections: 1024,
            header_timeout: Duration::from_secs(15),
            body_idle_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            append_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(20),
        }
    }
}

/// Most bytes the HTTP parser buffers for a connection, heads included.
pub const READ_BUFFER_BYTES: usize = 64 << 10;

/// Most bytes of a request's head.
pub(crate) const MAX_HEAD_BYTES: usize = 16 << 10;

/// Most refused events that an answer names one by one; the rest are counted.
pub const MAX_REFUSED_LISTED: usize = 100;
