//! Where everything is kept: the log, and a SQLite file for each Sink.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tidewheel_log::{Cleanup, EmbeddedLog, LogError, Options, TopicSettings};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Plan, StepKind, Topic, TopicCleanup};
use tidewheel_planner::resource::ResourceSet;
use tidewheel_planner::source::topic as source_topic_of;
use tidewheel_sinks::embedded::Database;
use tidewheel_sinks::{OutputId, Sink, SinkError};
use tidewheel_worker::Sinks;

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
            log.create_topic(&topic(positions, 1, Cleanup::Compact))?;
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

    /// Makes the topics that the outputs of plans fill and those of all sources, those that no pipeline reads included.
    pub(crate) fn prepare_topics(&self, set: &ResourceSet, plans: &[Plan]) -> Result<(), LogError> {
        for output in plans.iter().flat_map(|plan| &plan.outputs) {
            if let Some(topic) = output.topic() {
                self.log.create_topic(&output_topic(topic))?;
            }
        }
        for source in &set.event_sources {
            let name = source_topic_of(source);
            let is_foreign = source.spec.kafka.is_some();
            // Somebody else's that is there already, as the output of another pipeline is, stays as it is.
            if is_foreign && self.partitions(&name).is_some() {
                continue;
            }
            // Else it keeps everything: how long its owner does is not known here.
            let retention_ms = (!is_foreign).then(|| source.spec.topic.retention.as_millis());
            self.log.create_topic(&topic(
                &name,
                source.spec.topic.partitions,
                Cleanup::Retention { ms: retention_ms },
            ))?;
        }
        Ok(())
    }

    /// How many partitions a topic has; none where there is none.
    fn partitions(&self, name: &str) -> Option<i32> {
        let topics = self.log.topics().into_iter();
        let mut found = topics.filter(|topic| topic.name == name);
        found.next().map(|topic| topic.partitions)
    }

    /// Makes the topics of a plan that do not depend on a generation, and its tables.
    pub(crate) async fn prepare(&mut self, plan: &Plan) -> Result<(), Failure> {
        for settings in self.pipeline_topics(plan) {
            self.log.create_topic(&settings)?;
        }
        for output in &plan.outputs {
            let Some(table) = output.table() else {
                continue;
            };
            if !self.databases.contains_key(&output.sink) {
                let database = open_database(&self.tables, &output.sink).await?;
                self.databases.insert(output.sink.clone(), database);
            }
            let id = OutputId {
                pipeline: format!("{}/{}", plan.namespace, plan.name),
                output: output.name.clone(),
            };
            if let Some(database) = self.databases.get(&output.sink) {
                database.create_table(&id, table).await?;
            }
        }
        Ok(())
    }

    fn pipeline_topics(&self, plan: &Plan) -> Vec<TopicSettings> {
        let names = PipelineNames::new(&plan.namespace, &plan.name);
        // Decrees are needed for as long as the events are.
        let longest_ms = if plan.sources.iter().any(|source| source.foreign) {
            None
        } else {
            plan.sources.iter().map(|source| source.retention_ms).max()
        };
        let mut topics = vec![
            topic(
                &names.dead_letters(),
                1,
                Cleanup::Retention {
                    ms: Some(plan.dead_letter_retention_ms),
                },
            ),
            topic(
                &names.watermarks(),
                1,
                Cleanup::Retention { ms: longest_ms },
            ),
            topic(&names.generations(), 1, Cleanup::Compact),
        ];
        let sources = plan.sources.iter().map(|source| {
            let partitions = self.partitions(&source.topic);
            let declared = partition_count(source.partitions);
            (source.name.as_str(), partitions.unwrap_or(declared))
        });
        let steps = plan.steps.iter().filter_map(|step| match &step.kind {
            StepKind::Aggregate(aggregate) => {
                Some((step.name.as_str(), partition_count(aggregate.partitions)))
            }
            StepKind::Rows(_) | StepKind::Deduplicate(_) => None,
        });
        let state = |(input, partitions): (&str, i32)| {
            topic(&names.state(input), partitions, Cleanup::Compact)
        };
        topics.extend(sources.chain(steps).map(state));
        topics
    }

    /// Makes the topics of partials, whose names carry a generation.
    pub(crate) fn prepare_partials(&self, topics: &[(String, u32)]) -> Result<(), LogError> {
        for (name, partitions) in topics {
            self.log.create_topic(&topic(
                name,
                partition_count(*partitions),
                Cleanup::Retention { ms: None },
            ))?;
        }
        Ok(())
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

/// The topic of an output as the log makes it.
fn output_topic(of: &Topic) -> TopicSettings {
    let cleanup = match of.cleanup {
        TopicCleanup::Retention { ms } => Cleanup::Retention { ms: Some(ms) },
        TopicCleanup::Compact => Cleanup::Compact,
    };
    topic(&of.name, partition_count(of.partitions), cleanup)
}

fn topic(name: &str, partitions: i32, cleanup: Cleanup) -> TopicSettings {
    TopicSettings {
        name: name.to_owned(),
        partitions,
        cleanup,
    }
}

fn partition_count(partitions: u32) -> i32 {
    i32::try_from(partitions).unwrap_or(i32::MAX)
}
