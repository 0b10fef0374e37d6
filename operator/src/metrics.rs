//! What Prometheus sees of the operator. `docs/metrics.md` lists every metric.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use tidewheel_crds::Kind;

use crate::conditions::Reason;

/// Bounds of the durations of reconciles, s: from what changes nothing to what waits for a database.
const SECONDS: [f64; 10] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// A resource: its kind, namespace and name.
type Named = (&'static str, String, String);

/// What is counted. Clones share everything.
#[derive(Clone)]
pub struct Metrics {
    reconciles: IntCounterVec,
    seconds: HistogramVec,
    errors: IntCounterVec,
    queued: IntGaugeVec,
    /// Kinds, namespaces and names of those that are queued: who was told of twice waits once.
    waiting: Arc<Mutex<HashSet<Named>>>,
    stalled: IntGaugeVec,
    /// Why each resource that is stalled is.
    stalled_by: Arc<Mutex<HashMap<Named, Reason>>>,
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
                    "Resources that wait to be reconciled, by kind.",
                ),
                &["kind"],
            )?,
            waiting: Arc::default(),
            stalled: IntGaugeVec::new(
                Opts::new(
                    "tidewheel_operator_stalled_resources",
                    "Resources that cannot go on before somebody has changed something, by kind and reason.",
                ),
                &["kind", "reason"],
            )?,
            stalled_by: Arc::default(),
            leader: IntGauge::new(
                "tidewheel_operator_leader",
                "1 while this process is the one that acts.",
            )?,
        };
        let all: [Box<dyn Collector>; 6] = [
            Box::new(metrics.reconciles.clone()),
            Box::new(metrics.seconds.clone()),
            Box::new(metrics.errors.clone()),
            Box::new(metrics.queued.clone()),
            Box::new(metrics.stalled.clone()),
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

    /// A resource is to be reconciled.
    pub(crate) fn told(&self, kind: Kind, namespace: &str, name: &str) {
        let mut waiting = self.waiting.lock();
        if waiting.insert((kind.as_str(), namespace.to_owned(), name.to_owned())) {
            self.queued.with_label_values(&[kind.as_str()]).inc();
        }
    }

    /// Its reconcile has begun.
    pub(crate) fn began(&self, kind: Kind, namespace: &str, name: &str) {
        self.no_longer_waits(kind, namespace, name);
    }

    /// It is no longer there.
    pub(crate) fn gone(&self, kind: Kind, namespace: &str, name: &str) {
        self.no_longer_waits(kind, namespace, name);
        self.stands(kind, namespace, name, None);
    }

    fn no_longer_waits(&self, kind: Kind, namespace: &str, name: &str) {
        let mut waiting = self.waiting.lock();
        if waiting.remove(&(kind.as_str(), namespace.to_owned(), name.to_owned())) {
            self.queued.with_label_values(&[kind.as_str()]).dec();
        }
    }

    /// Why it is stalled; none where it is not.
    pub(crate) fn stands(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        stalled_by: Option<Reason>,
    ) {
        let named = (kind.as_str(), namespace.to_owned(), name.to_owned());
        let mut all = self.stalled_by.lock();
        let before = match stalled_by {
            Some(reason) => all.insert(named, reason),
            None => all.remove(&named),
        };
        let stalled = |reason: Reason| {
            let labels = [kind.as_str(), reason.as_str()];
            self.stalled.with_label_values(&labels)
        };
        before.into_iter().for_each(|reason| stalled(reason).dec());
        stalled_by
            .into_iter()
            .for_each(|reason| stalled(reason).inc());
    }

    /// A reconcile has ended after so many seconds.
    pub(crate) fn ended(&self, kind: Kind, seconds: f64) {
        let kind = [kind.as_str()];
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
    fn a_resource_waits_once_from_when_it_is_told_of() {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let queued = || metrics.queued.with_label_values(&["Pipeline"]).get();
        metrics.told(Kind::Pipeline, "shop", "kpis");
        metrics.told(Kind::Pipeline, "shop", "kpis");
        metrics.told(Kind::Pipeline, "shop", "others");
        assert_eq!(queued(), 2);
        metrics.began(Kind::Pipeline, "shop", "kpis");
        // It is looked at again later, without anybody having told.
        metrics.began(Kind::Pipeline, "shop", "kpis");
        assert_eq!(queued(), 1);
        metrics.gone(Kind::Pipeline, "shop", "others");
        assert_eq!(queued(), 0);
    }

    #[test]
    fn a_resource_is_stalled_by_one_thing_until_it_is_not_or_is_gone() {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let stalled = || {
            [Reason::SpecInvalid, Reason::SecretMissing].map(|reason| {
                let labels = ["Pipeline", reason.as_str()];
                metrics.stalled.with_label_values(&labels).get()
            })
        };
        let stands = |name, reason| metrics.stands(Kind::Pipeline, "shop", name, reason);
        stands("a", Some(Reason::SpecInvalid));
        stands("b", Some(Reason::SpecInvalid));
        stands("b", Some(Reason::SpecInvalid));
        assert_eq!(stalled(), [2, 0]);
        stands("b", Some(Reason::SecretMissing));
        metrics.began(Kind::Pipeline, "shop", "a");
        assert_eq!(stalled(), [1, 1]);
        stands("b", None);
        metrics.gone(Kind::Pipeline, "shop", "a");
        assert_eq!(stalled(), [0, 0]);
    }

    #[test]
    fn metrics_are_those_that_are_documented() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        metrics.began(Kind::Pipeline, "shop", "kpis");
        metrics.ended(Kind::Pipeline, 0.1);
        metrics.failed(Kind::Pipeline, "KafkaUnavailable");
        metrics.stands(Kind::Pipeline, "shop", "kpis", Some(Reason::SpecInvalid));
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
