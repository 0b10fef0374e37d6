//! Where everything is kept: the log, and a SQLite file for each Sink.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tidewheel_log::{Cleanup, EmbeddedLog, LogError, Options, TopicSettings};
use tidewheel_planner::plan::Plan;
use tidewheel_planner::resource::ResourceSet;
use tidewheel_planner::topics::{self, Topic};
use tidewheel_sinks::embedded::Database;
use tidewheel_sinks::{OutputId, Sink, SinkError};
use tidewheel_worker::{Sinks, topic_settings};

use crate::dev::generators::POSITIONS_TOPIC;
use crate::dev::send::SENDS_TOPIC;
use crate::failure::Failure;

/// Largest record the log takes, bytes: an event as it came, far beyond what a decoder takes, with its key and headers.
pub(crate) const MAX_RECORD_BYTES: usize = 64 << 20;

/// The log and the tables.
pub(crate) struct Store {
    pub(crate) log: EmbeddedLog,
    tables: PathBuf,
    databases: BTreeMap<String, Database>,
    /// Removed with everything in it when the process ends; none where the data are kept.
    _temporary: Option<TempDir>,
}

impl Store {
    /// Opens what is in `data`, or begins anew in a temporary folder.
    pub(crate) fn open(data: Option<&Path>) -> Result<Self, Failure> {
        let (folder, temporary) = match data {
            Some(folder) => (folder.to_owned(), None),
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
        let log = EmbeddedLog::open(folder.join("log"), options)?;
        for positions in [SENDS_TOPIC, POSITIONS_TOPIC] {
            log.create_topic(&TopicSettings {
                name: positions.to_owned(),
                partitions: 1,
                cleanup: Cleanup::Compact,
            })?;
        }
        Ok(Self {
            log,
            tables,
            databases: BTreeMap::new(),
            _temporary: temporary,
        })
    }

    /// The files of tables, by `<namespace>/<name>` of their Sinks.
    pub(crate) fn databases(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.databases
            .iter()
            .map(|(sink, database)| (sink.as_str(), database.path()))
    }

    /// The tables of a Sink, by `<namespace>/<name>`; none before an output was planned for it.
    pub(crate) fn database(&self, sink: &str) -> Option<&Database> {
        self.databases.get(sink)
    }

    /// The sinks as workers take them.
    pub(crate) fn sinks(&self) -> Sinks {
        let sink = |(name, database): (&String, &Database)| {
            (name.clone(), Arc::new(database.clone()) as Arc<dyn Sink>)
        };
        self.databases.iter().map(sink).collect()
    }

    /// Makes the topics of all sources, those that no pipeline reads included.
    pub(crate) fn prepare_sources(&self, set: &ResourceSet) -> Result<(), LogError> {
        self.create_topics(&topics::of_sources(set))
    }

    /// Makes the topics of a plan that do not depend on a generation, and its tables.
    pub(crate) async fn prepare(&mut self, plan: &Plan) -> Result<(), Failure> {
        self.create_topics(&topics::of_pipeline(plan))?;
        for output in &plan.outputs {
            if !self.databases.contains_key(&output.sink) {
                let database = open_database(&self.tables, &output.sink).await?;
                self.databases.insert(output.sink.clone(), database);
            }
            let id = OutputId {
                pipeline: format!("{}/{}", plan.namespace, plan.name),
                output: output.name.clone(),
            };
            if let Some(database) = self.databases.get(&output.sink) {
                database.create_table(&id, &output.table).await?;
            }
        }
        Ok(())
    }

    /// Makes the topics of partials, whose names carry a generation.
    pub(crate) fn prepare_partials(&self, partials: &[(String, u32)]) -> Result<(), LogError> {
        let partials = partials.iter().cloned();
        let partials = partials.map(|(name, partitions)| topics::of_partial(name, partitions));
        self.create_topics(&partials.collect::<Vec<_>>())
    }

    fn create_topics(&self, topics: &[Topic]) -> Result<(), LogError> {
        topics
            .iter()
            .try_for_each(|topic| self.log.create_topic(&topic_settings(topic)).map(drop))
    }

    /// Leaves single files behind.
    pub(crate) async fn close(&self) {
        for database in self.databases.values() {
            if let Err(error) = database.close().await {
                tracing::warn!(%error, "the tables were not closed; nothing is lost");
            }
        }
    }
}

/// The file of a Sink: names hold no dots, so no two share one.
async fn open_database(tables: &Path, sink: &str) -> Result<Database, SinkError> {
    Database::open(tables.join(format!("{}.db", sink.replace('/', ".")))).await
}
