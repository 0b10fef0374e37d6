//! The Pipeline that a tool is pointed at, and where its log is.
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use tidewheel_log::{EmbeddedLog, Log, Options};
use tidewheel_log_kafka::KafkaLog;
use tidewheel_planner::names::{PipelineNames, source_topic};

use crate::dev::MAX_RECORD_BYTES;
use crate::failure::Failure;
use crate::roles::kafka::KafkaPlace;

/// Which pipeline, and where its log is.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The Pipeline
    #[arg(value_name = "NAMESPACE/NAME")]
    pub(crate) pipeline: PipelineName,
    /// Where Kafka is: HOST:PORT, with commas between several; or a folder with a file for each property of librdkafka, as a
    /// mounted Secret has them; or a file with lines `PROPERTY=VALUE`
    #[arg(
        long,
        value_name = "WHERE",
        env = "TIDEWHEEL_KAFKA",
        required_unless_present = "data"
    )]
    pub(crate) kafka: Option<KafkaPlace>,
    /// The folder of a `tidewheel dev --data DIR` that is not running, instead of Kafka
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

impl PlaceArgs {
    /// The log, in which a topic of the pipeline shows that it is there. To be called within the runtime.
    pub(crate) async fn open(&self, topic: &str) -> Result<Arc<dyn Log>, Failure> {
        let log: Arc<dyn Log> = match (&self.data, &self.kafka) {
            (Some(folder), _) => Arc::new(of_folder(folder)?),
            (None, Some(place)) => Arc::new(KafkaLog::new(place.connection()?)?),
            (None, None) => {
                return Err(Failure::usage("no log is named", "give --kafka or --data"));
            }
        };
        if log.topic(topic).await?.is_none() {
            return Err(Failure::usage(
                format!(
                    "there is no Pipeline {} here: there is no topic {topic}",
                    self.pipeline
                ),
                "look at namespace and name, and at where the log is",
            ));
        }
        Ok(log)
    }
}

/// The log that `tidewheel dev --data` has kept. Nothing is made where there is none.
fn of_folder(folder: &Path) -> Result<EmbeddedLog, Failure> {
    let log = folder.join("log");
    if !log.is_dir() {
        return Err(Failure::usage(
            format!(
                "{} is no folder of `tidewheel dev --data`: there is no log in it",
                folder.display()
            ),
            "give --data the folder that `tidewheel dev --data` was given",
        ));
    }
    let options = Options {
        max_record_bytes: MAX_RECORD_BYTES,
        ..Options::default()
    };
    Ok(EmbeddedLog::open(log, options)?)
}

/// `<namespace>/<name>` of a Pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PipelineName {
    namespace: String,
    name: String,
}

/// What is no name of a pipeline.
#[derive(Debug, thiserror::Error)]
#[error("write NAMESPACE/NAME of the Pipeline, such as shop/kpis")]
pub(crate) struct NoPipelineName;

impl FromStr for PipelineName {
    type Err = NoPipelineName;

    fn from_str(text: &str) -> Result<Self, NoPipelineName> {
        let (namespace, name) = text.split_once('/').ok_or(NoPipelineName)?;
        if namespace.is_empty() || name.is_empty() || name.contains('/') {
            return Err(NoPipelineName);
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl std::fmt::Display for PipelineName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl PipelineName {
    /// Its names on the log.
    pub(crate) fn names(&self) -> PipelineNames {
        PipelineNames::new(&self.namespace, &self.name)
    }

    /// The topic that an EventSource beside it has, unless it reads an existing one.
    pub(crate) fn own_topic(&self, source: &str) -> String {
        source_topic(&self.namespace, source)
    }
}
