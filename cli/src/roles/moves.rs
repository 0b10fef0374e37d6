//! Outputs that would leave the Sink in which their rows are.
use std::fmt::Display;

use tidewheel_crds::SinkSpec;
use tidewheel_planner::plan::{Output, Plan};
use tidewheel_planner::resource::{Resource, ResourceSet};
use tidewheel_provision::postgres::{self, StoredTable};

use crate::failure::Failure;
use crate::roles::sinks::SinkUrls;

/// Refuses outputs of which another Sink of the set has a table. A Sink that cannot be asked is left out: nothing may be written there any more.
pub(crate) async fn refuse(
    set: &ResourceSet,
    plans: &[Plan],
    urls: &SinkUrls,
) -> Result<(), Failure> {
    let mut moved = Vec::new();
    for sink in &set.sinks {
        for stored in stored_in(sink, urls).await {
            let outputs = plans.iter().flat_map(|plan| outputs_of(plan, &stored));
            let outputs = outputs.filter(|output| !is_in(set, urls, output, sink));
            moved.extend(outputs.map(|output| message(&stored, sink, output)));
        }
    }
    match moved.is_empty() {
        true => Ok(()),
        false => Err(Failure::Run(moved.join("\n"))),
    }
}

async fn stored_in(sink: &Resource<SinkSpec>, urls: &SinkUrls) -> Vec<StoredTable> {
    let Some(schema) = schema(sink) else {
        return Vec::new();
    };
    let name = sink.id.full_name();
    let unknown = |error: &dyn Display| {
        tracing::warn!(sink = name, %error, "it is not known which outputs have tables there");
        Vec::new()
    };
    let url = match urls.url(&name) {
        Ok(url) => url,
        Err(error) => return unknown(&error),
    };
    match postgres::stored_tables(&url, schema).await {
        Ok(stored) => stored,
        Err(error) => unknown(&error),
    }
}

fn outputs_of<'a>(plan: &'a Plan, stored: &StoredTable) -> impl Iterator<Item = &'a Output> {
    let is_of = stored.pipeline == plan.full_name();
    let name = stored.output.clone();
    let outputs = plan.outputs.iter();
    outputs.filter(move |output| is_of && output.name == name)
}

/// Whether an output stays in the place of a Sink: several may be one place.
fn is_in(set: &ResourceSet, urls: &SinkUrls, output: &Output, sink: &Resource<SinkSpec>) -> bool {
    if output.sink == sink.id.full_name() {
        return true;
    }
    let mut sinks = set.sinks.iter();
    let to = sinks.find(|other| other.id.full_name() == output.sink);
    let place = |sink: &Resource<SinkSpec>| {
        let url = urls.url(&sink.id.full_name()).ok()?;
        Some((schema(sink)?.to_owned(), url))
    };
    to.and_then(place).is_some_and(|to| place(sink) == Some(to))
}

fn schema(sink: &Resource<SinkSpec>) -> Option<&str> {
    let postgres = sink.spec.postgres.as_ref()?;
    Some(&postgres.schema)
}

fn message(stored: &StoredTable, from: &Resource<SinkSpec>, output: &Output) -> String {
    format!(
        "output `{}` of pipeline `{}` cannot move from the Sink {} to the Sink {}: the rows that it wrote stay behind in the table `{}`, and are not written again: give the output another name, or give it its old Sink again",
        stored.output,
        stored.pipeline,
        from.id.full_name(),
        output.sink,
        stored.table
    )
}
