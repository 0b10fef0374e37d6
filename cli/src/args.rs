//! The command line.
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::acknowledge::args::AcknowledgeArgs;
use crate::dead_letters::args::DeadLettersArgs;
use crate::replay::args::ReplayArgs;
use crate::roles::args::{
    GenerateArgs, IngestArgs, OperatorArgs, ProvisionArgs, SinkArgs, WorkerArgs,
};
use crate::roles::kafka::KafkaPlace;

/// Real-time analytics from three small YAML files.
#[derive(Debug, Parser)]
#[command(name = "tidewheel", version, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What to log to stderr: a level (error, warn, info, debug), or one for each target, such as `warn,tidewheel_worker=debug`
    /// [default: warn, and info for roles]
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "TIDEWHEEL_LOG",
        help_heading = "Logs"
    )]
    pub(crate) log: Option<String>,
    /// How logs look [default: text, and json for roles]
    #[arg(
        long,
        global = true,
        value_enum,
        env = "TIDEWHEEL_LOG_FORMAT",
        help_heading = "Logs"
    )]
    pub(crate) log_format: Option<LogFormat>,
}

const EXAMPLES: &str = "\
Examples:
  tidewheel check examples/web-analytics          what is wrong with these files, and what to write instead
  tidewheel dev examples/web-analytics            run them here; events are posted to http://127.0.0.1:8080
  tidewheel crds | kubectl apply -f -             teach a cluster the three kinds

Exit codes: 0 all is well, 1 something failed or a ledger does not balance, 2 the command line or the files are wrong,
  130 stopped before the end of the input.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run resources in one process, with an embedded log and embedded tables
    Dev(DevArgs),
    /// Judge resources: everything that is wrong, with its place and its fix
    Check(CheckArgs),
    /// Make the topics, schemas and tables that resources need, on Kafka and PostgreSQL
    Provision(ProvisionArgs),
    /// Role: take events over HTTP into Kafka
    Ingest(IngestArgs),
    /// Role: run the tasks of a Pipeline, together with other workers
    Worker(WorkerArgs),
    /// Role: make up the events of an EventSource with `generator`
    Generate(GenerateArgs),
    /// Role: keep the EventSources, Pipelines and Sinks of a cluster as they are declared
    Operator(OperatorArgs),
    /// See what a Pipeline could not process, and send it again
    ///
    /// Shows the events that a Pipeline could not process, and why, and sends them again once the cause is mended: the original bytes, to
    /// the partition that they came from, for the Pipeline and the step or output that refused them. Nobody else takes them twice.
    DeadLetters(DeadLettersArgs),
    /// See what tasks of a Pipeline wait for, because it is gone, and have them go on without
    ///
    /// A task stops where events were deleted before it had read them, or where a table's progress is gone that it had written. It says so,
    /// and waits until somebody acknowledges exactly that, by its hash. Without --hash this lists what waits, and changes nothing.
    Acknowledge(AcknowledgeArgs),
    /// Compute windows of the past again, from what the sources still have
    ///
    /// Computes the windows of a Pipeline between two times again, by its SQL, from the events that its sources' topics have now, and puts them
    /// in the place of what the tables have. Only windows that no worker writes any more; what was late or a duplicate is so again.
    Replay(ReplayArgs),
    /// Print the CustomResourceDefinitions of EventSource, Pipeline and Sink
    Crds,
}

impl Command {
    /// Whether it is one that a cluster runs.
    pub(crate) fn is_role(&self) -> bool {
        matches!(
            self,
            Self::Ingest(_) | Self::Worker(_) | Self::Generate(_) | Self::Operator(_)
        )
    }
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// An object to a line
    Json,
}

