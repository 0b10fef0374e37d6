//! Where everything is kept: the log, and the tables of each Sink.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tidewheel_log::{EmbeddedLog, Log, Options};
use tidewheel_planner::plan::Plan;
use tidewheel_planner::resource::ResourceSet;
use tidewheel_planner::topics::{self, Cleanup, Topic};
use tidewheel_worker::Sinks;

use crate::args::DevArgs;
use crate::dev::log::DevLog;
use crate::dev::send::SENDS_TOPIC;
use crate::dev::tables::Tables;
use crate::failure::Failure;
use crate::roles::secrets::Secrets;
use crate::roles::sinks::SinkUrls;

/// Largest record the log takes, bytes: an event as it came, far beyond what a decoder takes, with its key and headers.
pub(crate) const MAX_RECORD_BYTES: usize = 64 << 20;

/// The log and the tables.
pub(crate) struct Store {
    log: DevLog,
    folder: PathBuf,
    urls: SinkUrls,
    tables: BTreeMap<String, Tables>,
    /// Removed with everything in it when the process ends; none where the data are kept.
    _temporary: Option<TempDir>,
}

impl Store {
    /// Opens what the command line names: what is in `--data`, or else a new temporary folder, and in the place of its parts Kafka
    /// and databases.
    pub(crate) async fn open(args: &DevArgs, set: &ResourceSet) -> Result<Self, Failure> {
        let (folder, temporary) = match &args.data {
            Some(folder) => (folder.clone(), None),
            None => {
                let temporary = tempfile::Builder::new().prefix("tidewheel-").tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let tables = folder.join("tables");
        std::fs::create_dir_all(&tables).map_err(|error| {
            Failure::usage(
                format!("{} cannot be made: {error}", tables.display()),
                "give --data a folder that can be written",
            )
        })?;
        let options = Options {
            max_record_bytes: MAX_RECORD_BYTES,
            ..Options::default()
        };
        let log = match &args.kafka {
            Some(place) => DevLog::on_kafka(place)?,
            None => DevLog::Embedded(EmbeddedLog::open(folder.join("log"), options)?),
        };
        let sends = Topic {
            name: SENDS_TOPIC.to_owned(),
            partitions: 1,
            cleanup: Cleanup::Compact,
            is_internal: true,
        };
        log.make(&[sends]).await?;
        Ok(Self {
            log,
            folder: tables,
            urls: SinkUrls::new(set, Secrets::new(None, set), &args.sinks.sink)?,
            tables: BTreeMap::new(),
            _temporary: temporary,
        })
    }

    /// The log.
    pub(crate) fn log(&self) -> Arc<dyn Log> {
        self.log.shared()
    }

    /// Forgets old events, and makes the log's state smaller.
    pub(crate) fn tidy(&self) {
        self.log.tidy();
    }

    /// The tables of all Sinks that an output was planned for, by `<namespace>/<name>`.
    pub(crate) fn all_tables(&self) -> impl Iterator<Item = (&str, &Tables)> {
        self.tables
            .iter()
            .map(|(sink, tables)| (sink.as_str(), tables))
    }

    /// The tables of a Sink, by `<namespace>/<name>`; none before an output was planned for it.
    pub(crate) fn tables(&self, sink: &str) -> Option<&Tables> {
        self.tables.get(sink)
    }

    /// The sinks as workers take them.
    pub(crate) fn sinks(&self) -> Sinks {
        let sinks = self.tables.iter();
        sinks
            .map(|(name, tables)| (name.clone(), tables.sink()))
            .collect()
    }

    /// Makes the topics of all sources, those that no pipeline reads included, and those that outputs fill.
    pub(crate) async fn prepare_topics(
        &self,
        set: &ResourceSet,
        plans: &[Plan],
    ) -> Result<(), Failure> {
        self.log.make(&topics::of_sources(set)).await?;
        let filled: Vec<Topic> = plans.iter().flat_map(topics::of_outputs).collect();
        self.log.make(&filled).await?;
        self.log.find(&topics::existing(set)).await
    }

    /// Makes the topics of a plan that do not depend on a generation, and its tables.
    pub(crate) async fn prepare(&mut self, plan: &Plan) -> Result<(), Failure> {
        let plan = &self.log.with_existing(plan).await?;
        self.log.make(&topics::of_pipeline(plan)).await?;
        let mut sinks: Vec<&str> = plan.table_sinks().collect();
        sinks.sort_unstable();
        sinks.dedup();
        for sink in sinks {
            if !self.tables.contains_key(sink) {
                let tables = Tables::open(&self.folder, sink, self.urls.given(sink)).await?;
                self.tables.insert(sink.to_owned(), tables);
            }
            if let Some(tables) = self.tables.get(sink) {
                tables.prepare(sink, plan).await?;
            }
        }
        Ok(())
    }

    /// Makes the topics of partials, whose names carry a generation.
    pub(crate) async fn prepare_partials(&self, partials: &[(String, u32)]) -> Result<(), Failure> {
        let partials = partials.iter().cloned();
        let partials = partials.map(|(name, partitions)| topics::of_partial(name, partitions));
        self.log.make(&partials.collect::<Vec<_>>()).await
    }

    /// Leaves single files behind.
    pub(crate) async fn close(&self) {
        for tables in self.tables.values() {
            if let Err(error) = tables.close().await {
                tracing::warn!(%error, "the tables were not closed; nothing is lost");
            }
        }
    }
}
