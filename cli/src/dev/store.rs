//! Where everything is kept: the log, and the tables of each Sink.
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tidewheel_log::{EmbeddedLog, Log, Options};
use tidewheel_planner::plan::Plan;
use tidewheel_planner::problem::{Code, Problem};
use tidewheel_planner::resource::ResourceSet;
use tidewheel_planner::topics::{self, Cleanup, Topic};
use tidewheel_worker::{SchemasOf, Sinks};

use crate::args::DevArgs;
use crate::dev::changes::output_problem;
use crate::dev::log::DevLog;
use crate::dev::send::SENDS_TOPIC;
use crate::dev::specs::as_played;
use crate::dev::tables::Tables;
use crate::failure::Failure;
use crate::roles::provision::sinks_of;
use crate::roles::registries::registries;
use crate::roles::secrets::Secrets;
use crate::roles::sinks::SinkUrls;

/// Largest record the log takes, bytes: an event as it came, far beyond what a decoder takes, with its key and headers.
pub(crate) const MAX_RECORD_BYTES: usize = 64 << 20;

/// The log and the tables.
pub(crate) struct Store {
    log: DevLog,
    folder: PathBuf,
    urls: SinkUrls,
    secrets: Secrets,
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
            is_named: false,
        };
        log.make(&[sends]).await?;
        let secrets = Secrets::new(None, set);
        Ok(Self {
            log,
            folder: tables,
            urls: SinkUrls::new(set, secrets.clone(), &args.sinks.sink)?,
            secrets,
            tables: BTreeMap::new(),
            _temporary: temporary,
        })
    }

    /// The log.
    pub(crate) fn log(&self) -> Arc<dyn Log> {
        self.log.shared()
    }

    /// What a pipeline runs by here, and where its sources' schemas come from: an embedded log has only what `dev` plays into it, which is
    /// JSON where records on Kafka are encoded otherwise.
    pub(crate) fn as_run(&self, mut plan: Plan) -> Result<(Plan, SchemasOf), Failure> {
        if let DevLog::Embedded(_) = self.log {
            plan.sources.iter_mut().for_each(|source| {
                source.events = as_played(&source.events);
                source.registry = None;
            });
        }
        let schemas = registries(&plan, &self.secrets)?;
        Ok((plan, schemas))
    }

    /// Forgets old events, and makes the log's state smaller.
    pub(crate) fn tidy(&self) {
        self.log.tidy();
    }

    /// The URL of the database that `--sink` names for a Sink (`<namespace>/<name>`).
    pub(crate) fn url(&self, sink: &str) -> Option<String> {
        self.urls.given(sink).map(str::to_owned)
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

    /// Everything for which the tables of `plans` could not be made. Makes no table.
    pub(crate) async fn obstacles(
        &mut self,
        set: &ResourceSet,
        plans: &[Plan],
    ) -> Result<Vec<Problem>, Failure> {
        let mut problems = Vec::new();
        let outputs = plans
            .iter()
            .flat_map(|plan| plan.outputs.iter().map(move |output| (plan, output)));
        for sink in sinks_of(plans) {
            let planned: Vec<_> = outputs
                .clone()
                .filter(|(_, output)| output.sink == sink)
                .filter_map(|(plan, output)| Some((plan, output, output.table()?)))
                .collect();
            let tables = self.open_tables(&sink).await?;
            let help = tables.help();
            for (index, message) in tables.obstacles(&sink, &planned).await? {
                let (plan, output, _) = planned[index];
                let path = ["name"];
                let code = Code::UnstorableOutput;
                let problem = output_problem(set, plan, &output.name, &path, code, &message);
                problems.extend(problem.map(|problem| Problem {
                    help: Some(help.to_owned()),
                    ..problem
                }));
            }
        }
        Ok(problems)
    }

    /// Makes the topics of all sources, those that no pipeline reads included, but for existing ones.
    pub(crate) async fn prepare_sources(&self, set: &ResourceSet) -> Result<(), Failure> {
        self.log.make(&topics::of_sources(set)).await
    }

    /// Sees to the existing topics that sources name, before pipelines that read them are prepared: makes those that outputs fill, and looks
    /// for the others.
    pub(crate) async fn prepare_existing(
        &self,
        set: &ResourceSet,
        plans: &[Plan],
    ) -> Result<(), Failure> {
        let filled: Vec<Topic> = plans.iter().flat_map(topics::of_outputs).collect();
        self.log.make(&filled).await?;
        self.log.find(&topics::existing(set)).await
    }

    /// Makes the topics of a plan that do not depend on a generation, and its tables.
    pub(crate) async fn prepare(&mut self, plan: &Plan) -> Result<(), Failure> {
        let plan = &self.log.with_existing(plan).await?;
        self.log.make(&topics::of_pipeline(plan)).await?;
        for sink in sinks_of(std::slice::from_ref(plan)) {
            self.open_tables(&sink).await?.prepare(&sink, plan).await?;
        }
        Ok(())
    }

    async fn open_tables(&mut self, sink: &str) -> Result<&Tables, Failure> {
        Ok(match self.tables.entry(sink.to_owned()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                place.insert(Tables::open(&self.folder, sink, self.urls.given(sink)).await?)
            }
        })
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
