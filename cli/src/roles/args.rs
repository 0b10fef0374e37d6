//! The command lines of the roles.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::roles::kafka::KafkaPlace;

/// What every role reads.
#[derive(Debug, Clone, Args)]
pub(crate) struct SpecArgs {
    /// A file with resources, the same documents as for `check`, or a folder with `*.yaml` and `*.yml` files. May be given several times
    #[arg(
        long,
        required = true,
        value_name = "PATH",
        env = "TIDEWHEEL_SPECS",
        value_delimiter = ','
    )]
    pub(crate) specs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) secrets: SecretArgs,
}

/// Where Secrets are.
#[derive(Debug, Clone, Args)]
pub(crate) struct SecretArgs {
    /// A folder with mounted Secrets: what the file DIR/SECRET/KEY holds is the value. They win over `kind: Secret` documents
    #[arg(long, value_name = "DIR", env = "TIDEWHEEL_SECRETS")]
    pub(crate) secrets: Option<PathBuf>,
}

/// How Kafka is reached.
#[derive(Debug, Clone, Args)]
pub(crate) struct KafkaArgs {
    /// Where Kafka is: HOST:PORT, with commas between several; or a folder with a file for each property of librdkafka, as a
    /// mounted Secret has them; or a file with lines `PROPERTY=VALUE`
    #[arg(long, value_name = "WHERE", env = "TIDEWHEEL_KAFKA")]
    pub(crate) kafka: KafkaPlace,
}

/// Probes, metrics and the end of a role.
#[derive(Debug, Clone, Args)]
pub(crate) struct OperationsArgs {
    /// Address of /healthz, /readyz and /metrics
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "TIDEWHEEL_OPERATIONS",
        default_value = "0.0.0.0:9090"
    )]
    pub(crate) operations: SocketAddr,
    /// How long the role may take to end after SIGTERM; keep it below the pod's terminationGracePeriodSeconds
    #[arg(
        long,
        value_name = "SECONDS",
        env = "TIDEWHEEL_GRACE",
        default_value = "25",
        value_parser = seconds
    )]
    pub(crate) grace: Duration,
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

const INGEST_EXAMPLES: &str = "\
Example:
  tidewheel ingest --specs resources.yaml --kafka 127.0.0.1:9092 --listen 127.0.0.1:8080";

/// `tidewheel ingest`
#[derive(Debug, Args)]
#[command(after_help = INGEST_EXAMPLES)]
pub(crate) struct IngestArgs {
    #[command(flatten)]
    pub(crate) specs: SpecArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    /// Take events of this EventSource (NAMESPACE/NAME); may be given several times [default: all that have `http`]
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        env = "TIDEWHEEL_SOURCES",
        value_delimiter = ','
    )]
    pub(crate) source: Vec<String>,
    /// Address on which events are taken
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "TIDEWHEEL_LISTEN",
        default_value = "0.0.0.0:8080"
    )]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) operations: OperationsArgs,
}

const WORKER_EXAMPLES: &str = "\
Example, beside others of the same kind, which share the work:
  tidewheel worker --specs resources.yaml --kafka 127.0.0.1:9092 --secrets ./secrets --operations 127.0.0.1:9090";

/// `tidewheel worker`
#[derive(Debug, Args)]
#[command(after_help = WORKER_EXAMPLES)]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    pub(crate) specs: SpecArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    /// Work on this Pipeline (NAMESPACE/NAME); may be left out where there is one
    #[arg(long, value_name = "NAMESPACE/NAME", env = "TIDEWHEEL_PIPELINE")]
    pub(crate) pipeline: Option<String>,
    #[command(flatten)]
    pub(crate) operations: OperationsArgs,
}

/// `tidewheel generate`
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) specs: SpecArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    /// Make the events of this EventSource (NAMESPACE/NAME); may be left out where one has a `generator`
    #[arg(long, value_name = "NAMESPACE/NAME", env = "TIDEWHEEL_SOURCE")]
    pub(crate) source: Option<String>,
    /// End once all declared events are made, instead of waiting for SIGTERM
    #[arg(long)]
    pub(crate) until_made: bool,
    #[command(flatten)]
    pub(crate) operations: OperationsArgs,
}

/// `tidewheel operator`
#[derive(Debug, Args)]
pub(crate) struct OperatorArgs {
    /// How the workloads look: a YAML file with `image`, and what else the chart lets choose
    #[arg(long, value_name = "FILE", env = "TIDEWHEEL_WORKLOADS")]
    pub(crate) workloads: PathBuf,
    /// Where the Kafka of namespaces is that have no Secret of their own: HOST:PORT, with commas between several
    #[arg(
        long,
        value_name = "SERVERS",
        env = "TIDEWHEEL_KAFKA_BOOTSTRAP_SERVERS"
    )]
    pub(crate) kafka_bootstrap_servers: Option<String>,
    /// The Secret that says, in its namespace, how Kafka is reached: its keys are properties of librdkafka
    #[arg(
        long,
        value_name = "NAME",
        env = "TIDEWHEEL_KAFKA_SECRET",
        default_value = "tidewheel-kafka"
    )]
    pub(crate) kafka_secret: String,
    /// Look after this namespace; may be given several times [default: all]
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "TIDEWHEEL_WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    pub(crate) watch_namespaces: Vec<String>,
    /// Name of this process, which no other operator of the cluster has
    #[arg(long, value_name = "NAME", env = "TIDEWHEEL_POD")]
    pub(crate) pod: String,
    /// The namespace with the Lease that says which of several operators acts
    #[arg(long, value_name = "NAMESPACE", env = "TIDEWHEEL_NAMESPACE")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) operations: OperationsArgs,
}

const PROVISION_EXAMPLES: &str = "\
Examples:
  tidewheel provision examples/web-analytics --kafka 127.0.0.1:9092 --sink warehouse=postgres://me@localhost/analytics
  tidewheel provision pipelines/ --kafka ./kafka --secrets ./secrets
  tidewheel provision pipelines/ --kafka ./kafka --secrets ./secrets --dry-run

Exit codes: 0 everything is as it has to be, 1 something could not be done (what was done stays),
  2 the command line or the files are wrong, 3 a dry run found something to do.";

/// `tidewheel provision`
///
/// Makes the topics, schemas and tables that the files need, or brings them in line, and says what it did. What is there and
/// fits is left alone; nothing is ever deleted but rows whose `retention` is over. In a cluster the operator does this.
#[derive(Debug, Args)]
#[command(after_help = PROVISION_EXAMPLES, verbatim_doc_comment)]
pub(crate) struct ProvisionArgs {
    /// Files, and folders with `*.yaml` and `*.yml` files
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    #[command(flatten)]
    pub(crate) secrets: SecretArgs,
    #[command(flatten)]
    pub(crate) sinks: SinkArgs,
    /// Say what would be done, or why it could not be, and do nothing. It asks for the same permissions
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Databases that are named on the command line.
#[derive(Debug, Clone, Args)]
pub(crate) struct SinkArgs {
    /// Write a Sink's results to this PostgreSQL database: NAME or NAMESPACE/NAME of the Sink, `=`, postgres://USER:PASSWORD@HOST/DATABASE.
    /// May be given several times
    #[arg(long, value_name = "NAME=URL")]
    pub(crate) sink: Vec<String>,
}
