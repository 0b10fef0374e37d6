//! What kept data were made under: the resources that filled the log and the tables, so that a later run cannot change their meaning.
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidewheel_crds::{EventSourceSpec, PipelineSpec, SinkSpec};
use tidewheel_planner::plan::{Output, Plan};
use tidewheel_planner::resource::{Resource, ResourceSet};

use crate::failure::Failure;

const VERSION: u32 = 3;
/// Its file is that of now, but for the topics of outputs, which it did not hold.
const VERSION_WITHOUT_TOPICS: u32 = 2;
const FILE: &str = "resources.json";

/// What version 1 called its file, which held the EventSources alone.
const SOURCES_VERSION: u32 = 1;
const SOURCES_FILE: &str = "sources.json";

/// Everything that this run, and the runs before it on the same folder, took over. What the files no longer hold stays: so do its
/// events and its rows.
pub(crate) struct Kept {
    /// None where nothing is kept.
    folder: Option<PathBuf>,
    resources: Resources,
}

/// The table of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptTable {
    /// `<namespace>/<name>` of its Sink.
    pub(crate) sink: String,
    /// Schema in the database.
    pub(crate) schema: String,
    /// Name of the table.
    pub(crate) table: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    version: u32,
    sources: BTreeMap<String, Entry<EventSourceSpec>>,
    #[serde(default)]
    pipelines: BTreeMap<String, Entry<PipelineSpec>>,
    #[serde(default)]
    sinks: BTreeMap<String, Entry<SinkSpec>>,
    /// By Pipeline and output.
    #[serde(default)]
    tables: BTreeMap<String, BTreeMap<String, KeptTable>>,
    /// By Pipeline and output: the name on the log.
    #[serde(default)]
    topics: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Entry<S> {
    namespace: String,
    name: String,
    spec: S,
}

impl KeptTable {
    /// None where the output fills no table.
    pub(crate) fn of(output: &Output) -> Option<Self> {
        let table = output.table()?;
        Some(Self {
            sink: output.sink.clone(),
            schema: table.schema.clone(),
            table: table.name.clone(),
        })
    }
}

impl Kept {
    /// Reads what a run before this one has left in `folder`.
    pub(crate) fn read(folder: Option<&Path>) -> Result<Self, Failure> {
        let stored = match folder {
            None => None,
            Some(folder) => {
                let versions = [VERSION, VERSION_WITHOUT_TOPICS];
                match read_file(&folder.join(FILE), &versions)? {
                    None => read_file(&folder.join(SOURCES_FILE), &[SOURCES_VERSION])?,
                    found => found,
                }
            }
        };
        Ok(Self {
            folder: folder.map(Path::to_owned),
            resources: stored.unwrap_or_default(),
        })
    }

    /// The resources as they were.
    pub(crate) fn set(&self) -> ResourceSet {
        let Resources {
            sources,
            pipelines,
            sinks,
            ..
        } = &self.resources;
        let mut set = ResourceSet::default();
        set.event_sources = resources("EventSource", sources);
        set.pipelines = resources("Pipeline", pipelines);
        set.sinks = resources("Sink", sinks);
        set
    }

    /// The table that an output of a Pipeline (`<namespace>/<name>`) fills; none where there was no such output.
    pub(crate) fn table(&self, pipeline: &str, output: &str) -> Option<&KeptTable> {
        self.resources.tables.get(pipeline)?.get(output)
    }

    /// The topic that an output of a Pipeline (`<namespace>/<name>`) fills; none where there was no such output.
    pub(crate) fn topic(&self, pipeline: &str, output: &str) -> Option<&str> {
        let topic = self.resources.topics.get(pipeline)?.get(output)?;
        Some(topic)
    }

    /// Takes over what they are now.
    pub(crate) fn update(&mut self, set: &ResourceSet, plans: &[Plan]) -> io::Result<()> {
        let resources = &mut self.resources;
        resources.version = VERSION;
        take_over(&mut resources.sources, &set.event_sources);
        take_over(&mut resources.pipelines, &set.pipelines);
        take_over(&mut resources.sinks, &set.sinks);
        for plan in plans {
            let pipeline = plan.full_name();
            let tables = plan.outputs.iter();
            let tables =
                tables.filter_map(|output| Some((output.name.clone(), KeptTable::of(output)?)));
            let kept = resources.tables.entry(pipeline.clone()).or_default();
            kept.extend(tables);
            let topics = plan.outputs.iter();
            let topics = topics
                .filter_map(|output| Some((output.name.clone(), output.topic()?.name.clone())));
            resources.topics.entry(pipeline).or_default().extend(topics);
        }
        match &self.folder {
            None => Ok(()),
            Some(folder) => write_file(folder, resources),
        }
    }
}

fn resources<S: Clone>(kind: &str, kept: &BTreeMap<String, Entry<S>>) -> Vec<Resource<S>> {
    let resource =
        |kept: &Entry<S>| Resource::new(kind, &kept.namespace, &kept.name, kept.spec.clone());
    kept.values().map(resource).collect()
}

fn take_over<S: Clone>(kept: &mut BTreeMap<String, Entry<S>>, now: &[Resource<S>]) {
    kept.extend(now.iter().map(|resource| {
        let entry = Entry {
            namespace: resource.id.namespace.clone(),
            name: resource.id.name.clone(),
            spec: resource.spec.clone(),
        };
        (resource.id.full_name(), entry)
    }));
}

fn read_file(file: &Path, versions: &[u32]) -> Result<Option<Resources>, Failure> {
    let text = match std::fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let reason = match serde_json::from_slice::<Resources>(&text) {
        Ok(found) if versions.contains(&found.version) => return Ok(Some(found)),
        Ok(found) => format!("version {} is not known to this build", found.version),
        Err(error) => error.to_string(),
    };
    Err(Failure::usage(
        format!("{} cannot be read: {reason}", file.display()),
        "give --data a folder that this build, or an older one, has made",
    ))
}

/// All of it or nothing, whenever the process ends.
fn write_file(folder: &Path, resources: &Resources) -> io::Result<()> {
    let file = folder.join(FILE);
    let new = file.with_extension("json.new");
    std::fs::write(&new, serde_json::to_vec_pretty(resources)?)?;
    std::fs::rename(&new, file)?;
    match std::fs::remove_file(folder.join(SOURCES_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
