//! The Pipeline that a tool is pointed at, and where its log is.
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use tidewheel_log::{EmbeddedLog, Log, Options};
use tidewheel_log_kafka::KafkaLog;
use tidewheel_planner::names::{PipelineNames, source_topic};

use crate::dev::MAX_RECORD_BYTES;
use crate::failure::Failure;
use crate::roles::kafka::KafkaPlace;

/// Which pipeline, and where its log is.
#[derive(Debug)]
pub(crate) struct PlaceArgs {
    /// The Pipeline.
    pub(crate) pipeline: PipelineName,
    log: LogPlace,
}

/// Where a log is.
#[derive(Debug)]
enum LogPlace {
    Kafka(KafkaPlace),
    /// The folder of a `tidewheel dev --data`.
    Data(PathBuf),
}

/// As they stand on the command line.
#[derive(Debug, Args)]
struct Given {
    /// The Pipeline
    #[arg(value_name = "NAMESPACE/NAME")]
    pipeline: PipelineName,
    /// Where Kafka is: HOST:PORT, with commas between several; or a folder with a file for each property of librdkafka, as a
    /// mounted Secret has them; or a file with lines `PROPERTY=VALUE`
    #[arg(long, value_name = "WHERE", env = "TIDEWHEEL_KAFKA")]
    kafka: Option<KafkaPlace>,
    /// The folder of a `tidewheel dev --data DIR` that is not running, instead of Kafka
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Args for PlaceArgs {
    fn augment_args(command: Command) -> Command {
        Given::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Given::augment_args_for_update(command)
    }
}

impl FromArgMatches for PlaceArgs {
    /// `--data` wins over the variable, which may stand there for other commands; `conflicts_with` would not tell it from `--kafka`.
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_kafka_said = matches.value_source("kafka") == Some(ValueSource::CommandLine);
        let given = Given::from_arg_matches(matches)?;
        let log = match (given.data, given.kafka) {
            (Some(_), Some(_)) if is_kafka_said => {
                return Err(clap::Error::raw(
                    ErrorKind::ArgumentConflict,
                    "the argument '--kafka <WHERE>' cannot be used with '--data <DIR>': give the one that says where the Pipeline's log is",
                ));
            }
            (Some(folder), _) => LogPlace::Data(folder),
            (None, Some(place)) => LogPlace::Kafka(place),
            (None, None) => {
                return Err(clap::Error::raw(
                    ErrorKind::MissingRequiredArgument,
                    "nothing says where the Pipeline's log is: give '--kafka <WHERE>' or set TIDEWHEEL_KAFKA, or give '--data <DIR>'",
                ));
            }
        };
        Ok(Self {
            pipeline: given.pipeline,
            log,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl PlaceArgs {
    /// The log, in which a topic of the pipeline shows that it is there. To be called within the runtime.
    pub(crate) async fn open(&self, topic: &str) -> Result<Arc<dyn Log>, Failure> {
        let log: Arc<dyn Log> = match &self.log {
            LogPlace::Data(folder) => Arc::new(of_folder(folder)?),
            LogPlace::Kafka(place) => Arc::new(KafkaLog::new(place.connection()?)?),
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
