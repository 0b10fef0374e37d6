//! What Prometheus sees of the ingestion API.
use std::sync::Arc;
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use tidewheel_decode::Code;

use crate::memory::Memory;

/// From half a millisecond to the longest deadlines.
const DURATION_BUCKETS_S: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// The `source` of requests that are for none.
pub(crate) const NO_SOURCE: &str = "";

/// Metrics over all sources.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    events: IntCounterVec,
    refused: IntCounterVec,
    bytes: IntCounterVec,
    appends: Histogram,
    pub(crate) connections: IntGauge,
}

/// Metrics of one source.
#[derive(Debug, Clone)]
pub(crate) struct SourceMetrics {
    label: String,
    requests: IntCounterVec,
    refused: IntCounterVec,
    duration: Histogram,
    pub(crate) accepted: IntCounter,
    pub(crate) refused_total: IntCounter,
    pub(crate) unacknowledged: IntCounter,
    pub(crate) bytes: IntCounter,
    pub(crate) appends: Histogram,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry, memory: &Arc<Memory>) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let buckets = |name: &str, help: &str| {
            HistogramOpts::new(name, help).buckets(DURATION_BUCKETS_S.to_vec())
        };
        let metrics = Self {
            requests: counter(
                "tidewheel_ingest_requests_total",
                "Requests answered, by source (namespace/name, empty where there is none) and HTTP status code.",
                &["source", "code"],
            )?,
            events: counter(
                "tidewheel_ingest_events_total",
                "Events by outcome: accepted (the log has them), refused (the sender was told why), unacknowledged (answered 503).",
                &["source", "outcome"],
            )?,
            refused: counter(
                "tidewheel_ingest_refused_events_total",
                "Refused events by the code that the sender was told.",
                &["source", "code"],
            )?,
            bytes: counter(
                "tidewheel_ingest_body_bytes_total",
                "Bytes of bodies that were read whole, after decompression.",
                &["source"],
            )?,
            durations: HistogramVec::new(
                buckets(
                    "tidewheel_ingest_request_duration_seconds",
                    "Time from a request's head to its answer, the arrival of the body included.",
                ),
                &["source"],
            )?,
            appends: Histogram::with_opts(buckets(
                "tidewheel_ingest_append_duration_seconds",
                "Time the log took to acknowledge the events of a request.",
            ))?,
            connections: IntGauge::new("tidewheel_ingest_connections", "Open connections.")?,
        };
        registry.register(Box::new(metrics.durations.clone()))?;
        registry.register(Box::new(metrics.appends.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(InFlight::new(memory.clone())?))?;
        Ok(metrics)
    }

    /// The series of a source are there from the start, at zero, so that the first refusal shows as an increase.
    pub(crate) fn source(&self, label: &str) -> SourceMetrics {
        let events = |outcome: &str| self.events.with_label_values(&[label, outcome]);
        self.requests.with_label_values(&[label, "202"]);
        for code in Code::ALL {
            self.refused.with_label_values(&[label, code.as_str()]);
        }
        SourceMetrics {
            label: label.to_owned(),
            requests: self.requests.clone(),
            refused: self.refused.clone(),
            duration: self.durations.with_label_values(&[label]),
            accepted: events("accepted"),
            refused_total: events("refused"),
            unacknowledged: events("unacknowledged"),
            bytes: self.bytes.with_label_values(&[label]),
            appends: self.appends.clone(),
        }
    }

    pub(crate) fn request_without_source(&self, status: u16) {
        self.requests
            .with_label_values(&[NO_SOURCE, &status.to_string()])
            .inc();
    }
}

impl SourceMetrics {
    pub(crate) fn request(&self, status: u16, duration: Duration) {
        self.requests
            .with_label_values(&[self.label.as_str(), &status.to_string()])
            .inc();
        self.duration.observe(duration.as_secs_f64());
    }

    /// `code` is one of a fixed set of words, never what a client sent.
    pub(crate) fn refused_event(&self, code: &'static str) {
        self.refused_total.inc();
        self.refused
            .with_label_values(&[self.label.as_str(), code])
            .inc();
    }
}

/// The byte budget, read when it is asked for.
struct InFlight {
    memory: Arc<Memory>,
    gauge: IntGauge,
}

impl InFlight {
    fn new(memory: Arc<Memory>) -> prometheus::Result<Self> {
        let gauge = IntGauge::new(
            "tidewheel_ingest_in_flight_bytes",
            "Memory held for requests: bodies, the events made of them, and answers not taken yet.",
        )?;
        Ok(Self { memory, gauge })
    }
}

impl Collector for InFlight {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge
            .set(i64::try_from(self.memory.used_bytes()).unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}
