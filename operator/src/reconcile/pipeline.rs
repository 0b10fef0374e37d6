//! Reconciling a Pipeline: its tables, its internal topics, and its workers, in this order.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::controller::Action;
use tidewheel_crds::status::PlanStatus;
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::topics::of_pipeline;

use super::deletion::{self, Removal};
use super::{ReconcileError, monitors, report, tables, workers, workloads};
use crate::children::Role;
use crate::conditions::{Aspect, Finding, Reason, Standing};
use crate::context::{Context, owner};
use crate::documents::hash;
use crate::judge::{self, JudgedPipeline};
use crate::kafka::{self, Kafka};
use crate::report::Workers;
use crate::resource::{Declared, EventSource, Pipeline, Sink};
use crate::secrets;

/// Brings everything of a Pipeline in line.
pub(crate) async fn reconcile(
    pipeline: Arc<Pipeline>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let is_delete = deletion::is_delete(pipeline.as_ref(), "/deletionPolicy");
    if pipeline.is_deleted() {
        let remove = remove(&pipeline, &context);
        return deletion::finalize(pipeline.as_ref(), &context, is_delete, remove).await;
    }
    deletion::guard(pipeline.as_ref(), &context, is_delete).await?;
    let mut findings = match dereference(&pipeline, &context) {
        Ok(found) => run(&pipeline, &context, &found).await?,
        Err(findings) => findings,
    };
    let has_pods = |findings: &[Finding]| {
        let mut aspects = findings.iter().map(|finding| finding.aspect);
        aspects.any(|aspect| aspect == Aspect::Workloads)
    };
    if !has_pods(&findings) {
        findings.extend(workers::keep(&pipeline, &context).await?);
    }
    let this = owner(pipeline.as_ref());
    monitors::apply(&context, &this, Role::Worker, Some(&pipeline)).await;
    findings.push(suspension(&pipeline));
    let mut said = Workers::default();
    if has_pods(&findings) {
        let (seen, workers) = workers::seen(&pipeline, &context);
        findings.extend(seen);
        said = workers;
    }
    report(pipeline.as_ref(), &context, &findings, Some(&said)).await
}

/// Deletes its tables, where their Sinks say so too, and its own topics and groups, once no worker is there.
async fn remove(pipeline: &Pipeline, context: &Context) -> Result<Removal, ReconcileError> {
    if !workloads::end(context, &owner(pipeline), Role::Worker).await? {
        return Ok(Removal::Waits("its workers are still there".to_owned()));
    }
    let mut gone = match tables::remove(pipeline, &context.world).await {
        Ok(gone) => gone,
        Err(finding) => return Ok(Removal::Waits(finding.message)),
    };
    let kafka = match kafka::of_namespace(&context.world, &context.settings, pipeline.namespace()) {
        Ok(kafka) => kafka,
        Err(finding) => return Ok(Removal::Waits(finding.message)),
    };
    let names = PipelineNames::new(pipeline.namespace(), pipeline.name());
    let deleted = match context.kafka.topics(pipeline.namespace(), &kafka) {
        Ok(client) => client.delete_of_pipeline(&names).await,
        Err(error) => Err(error),
    };
    Ok(match deleted {
        Ok(topics) => {
            gone.extend(topics.iter().map(|topic| format!("topic {topic}")));
            Removal::Done(gone)
        }
        Err(error) => Removal::Waits(error.to_string()),
    })
}

/// A Pipeline that can run, and what it needs.
pub(super) struct Dereferenced {
    pub(super) judged: JudgedPipeline,
    pub(super) kafka: Kafka,
    /// URLs of databases, by `<namespace>/<name>` of their Sinks.
    urls: BTreeMap<String, String>,
    /// The keys that workers need of each Secret of Sinks, by its name.
    pub(super) keys: BTreeMap<String, BTreeSet<String>>,
    /// A digest of all Secrets that workers use.
    pub(super) secrets_digest: String,
}

fn dereference(pipeline: &Pipeline, context: &Context) -> Result<Dereferenced, Vec<Finding>> {
    let (world, namespace) = (&context.world, pipeline.namespace());
    let (sources, sinks) = references(pipeline, context)?;
    let judged = judge::pipeline(pipeline, &sources, &sinks)?;
    let others = (
        world.pipelines.state(),
        world.sources.state(),
        world.sinks.state(),
    );
    if let Some(taken) = judge::taken(pipeline, &others.0, &others.1, &others.2) {
        return Err(vec![taken]);
    }
    needs(judged, context, namespace)
}

