//! `tidewheel generate`: the events of an EventSource that makes them up.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};
use tidewheel_ingest::{Check, Readiness};
use tidewheel_log::Log;
use tokio::sync::watch;

use crate::metrics::Declared;

/// How long a readiness check waits for the log.
const LOG_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

const MADE: Declared = Declared {
    name: "tidewheel_generate_events_total",
    help: "Events that the generator of a source (namespace/name) has made since ever, by all its processes.",
    kind: MetricType::COUNTER,
    labels: &["source"],
};

/// What a generator has made.
pub(crate) struct GeneratorMetrics {
    source: String,
    made: watch::Receiver<u64>,
    desc: Desc,
}

impl GeneratorMetrics {
    /// `source` is `<namespace>/<name>` of the EventSource.
    pub(crate) fn new(source: String, made: watch::Receiver<u64>) -> prometheus::Result<Self> {
        Ok(Self {
            source,
            made,
            desc: MADE.desc()?,
        })
    }
}

impl Collector for GeneratorMetrics {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let made = *self.made.borrow() as f64;
        vec![MADE.family(vec![MADE.value(&[&self.source], made)])]
    }
}

/// Whether a generator can work: the log answers, and has the topic.
pub(crate) struct GeneratorReadiness {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) topic: String,
}

#[async_trait]
impl Readiness for GeneratorReadiness {
    async fn check(&self) -> Vec<Check> {
        let answer = tokio::time::timeout(LOG_ANSWERS_WITHIN, self.log.topic(&self.topic)).await;
        let (ready, detail) = match answer {
            Err(_) => (false, "it does not answer".to_owned()),
            Ok(Err(error)) => (false, error.to_string()),
            Ok(Ok(None)) => (
                false,
                "it answers, but has not the source's topic".to_owned(),
            ),
            Ok(Ok(Some(_))) => (true, "it answers".to_owned()),
        };
        vec![Check {
            name: "log",
            ready,
            required: true,
            detail,
        }]
    }
}
