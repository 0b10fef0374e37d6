//! The tables of a Pipeline.
use std::collections::{BTreeMap, BTreeSet};

use tidewheel_crds::sink::SecretKeyRef;
use tidewheel_crds::{DeletionPolicy, SinkSpec};
use tidewheel_planner::plan::Plan;
use tidewheel_planner::resource::Resource;
use tidewheel_provision::postgres::{self, Change, ProvisionError};

use crate::conditions::{Aspect, Finding, Reason};
use crate::judge;
use crate::resource::{Declared as _, Pipeline};
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
            .extend(adopted.map(|made| format!("table {} of sink {sink}", made.table)));
    }
    Ok(done)
}

/// Removes the tables of a Pipeline in those of its Sinks that say so. What was removed, for people.
pub(super) async fn remove(pipeline: &Pipeline, world: &World) -> Result<Vec<String>, Finding> {
    let (namespace, name) = (
        pipeline.namespace(),
        format!("{}/{}", pipeline.namespace(), pipeline.name()),
    );
    let mut gone = Vec::new();
    for sink in pipeline.sink_names().collect::<BTreeSet<_>>() {
        // A Sink that is gone, or says nothing that could be followed, has its tables kept.
        let Some(found) = world.sink(namespace, sink) else {
            continue;
        };
        let Ok(Some(postgres)) = judge::sink(&found).map(|judged| judged.spec.postgres) else {
            continue;
        };
        if postgres.deletion_policy == DeletionPolicy::Retain {
            continue;
        }
        let at = url(world, namespace, &postgres.connection.secret_ref)?;
        let removed = postgres::remove(&at, &postgres.schema, &name).await;
        let removed = removed.map_err(|error| finding(sink, &error))?;
        gone.extend(
            removed
                .iter()
                .map(|table| format!("table {}.{table}", postgres.schema)),
        );
    }
    Ok(gone)
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
