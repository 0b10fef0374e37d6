//! Outputs that would leave the Sink in which their rows are.
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
    let Ok(url) = urls.url(&name(sink)) else {
        return Vec::new();
    };
    match postgres::stored_tables(&url, schema).await {
        Ok(stored) => stored,
        Err(error) => {
            let sink = name(sink);
            tracing::warn!(sink, %error, "it is not known which outputs have tables there");
            Vec::new()
        }
    }
}

fn outputs_of<'a>(plan: &'a Plan, stored: &StoredTable) -> impl Iterator<Item = &'a Output> {
    let is_of = stored.pipeline == format!("{}/{}", plan.namespace, plan.name);
    let name = stored.output.clone();
    let outputs = plan.outputs.iter();
    outputs.filter(move |output| is_of && output.name == name)
}

/// Whether an output stays in the place of a Sink: several may be one place.
fn is_in(set: &ResourceSet, urls: &SinkUrls, output: &Output, sink: &Resource<SinkSpec>) -> bool {
    if output.sink == name(sink) {
        return true;
    }
    let mut sinks = set.sinks.iter();
    let to = sinks.find(|other| name(other) == output.sink);
    let place =
        |sink: &Resource<SinkSpec>| Some((schema(sink)?.to_owned(), urls.url(&name(sink)).ok()?));
    to.is_some_and(|to| place(to).is_some() && place(to) == place(sink))
}

fn schema(sink: &Resource<SinkSpec>) -> Option<&str> {
    let postgres = sink.spec.postgres.as_ref()?;
    Some(&postgres.schema)
}

fn name(sink: &Resource<SinkSpec>) -> String {
    format!("{}/{}", sink.id.namespace, sink.id.name)
}

fn message(stored: &StoredTable, from: &Resource<SinkSpec>, output: &Output) -> String {
    format!(
        "output `{}` of pipeline `{}` cannot move from the Sink {} to the Sink {}: the rows that it wrote stay behind in the table `{}`, and are not written again: give the output another name, or give it its old Sink again",
        stored.output,
        stored.pipeline,
        name(from),
        output.sink,
        stored.table
    )
}
