//! Topics and tables, made or brought in line.
use std::collections::BTreeSet;
use std::io::{self, Write as _};

use tidewheel_planner::plan::Plan;
use tidewheel_planner::resource::ResourceSet;
use tidewheel_planner::topics;
use tidewheel_provision::kafka::Topics;
use tidewheel_provision::postgres;

use crate::failure::{Exit, Failure};
use crate::roles::args::ProvisionArgs;
use crate::roles::sinks::SinkUrls;
use crate::roles::specs::RoleSpecs;

/// `tidewheel provision`: makes what the files need, and says what it did.
pub(crate) fn run(args: &ProvisionArgs) -> Result<Exit, Failure> {
    let specs = RoleSpecs::read(&args.paths, &args.secrets)?;
    let urls = SinkUrls::new(&specs.set, specs.secrets, &args.sinks.sink)?;
    let topics = Topics::new(&args.kafka.kafka.connection()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut changes = ensure_topics(&topics, &specs.set, &specs.plans).await?;
        for sink in sinks_of(&specs.plans) {
            changes += ensure_tables(&sink, &urls.url(&sink)?, &specs.plans).await?;
        }
        if changes == 0 {
            say("everything is as it has to be")?;
        }
        Ok(Exit::Good)
    })
}

/// Makes the topics of all sources and pipelines. How many changes it made.
async fn ensure_topics(
    topics: &Topics,
    set: &ResourceSet,
    plans: &[Plan],
) -> Result<usize, Failure> {
    // Where a pipeline reads what another one writes, the topic is that one's to make.
    let filled: Vec<_> = plans.iter().flat_map(topics::of_outputs).collect();
    let mut changes = topics.ensure(&filled).await?;
    // Of each plan, then those of sources that no pipeline reads.
    for plan in plans {
        changes.extend(topics.ensure_plan(plan).await?);
    }
    changes.extend(topics.ensure(&topics::of_sources(set)).await?);
    for change in &changes {
        say(change)?;
    }
    Ok(changes.len())
}

/// Makes the tables that plans have in a Sink. How many changes it made.
async fn ensure_tables(sink: &str, url: &str, plans: &[Plan]) -> Result<usize, Failure> {
    let changes = make_tables(sink, url, plans).await?;
    for change in &changes {
        say(format_args!("sink {sink}, {change}"))?;
    }
    Ok(changes.len())
}

/// Makes the tables that plans have in a Sink (`<namespace>/<name>`). What was changed.
pub(crate) async fn make_tables(
    sink: &str,
    url: &str,
    plans: &[Plan],
) -> Result<Vec<postgres::Done>, Failure> {
    let tables = plans
        .iter()
        .flat_map(|plan| postgres::tables_of(plan, sink));
    let tables: Vec<_> = tables.collect();
    let done = postgres::provision(url, &tables).await;
    let mut done = done.map_err(|error| Failure::Run(format!("sink {sink}: {error}")))?;
    done.retain(|done| done.change != postgres::Change::Unchanged);
    Ok(done)
}

/// The Sinks that plans have tables in.
pub(crate) fn sinks_of(plans: &[Plan]) -> BTreeSet<String> {
    let sinks = plans.iter().flat_map(Plan::table_sinks);
    sinks.map(str::to_owned).collect()
}

fn say(what: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{what}")
}
