//! What Prometheus sees of the operator. `docs/metrics.md` lists every metric.
use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use tidewheel_crds::Kind;

/// Bounds of the durations of reconciles, s: from what changes nothing to what waits for a database.
const SECONDS: [f64; 10] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// What is counted. Clones share everything.
#[derive(Clone)]
pub struct Metrics {
    reconciles: IntCounterVec,
    seconds: HistogramVec,
    errors: IntCounterVec,
    queued: IntGaugeVec,
    leader: IntGauge,
}

impl Metrics {
    /// Nothing yet, shown by `registry`.
    ///
    /// # Errors
    /// The registry has them already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            reconciles: IntCounterVec::new(
                Opts::new(
                    "tidewheel_operator_reconciles_total",
                    "Reconciles that were ended, by kind.",
                ),
                &["kind"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new(
                    "tidewheel_operator_reconcile_seconds",
                    "How long reconciles took, by kind.",
                )
                .buckets(SECONDS.to_vec()),
                &["kind"],
            )?,
            errors: IntCounterVec::new(
                Opts::new(
                    "tidewheel_operator_reconcile_errors_total",
                    "Reconciles that have to be done again, by kind and reason.",
                ),
                &["kind", "reason"],
            )?,
            queued: IntGaugeVec::new(
                Opts::new(
                    "tidewheel_operator_queued",
                    "Resources that are being reconciled, by kind.",
                ),
                &["kind"],
            )?,
            leader: IntGauge::new(
                "tidewheel_operator_leader",
                "1 while this process is the one that acts.",
            )?,
        };
        let all: [Box<dyn Collector>; 5] = [
            Box::new(metrics.reconciles.clone()),
            Box::new(metrics.seconds.clone()),
            Box::new(metrics.errors.clone()),
            Box::new(metrics.queued.clone()),
            Box::new(metrics.leader.clone()),
        ];
        all.into_iter()
            .try_for_each(|metric| registry.register(metric))?;
        for kind in Kind::ALL {
            metrics
                .reconciles
                .with_label_values(&[kind.as_str()])
                .inc_by(0);
            metrics.queued.with_label_values(&[kind.as_str()]).set(0);
        }
        Ok(metrics)
    }

    /// A reconcile has begun.
    pub(crate) fn began(&self, kind: Kind) {
        self.queued.with_label_values(&[kind.as_str()]).inc();
    }

    /// A reconcile has ended after so many seconds.
    pub(crate) fn ended(&self, kind: Kind, seconds: f64) {
        let kind = [kind.as_str()];
        self.queued.with_label_values(&kind).dec();
        self.reconciles.with_label_values(&kind).inc();
        self.seconds.with_label_values(&kind).observe(seconds);
    }

    /// A reconcile has to be done again.
    pub(crate) fn failed(&self, kind: Kind, reason: &str) {
        self.errors
            .with_label_values(&[kind.as_str(), reason])
            .inc();
    }

    /// Whether this process is the one that acts.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn metrics_are_those_that_are_documented() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        metrics.began(Kind::Pipeline);
        metrics.ended(Kind::Pipeline, 0.1);
        metrics.failed(Kind::Pipeline, "KafkaUnavailable");
        let shown = registry.gather();
        let shown: BTreeSet<&str> = shown.iter().map(|family| family.name()).collect();
        let page = include_str!("../../docs/metrics.md");
        let rows = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let documented = rows.filter(|name| name.starts_with("tidewheel_operator_"));
        assert_eq!(shown, documented.collect());
    }
}
