//! The tables of a Pipeline.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidewheel_crds::sink::SecretKeyRef;
use tidewheel_crds::{DeletionPolicy, SinkSpec};
use tidewheel_planner::plan::Plan;
use tidewheel_planner::resource::Resource;
use tidewheel_provision::postgres::{self, Change, ProvisionError};

use crate::conditions::{Aspect, Finding, Reason};
use crate::context::Context;
use crate::deletions::Deleted;
use crate::judge;
use crate::resource::{Declared as _, Pipeline, Sink};
use crate::secrets::{self, SecretError};
use crate::world::World;

/// The URL of a database, as the Secret says that a Sink names.
pub(super) fn url(
    world: &World,
    namespace: &str,
    secret: &SecretKeyRef,
) -> Result<String, Finding> {
    let found = world.secret(namespace, &secret.name);
    secrets::text(found.as_deref(), &secret.name, &secret.key).map_err(|error| {
        let reason = match error {
            SecretError::NoSecret { .. } | SecretError::NoKey { .. } => Reason::SecretMissing,
            SecretError::NotText { .. } => Reason::SecretInvalid,
        };
        Finding::new(Aspect::Schemas, reason, error.to_string())
    })
}

/// The URLs of the Sinks that a plan has tables in, by `<namespace>/<name>`.
pub(super) fn urls(
    world: &World,
    plan: &Plan,
    sinks: &[Resource<SinkSpec>],
) -> Result<BTreeMap<String, String>, Finding> {
    let mut urls = BTreeMap::new();
    for sink in sinks {
        let name = sink.id.full_name();
        if let Some(postgres) = &sink.spec.postgres
            && plan.table_sinks().any(|used| used == name)
        {
            let url = url(world, &sink.id.namespace, &postgres.connection.secret_ref)?;
            urls.insert(name, url);
        }
    }
    Ok(urls)
}

/// What was done to tables.
#[derive(Default)]
pub(super) struct Done {
    /// For people.
    pub(super) changes: Vec<String>,
    /// Those that were there before and are used from now on.
    pub(super) adopted: Vec<String>,
}

/// Makes the tables of a plan, or adds what they lack.
pub(super) async fn ensure(plan: &Plan, urls: &BTreeMap<String, String>) -> Result<Done, Finding> {
    let mut done = Done::default();
    for (sink, url) in urls {
        let tables = postgres::tables_of(plan, sink);
        let made = postgres::provision(url, &tables)
            .await
            .map_err(|error| finding(sink, &error))?;
        let changed = made.iter().filter(|made| made.change != Change::Unchanged);
        done.changes
            .extend(changed.map(|made| format!("sink {sink}, {made}")));
        let adopted = made
            .iter()
            .filter(|made| matches!(made.change, Change::Adopted(_)));
        done.adopted
            .extend(adopted.map(|made| adopted_as(&made.table, sink)));
    }
    Ok(done)
}

/// Removes the tables of a Pipeline in those of its Sinks that say so, each for itself.
pub(super) async fn remove(pipeline: &Pipeline, context: &Context) -> Deleted {
    let mut deleted = Deleted::default();
    for sink in pipeline.sink_names().collect::<BTreeSet<_>>() {
        // A Sink whose tables go with Pipelines waits for them: one that is gone has its tables kept.
        let Some(found) = context.world.sink(pipeline.namespace(), sink) else {
            continue;
        };
        if let Err(why) = remove_in(pipeline, context, &found, &mut deleted).await {
            deleted.left.push(format!(
                "tables of the outputs {} in the Sink {sink} ({why})",
                outputs_to(pipeline, sink).join(", ")
            ));
        }
    }
    deleted
}

async fn remove_in(
    pipeline: &Pipeline,
    context: &Context,
    sink: &Sink,
    deleted: &mut Deleted,
) -> Result<(), String> {
    let judged = judge::sink(sink);
    let judged = judged.map_err(|findings| findings[0].message.clone())?;
    let Some(postgres) = judged.spec.postgres else {
        return Ok(());
    };
    if postgres.deletion_policy == DeletionPolicy::Retain {
        return Ok(());
    }
    let (namespace, full) = (sink.namespace(), judged.id.full_name());
    let uid = pipeline.uid();
    let url = match url(&context.world, namespace, &postgres.connection.secret_ref) {
        Ok(url) => url,
        Err(finding) => {
            let before = context.reached.url(uid, &full);
            before.ok_or(finding.message)?
        }
    };
    let status = pipeline.status();
    let adopted = status.shared.adopted.unwrap_or_default();
    let is_adopted = |table: &str| {
        let shown = match postgres.schema.as_str() {
            "public" => table.to_owned(),
            schema => format!("{schema}.{table}"),
        };
        adopted.contains(&adopted_as(&shown, &full))
    };
    let name = format!("{namespace}/{}", pipeline.name());
    let removed = postgres::remove(&url, &postgres.schema, &name, is_adopted).await;
    let removed = removed.map_err(|error| error.to_string())?;
    let shown = |table: &String| format!("table {}.{table}", postgres.schema);
    deleted.gone.extend(removed.tables.iter().map(shown));
    let spared = removed.spared.iter().map(shown);
    deleted
        .kept
        .extend(spared.map(|table| format!("{table}, which was there before")));
    Ok(())
}

/// A table, as it is shown, as `status.adopted` has it.
fn adopted_as(shown: &str, sink: &str) -> String {
    format!("table {shown} of sink {sink}")
}

/// The outputs that go to a Sink.
fn outputs_to<'a>(pipeline: &'a Pipeline, sink: &str) -> Vec<&'a str> {
    let outputs = pipeline.spec().get("outputs").and_then(Value::as_array);
    let outputs = outputs.into_iter().flatten();
    outputs
        .filter(|output| output.pointer("/postgres/sink").and_then(Value::as_str) == Some(sink))
        .filter_map(|output| output.get("name")?.as_str())
        .collect()
}

/// What an error of a Sink's database means.
pub(super) fn finding(sink: &str, error: &ProvisionError) -> Finding {
    let reason = match error {
        ProvisionError::Url(_) => Reason::SecretInvalid,
        ProvisionError::Unavailable(_) => Reason::DatabaseUnavailable,
        ProvisionError::Unsuitable(_) => Reason::DatabaseUnsuitable,
        ProvisionError::Refused(_) => Reason::TablesRefused,
    };
    Finding::new(Aspect::Schemas, reason, format!("sink {sink}: {error}"))
}
