//! Topics and tables, made or brought in line.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io::{self, Write as _};

use tidewheel_planner::plan::Plan;
use tidewheel_planner::resource::ResourceSet;
use tidewheel_planner::topics;
use tidewheel_provision::kafka::Topics;
use tidewheel_provision::postgres::{self, Done, KeepOptions, Kept, PlannedTable, ProvisionError};

use crate::failure::{Exit, Failure};
use crate::roles::args::ProvisionArgs;
use crate::roles::moves;
use crate::roles::sinks::{self, SinkUrls};
use crate::roles::specs::RoleSpecs;
use crate::runtime;

/// `tidewheel provision`: makes what the files need, and says what it did; in a dry run what it would do.
pub(crate) fn run(args: &ProvisionArgs) -> Result<Exit, Failure> {
    let specs = RoleSpecs::read(&args.paths, &args.secrets)?;
    let urls = SinkUrls::new(&specs.set, specs.secrets, &args.sinks.sink)?;
    let mut topics = Topics::new(&args.kafka.kafka.connection()?)?;
    if args.dry_run {
        topics = topics.dry_run();
    }
    runtime::run(async {
        // Before anything is made: what the command line, the files or the Secrets have wrong leaves nothing half done.
        let tables_at = table_urls(&urls, &specs.plans)?;
        moves::refuse(&specs.set, &specs.plans, &urls).await?;
        let mut changes = ensure_topics(&topics, &specs.set, &specs.plans, args.dry_run).await?;
        for (sink, url) in &tables_at {
            changes += ensure_tables(sink, url, &specs.plans, args.dry_run).await?;
        }
        if changes == 0 {
            say("everything is as it has to be")?;
        }
        Ok(if args.dry_run && changes > 0 {
            Exit::Pending
        } else {
            Exit::Good
        })
    })
}

/// The URLs of the Sinks that plans have tables in, by `<namespace>/<name>`. Connects to none.
fn table_urls(urls: &SinkUrls, plans: &[Plan]) -> Result<BTreeMap<String, String>, Failure> {
    let checked = |sink: String| {
        let url = urls.url(&sink)?;
        sinks::open(&sink, &url)?;
        Ok((sink, url))
    };
    sinks_of(plans).into_iter().map(checked).collect()
}

/// Makes the topics of all sources and pipelines. How many changes it made.
async fn ensure_topics(
    topics: &Topics,
    set: &ResourceSet,
    plans: &[Plan],
    is_dry: bool,
) -> Result<usize, Failure> {
    let mut changes = topics.ensure_plans(plans).await?;
    changes.extend(topics.ensure(&topics::of_sources(set)).await?);
    for change in &changes {
        if is_dry {
            say(change.planned())?;
        } else {
            say(change)?;
        }
    }
    Ok(changes.len())
}

/// Makes the tables that plans have in a Sink. How many changes it made.
async fn ensure_tables(
    sink: &str,
    url: &str,
    plans: &[Plan],
    is_dry: bool,
) -> Result<usize, Failure> {
    let tables = tables_in(sink, plans);
    let done = if is_dry {
        changes_of(sink, postgres::dry_run(url, &tables).await)?
    } else {
        make_tables(sink, url, &tables).await?
    };
    let options = KeepOptions {
        dry_run: is_dry,
        ..KeepOptions::default()
    };
    let mut kept = keep_tables(sink, url, &tables, options).await?;
    kept.retain(|kept| !kept.is_nothing());
    for done in &done {
        say(words(sink, done, done.planned(), is_dry))?;
    }
    for kept in &kept {
        say(words(sink, kept, kept.planned(), is_dry))?;
    }
    Ok(done.len() + kept.len())
}

fn words(sink: &str, done: &impl Display, planned: impl Display, is_dry: bool) -> String {
    if is_dry {
        format!("sink {sink}, {planned}")
    } else {
        format!("sink {sink}, {done}")
    }
}

/// Makes tables of a Sink (`<namespace>/<name>`). What was changed.
pub(crate) async fn make_tables(
    sink: &str,
    url: &str,
    tables: &[PlannedTable],
) -> Result<Vec<Done>, Failure> {
    changes_of(sink, postgres::provision(url, tables).await)
}

/// Keeps rows in tables of a Sink (`<namespace>/<name>`) for as long as they should be. What was done.
pub(crate) async fn keep_tables(
    sink: &str,
    url: &str,
    tables: &[PlannedTable],
    options: KeepOptions,
) -> Result<Vec<Kept>, Failure> {
    let kept = postgres::keep(url, tables, options).await;
    kept.map_err(|error| of_sink(sink, &error))
}

fn tables_in(sink: &str, plans: &[Plan]) -> Vec<PlannedTable> {
    let tables = plans
        .iter()
        .flat_map(|plan| postgres::tables_of(plan, sink));
    tables.collect()
}

fn changes_of(sink: &str, done: Result<Vec<Done>, ProvisionError>) -> Result<Vec<Done>, Failure> {
    let mut done = done.map_err(|error| of_sink(sink, &error))?;
    done.retain(|done| done.change != postgres::Change::Unchanged);
    Ok(done)
}

/// An error of the database of a Sink (`<namespace>/<name>`).
pub(crate) fn of_sink(sink: &str, error: &ProvisionError) -> Failure {
    Failure::Run(format!("sink {sink}: {error}"))
}

/// The Sinks that plans have tables in.
pub(crate) fn sinks_of(plans: &[Plan]) -> BTreeSet<String> {
    let sinks = plans.iter().flat_map(Plan::table_sinks);
    sinks.map(str::to_owned).collect()
}

fn say(what: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{what}")
}
