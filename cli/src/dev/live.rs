//! What the view is told while pipelines run.
use std::collections::BTreeMap;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use tidewheel_planner::plan::Target;
use tidewheel_sinks::embedded::Row;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::dev::generators::Generators;
use crate::dev::listen::Listening;
use crate::dev::pipelines::{Pipeline, Pipelines};
use crate::dev::results::{ledgers, topic};
use crate::dev::specs::Specs;
use crate::dev::store::Store;
use crate::dev::tables::Tables;
use crate::failure::Failure;
use crate::logging;
use crate::view::{self, Database, HttpSource, Snapshot, SourceCounts, collect};

/// Newest rows of each output that are shown.
const NEWEST_ROWS: u32 = 20;
/// Notices that are kept.
const NOTICES: usize = 200;

/// The view at work.
pub(crate) struct Live {
    snapshots: watch::Sender<Snapshot>,
    http_sources: Vec<HttpSource>,
    notices: Vec<String>,
    showing: JoinHandle<io::Result<()>>,
    stop: CancellationToken,
}

impl Live {
    /// Shows what it is told until `stop`, which a person at the terminal may cancel.
    pub(crate) fn start(stop: &CancellationToken) -> Self {
        let (snapshots, seen) = watch::channel(Snapshot::default());
        let (viewing, on_end) = (stop.child_token(), stop.clone());
        let stop = viewing.clone();
        if view::draws() {
            logging::hold();
        }
        let showing = tokio::spawn(async move {
            let outcome = view::run(seen, viewing.clone()).await;
            // Quitting the view is quitting.
            if viewing.is_cancelled() {
                on_end.cancel();
            }
            outcome
        });
        Self {
            snapshots,
            http_sources: Vec::new(),
            notices: Vec::new(),
            showing,
            stop,
        }
    }

    /// How events are sent to the sources of `specs` from now on.
    pub(crate) fn serve(&mut self, specs: &Specs, listening: Option<&Listening>) {
        let Some(listening) = listening else { return };
        let (url, is_only) = (url(listening), specs.http_sources.len() == 1);
        let sources = specs.http_sources.iter();
        self.http_sources = sources
            .map(|source| collect::http_source(&url, source, is_only, now_ms()))
            .collect();
    }

    /// Tells a person something, once.
    pub(crate) fn notice(&mut self, text: impl Into<String>) {
        self.notices.push(text.into());
    }

    /// Shows this moment.
    pub(crate) async fn show(
        &mut self,
        store: &Store,
        pipelines: &Pipelines,
        listening: Option<&Listening>,
        generators: &Generators,
    ) {
        self.notices.extend(logging::take_held());
        let too_many = self.notices.len().saturating_sub(NOTICES);
        self.notices.drain(..too_many);
        let ledgers = ledgers(pipelines);
        let mut shown = Vec::new();
        for pipeline in pipelines.iter() {
            let newest = newest(store, pipeline).await;
            shown.push(collect::pipeline(
                &pipeline.plan,
                &pipeline.control.status(),
                &newest,
                &ledgers,
            ));
        }
        let mut sources = listening
            .map(|listening| collect::ingested(listening.registry()))
            .unwrap_or_default();
        sources.extend(generators.made().map(|(name, accepted)| SourceCounts {
            name,
            accepted,
            ..SourceCounts::default()
        }));
        let database = |(sink, tables): (&str, &Tables)| Database {
            sink: sink.to_owned(),
            path: tables.place(),
        };
        self.snapshots.send_replace(Snapshot {
            now_ms: now_ms(),
            url: listening.map(url),
            http_sources: self.http_sources.clone(),
            databases: store.all_tables().map(database).collect(),
            sources,
            pipelines: shown,
            notices: self.notices.clone(),
        });
    }

    /// Ends the view and gives the terminal back.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        match self.showing.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the view has ended"),
            Err(error) => tracing::error!(%error, "the view has ended badly"),
        }
        logging::release();
    }
}

fn url(listening: &Listening) -> String {
    format!("http://{}", listening.address)
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// The newest rows of each output; none where they cannot be read now.
async fn newest(store: &Store, pipeline: &Pipeline) -> BTreeMap<String, Vec<Row>> {
    let mut newest = BTreeMap::new();
    for output in &pipeline.plan.outputs {
        let rows = match &output.target {
            Target::Topic(of) => topic::newest(store.log().as_ref(), of, NEWEST_ROWS)
                .await
                .map_err(Failure::from),
            Target::Table(table) => match store.tables(&output.sink) {
                Some(tables) => tables
                    .newest(table, NEWEST_ROWS)
                    .await
                    .map_err(Failure::from),
                None => continue,
            },
        };
        match rows {
            Ok(rows) => drop(newest.insert(output.name.clone(), rows)),
            Err(error) => tracing::debug!(%error, "the newest rows cannot be read"),
        }
    }
    newest
}
