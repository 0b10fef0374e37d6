//! Upkeep of tables whose rows are kept for a time: partitions are made ahead, and dropped whole.
//!
//! Every worker looks after the tables of its pipeline, so that they are kept while nothing else of Tidewheel runs; the database lets one
//! at a time do something.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};
use tidewheel_planner::plan::Plan;
use tidewheel_provision::postgres::{self, KeepOptions, Kept, PlannedTable};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::metrics::Declared;

/// How often it is looked whether something is to be done: several times within the shortest partition, which is of five minutes, and
/// there are three ahead.
const LOOK_EVERY: Duration = Duration::from_secs(120);
/// How soon it is looked again where something had to be put off.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(30);

const KEPT: Declared = Declared {
    name: "tidewheel_retention_kept_timestamp_seconds",
    help: "When this process last found the tables of a sink as their retention says, as Unix time: partitions ahead, and nothing too old.",
    kind: MetricType::GAUGE,
    labels: &["pipeline", "sink"],
};

/// The tables of a pipeline whose rows are kept for a time.
pub(crate) struct Upkeep {
    pipeline: String,
    /// By `<namespace>/<name>` of the Sink.
    tables: BTreeMap<String, Vec<PlannedTable>>,
    metrics: RetentionMetrics,
    /// Why something is put off, by Sink: said once, and again when it is another reason.
    told: BTreeMap<String, String>,
}

impl Upkeep {
    /// Those of a plan.
    pub(crate) fn new(plan: &Plan, metrics: RetentionMetrics) -> Self {
        let kept = |sink: &str| {
            let mut tables = postgres::tables_of(plan, sink);
            tables.retain(|table| table.table.retention_ms.is_some());
            (sink.to_owned(), tables)
        };
        let tables = plan.table_sinks().map(kept);
        Self {
            pipeline: plan.full_name(),
            tables: tables.filter(|(_, tables)| !tables.is_empty()).collect(),
            metrics,
            told: BTreeMap::new(),
        }
    }

    /// Those of them in Sinks that `urls` has.
    pub(crate) fn of(mut self, urls: &BTreeMap<String, String>) -> Self {
        self.tables.retain(|sink, _| urls.contains_key(sink));
        self
    }

    /// Looks after them until `stop`. `url` has the URL of a Sink's database, as it is now.
    pub(crate) async fn run(
        mut self,
        url: impl Fn(&str) -> Result<String, Failure>,
        stop: CancellationToken,
    ) {
        while !self.tables.is_empty() && !stop.is_cancelled() {
            let mut pause = LOOK_EVERY;
            let sinks: Vec<String> = self.tables.keys().cloned().collect();
            for sink in sinks {
                let is_done = match url(&sink) {
                    Ok(url) => self.keep(&sink, &url).await,
                    // Whoever follows Secrets says why.
                    Err(_) => false,
                };
                if !is_done {
                    pause = LOOK_AGAIN_AFTER;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Looks after the tables in a Sink; whether all are as they should be now.
    async fn keep(&mut self, sink: &str, url: &str) -> bool {
        let tables = self.tables.get(sink).map_or(&[][..], Vec::as_slice);
        let kept = match postgres::keep(url, tables, KeepOptions::default()).await {
            Ok(kept) => kept,
            Err(error) => {
                self.put_off(sink, error.to_string());
                return false;
            }
        };
        let pipeline = &self.pipeline;
        let done = kept.iter().filter(|kept| kept.has_done());
        done.for_each(|kept| tracing::info!(pipeline, sink, "{kept}"));
        let reasons = kept.iter().filter_map(|kept| {
            let reason = kept.postponed.as_ref()?;
            Some(format!("table `{}`: {reason}", kept.table))
        });
        let reasons: Vec<String> = reasons.collect();
        let is_done = kept.iter().all(Kept::is_done);
        if !reasons.is_empty() {
            self.put_off(sink, reasons.join("; "));
        } else if is_done {
            self.told.remove(sink);
            self.metrics.kept(&self.pipeline, sink);
        }
        is_done
    }

    fn put_off(&mut self, sink: &str, reason: String) {
        if self.told.get(sink) != Some(&reason) {
            let pipeline = &self.pipeline;
            tracing::warn!(
                pipeline,
                sink,
                reason,
                "old rows stay, or partitions ahead are missing; it is tried again"
            );
            self.told.insert(sink.to_owned(), reason);
        }
    }
}

/// When tables were found as they should be. Clones share everything.
#[derive(Clone)]
pub(crate) struct RetentionMetrics {
    /// Seconds since the epoch, by pipeline and sink.
    kept: Arc<Mutex<BTreeMap<(String, String), f64>>>,
    desc: Desc,
}

impl RetentionMetrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        Ok(Self {
            kept: Arc::default(),
            desc: KEPT.desc()?,
        })
    }

    fn kept(&self, pipeline: &str, sink: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        let series = (pipeline.to_owned(), sink.to_owned());
        self.kept.lock().insert(series, now);
    }
}

impl Collector for RetentionMetrics {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let kept = self.kept.lock();
        let series = kept
            .iter()
            .map(|((pipeline, sink), at)| KEPT.value(&[pipeline, sink], *at));
        let series: Vec<_> = series.collect();
        if series.is_empty() {
            return Vec::new();
        }
        vec![KEPT.family(series)]
    }
}