/// What a Pipeline needs that can run.
pub(super) fn needs(
    judged: JudgedPipeline,
    context: &Context,
    namespace: &str,
) -> Result<Dereferenced, Vec<Finding>> {
    let world = &context.world;
    let urls = tables::urls(world, &judged.plan, &judged.sinks).map_err(|finding| vec![finding])?;
    let kafka = kafka::of_namespace(world, &context.settings, namespace)
        .map_err(|finding| vec![finding])?;
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sink in judged
        .sinks
        .iter()
        .filter(|sink| urls.contains_key(&sink.id.full_name()))
    {
        if let Some(postgres) = &sink.spec.postgres {
            let secret = &postgres.connection.secret_ref;
            keys.entry(secret.name.clone())
                .or_default()
                .insert(secret.key.clone());
        }
    }
    let used = keys.keys().chain([&context.settings.kafka_secret]);
    let used: Vec<Arc<Secret>> = used
        .filter_map(|name| world.secret(namespace, name))
        .collect();
    Ok(Dereferenced {
        secrets_digest: secrets::digest(used.iter().map(AsRef::as_ref)),
        judged,
        kafka,
        urls,
        keys,
    })
}

type References = (Vec<Arc<EventSource>>, Vec<Arc<Sink>>);

/// The EventSources and Sinks that it names.
fn references(pipeline: &Pipeline, context: &Context) -> Result<References, Vec<Finding>> {
    let namespace = pipeline.namespace();
    let mut missing = Vec::new();
    let mut lacks = |aspect, reason, kind: &str, name: &str| {
        let message = format!(
            "there is no {kind} `{name}` in the namespace: make it, and this goes on by itself"
        );
        missing.push(Finding::new(aspect, reason, message));
    };
    let mut sources = Vec::new();
    for name in pipeline.source_names() {
        match context.world.source(namespace, name) {
            Some(source) if !source.is_deleted() => sources.push(source),
            _ => lacks(Aspect::Sources, Reason::SourceMissing, "EventSource", name),
        }
    }
    let mut sinks = Vec::new();
    for name in pipeline.sink_names().collect::<BTreeSet<_>>() {
        match context.world.sink(namespace, name) {
            Some(sink) if !sink.is_deleted() => sinks.push(sink),
            _ => lacks(Aspect::Schemas, Reason::SinkMissing, "Sink", name),
        }
    }
    if missing.is_empty() {
        Ok((sources, sinks))
    } else {
        Err(missing)
    }
}

/// Brings in line what a Pipeline that can run needs, and then its workers.
async fn run(
    pipeline: &Pipeline,
    context: &Context,
    found: &Dereferenced,
) -> Result<Vec<Finding>, ReconcileError> {
    let mut findings = vec![Finding::new(
        Aspect::Sources,
        Reason::Found,
        "every source is there",
    )];
    // It is written to on the way.
    let mut pipeline = pipeline.clone();
    let outside = outside(&mut pipeline, context, found).await?;
    let pipeline = &pipeline;
    let is_good = outside
        .iter()
        .all(|finding| finding.reason.standing() == Standing::Good);
    findings.extend(outside);
    let hash = found.judged.documents.hash();
    let before = pipeline.status().plan;
    let number = match before.as_ref().filter(|plan| plan.hash == hash) {
        // What it needs was there once: that the world outside does not answer now is no reason to leave its workers alone.
        Some(plan) => plan.number,
        None if is_good => {
            let number = next_number(pipeline, before.as_ref());
            crate::report::plan(pipeline, context, &PlanStatus { number, hash }).await?;
            number
        }
        None => return Ok(findings),
    };
    let resources = found.judged.pipeline.spec.resources.as_ref();
    findings.push(workers::apply(pipeline, context, found, number, resources).await?);
    Ok(findings)
}

/// The number of a new plan: higher than that of any before, also of a Pipeline of this name that was deleted.
fn next_number(pipeline: &Pipeline, before: Option<&PlanStatus>) -> i64 {
    let created = pipeline.metadata.creation_timestamp.as_ref();
    let first = created.map_or(0, |time| time.0.as_second());
    before.map_or(first, |plan| first.max(plan.number + 1))
}