const DEV_EXAMPLES: &str = "\
Examples:
  Run, watch, and post events from another terminal; what changes in the files is taken over at once:
    tidewheel dev examples/web-analytics
    curl http://127.0.0.1:8080/v1/events -H 'Content-Type: application/json' -d '{\"timestamp\": ...}'

  Play a file, close every window, and print the results:
    tidewheel dev examples/web-analytics --send examples/web-analytics/clicks.ndjson.gz --until-idle

  The same as one JSON document for programs:
    tidewheel dev pipelines/ --send shop/clicks=clicks.ndjson --send shop/orders=orders.json.gz --until-idle -o json

  Use a real Kafka and a real PostgreSQL, one or both; topics and tables are made there:
    tidewheel dev pipelines/ --kafka 127.0.0.1:9092 --sink warehouse=postgres://me:secret@127.0.0.1/analytics

  Keep the log and the tables, and look at them with SQL. The same command goes on where a killed one was:
    tidewheel dev pipelines/ --data ./data --send clicks.ndjson.gz --rate 500
    sqlite3 -header -column ./data/tables/shop.warehouse.db \\
      'SELECT window_start, source, count FROM kpi_1m'

Exit codes: 0 all is well, 1 something failed or a ledger does not balance, 2 the command line or the files are wrong,
  130 stopped before the end of the input.";

/// `tidewheel dev`
///
/// Runs all EventSources, Pipelines and Sinks of the files: HTTP ingestion, generators, both stages of each pipeline, and
/// tables in SQLite files, one for each Sink. It is the YAML that a cluster takes; `kind: Secret` documents give API keys.
#[derive(Debug, Args)]
#[command(after_help = DEV_EXAMPLES, verbatim_doc_comment)]
pub(crate) struct DevArgs {
    /// Files, and folders with `*.yaml` and `*.yml` files
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Play a file: JSON lines, one array, or one object, plain or gzip. SOURCE is the name of an EventSource, or
    /// NAMESPACE/NAME; it may be left out where there is one. May be given several times
    #[arg(long, value_name = "[SOURCE=]FILE")]
    pub(crate) send: Vec<String>,
    /// Play files at this many events a second each, instead of at full speed
    #[arg(long, value_name = "EVENTS", requires = "send")]
    pub(crate) rate: Option<NonZeroU32>,
    /// At the end of the input close every window, print the results, and exit
    #[arg(long)]
    pub(crate) until_idle: bool,
    /// How results are printed
    #[arg(short, long, value_enum, default_value_t = ResultFormat::Table, requires = "until_idle")]
    pub(crate) output_format: ResultFormat,
    /// Print this output only: NAME, or NAMESPACE/PIPELINE/NAME
    #[arg(long = "output", value_name = "NAME", requires = "until_idle")]
    pub(crate) only: Option<String>,
    /// Rows of each table that `-o table` shows; the rest is counted
    #[arg(long, value_name = "COUNT", requires = "until_idle")]
    pub(crate) rows: Option<usize>,
    /// Keep the log in DIR/log and the tables in DIR/tables, and go on with what is there. Without it, both are in a
    /// temporary folder and end with the process
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Use this Kafka instead of the embedded log, and make the topics there: HOST:PORT, or a folder or file with properties of
    /// librdkafka
    #[arg(long, value_name = "WHERE")]
    pub(crate) kafka: Option<KafkaPlace>,
    #[command(flatten)]
    pub(crate) sinks: SinkArgs,
    /// Address on which events are taken; port 0 takes any that is free [default: 127.0.0.1:8080, and none with --until-idle]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResultFormat {
    /// Tables for people, long ones cut
    Table,
    /// One document with every row, ledger and dead letter
    Json,
    /// Every row, a block for each output
    Csv,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  tidewheel check pipelines/                      for people
  tidewheel check -o json pipelines/              for editors: an array of problems with file, line, column and length
  tidewheel check --explain pipelines/            how the pipelines would run

Exit codes: 0 the files can be run (warnings may be shown), 2 they cannot.";

/// `tidewheel check`
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct CheckArgs {
    /// Files, and folders with `*.yaml` and `*.yml` files
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// How problems are printed
    #[arg(short, long, value_enum, default_value_t = CheckFormat::Text)]
    pub(crate) output_format: CheckFormat,
    /// Also print each pipeline's plan: its steps, where they run, their columns and tables
    #[arg(long, conflicts_with = "output_format")]
    pub(crate) explain: bool,
}

/// How problems are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// For people
    Text,
    /// One array on stdout
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