/// Makes tables and internal topics, or brings them in line, unless that was done a moment ago.
async fn outside(
    pipeline: &mut Pipeline,
    context: &Context,
    found: &Dereferenced,
) -> Result<Vec<Finding>, ReconcileError> {
    let uid = workers::uid(pipeline).to_owned();
    let subject = hash(
        format!(
            "{} {} {:?}",
            found.judged.documents.hash(),
            found.secrets_digest,
            found.kafka.access
        )
        .as_bytes(),
    );
    if let Some(findings) = context.rhythm.found(&uid, &subject) {
        return Ok(findings);
    }
    let (schemas, adopted) = tables(pipeline, context, found).await;
    let topics = topics(pipeline, context, found, adopted).await?;
    let findings = vec![schemas, topics];
    if findings
        .iter()
        .all(|finding| finding.reason.standing() == Standing::Good)
    {
        context.rhythm.remember(&uid, subject, findings.clone());
    }
    Ok(findings)
}

/// How it is with its tables, and those that were there before it.
async fn tables(
    pipeline: &Pipeline,
    context: &Context,
    found: &Dereferenced,
) -> (Finding, Vec<String>) {
    let done = match tables::ensure(&found.judged.plan, &found.urls).await {
        Ok(done) => done,
        Err(finding) => return (finding, Vec::new()),
    };
    for change in &done.changes {
        let (reason, action) = ("TableChanged", "EnsureTables");
        crate::report::event(pipeline, context, false, reason, action, change).await;
    }
    let finding = Finding::new(Aspect::Schemas, Reason::TablesAsPlanned, tables_of(found));
    (finding, done.adopted)
}

fn tables_of(found: &Dereferenced) -> String {
    let count = found.judged.plan.table_sinks().count();
    match count {
        0 => "no output is a table".to_owned(),
        1 => "1 table as planned".to_owned(),
        count => format!("{count} tables as planned"),
    }
}

async fn topics(
    pipeline: &mut Pipeline,
    context: &Context,
    found: &Dereferenced,
    tables: Vec<String>,
) -> Result<Finding, ReconcileError> {
    let plan = &found.judged.plan;
    let client = match context.kafka.topics(pipeline.namespace(), &found.kafka) {
        Ok(client) => client,
        Err(error) => return Ok(kafka::finding(&error)),
    };
    let there = match kafka::adopted(pipeline, &client, &of_pipeline(plan)).await {
        Ok(topics) => [topics, tables].concat(),
        Err(error) => return Ok(kafka::finding(&error)),
    };
    if let Some(now) = crate::report::adopted(pipeline, context, &there).await? {
        *pipeline = now;
    }
    let changes = match client.ensure_plans(std::slice::from_ref(plan)).await {
        Ok(changes) => changes,
        Err(error) => return Ok(kafka::finding(&error)),
    };
    for change in changes {
        let (reason, action) = ("TopicChanged", "EnsureTopics");
        let note = change.to_string();
        crate::report::event(pipeline, context, false, reason, action, &note).await;
    }
    Ok(Finding::new(
        Aspect::Topics,
        Reason::TopicsAsDeclared,
        "internal topics and those of outputs as declared",
    ))
}

fn suspension(pipeline: &Pipeline) -> Finding {
    if pipeline.is_suspended() {
        let message = "nothing is read because `spec.suspend` is set; without it everything goes on where it was";
        Finding::new(Aspect::Suspended, Reason::Suspended, message)
    } else {
        Finding::new(Aspect::Suspended, Reason::Running, "it is not suspended")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_grows_with_each_plan_and_with_each_pipeline_of_the_name() {
        let of = |created: &str| -> Pipeline {
            serde_json::from_value(json!({"metadata": {"name": "a", "creationTimestamp": created}}))
                .unwrap()
        };
        let (first, again) = (of("2026-01-01T00:00:00Z"), of("2026-01-01T00:01:00Z"));
        let plan = |number| PlanStatus {
            number,
            hash: "a".to_owned(),
        };
        let one = next_number(&first, None);
        let two = next_number(&first, Some(&plan(one)));
        assert_eq!(two, one + 1);
        assert_eq!(next_number(&again, None), one + 60);
        // One that was restored, with the status that it had.
        assert_eq!(next_number(&again, Some(&plan(two))), one + 60);
    }
}
