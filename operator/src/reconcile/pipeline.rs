//! Reconciling a Pipeline: its tables, its internal topics, and its workers, in this order.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::runtime::controller::Action;
use tidewheel_crds::status::PlanStatus;
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::topics::{of_pipeline, own_of_pipeline};
use tidewheel_provision::kafka::Topics;

use super::{ReconcileError, deletion, monitors, report, tables, workers, workloads};
use crate::children::Role;
use crate::conditions::{Aspect, Finding, Reason, Standing};
use crate::context::{Context, owner};
use crate::deletions::Removal;
use crate::documents::hash;
use crate::judge::{self, JudgedPipeline};
use crate::kafka::{self, Kafka};
use crate::resource::{Declared, EventSource, Pipeline, Sink};
use crate::secrets::{self, SecretError, Used};
use report::Workers;

/// Where the spec says what becomes of its data.
pub(super) const DATA: &str = "/deletionPolicy";

/// Brings everything of a Pipeline in line.
pub(crate) async fn reconcile(
    pipeline: Arc<Pipeline>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let is_delete = deletion::is_delete(pipeline.as_ref(), DATA);
    if pipeline.is_deleted() {
        let remove = remove(&pipeline, &context);
        return deletion::finalize(pipeline.as_ref(), &context, is_delete, remove).await;
    }
    let guarded = deletion::guard(pipeline.as_ref(), &context, is_delete).await?;
    let pipeline = guarded.map_or(pipeline, Arc::new);
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

/// Deletes its tables, where their Sinks say so too, and its own topics and groups, once no worker is there. Who does not answer holds up
/// nothing of the others.
async fn remove(pipeline: &Pipeline, context: &Context) -> Result<Removal, ReconcileError> {
    if !workloads::end(context, &owner(pipeline), Role::Worker).await? {
        return Ok(Removal::Ends("its workers are still there".to_owned()));
    }
    let mut deleted = tables::remove(pipeline, context).await;
    let names = PipelineNames::new(pipeline.namespace(), pipeline.name());
    let removed = match kafka::client_to_delete(pipeline, context).await {
        Ok(client) => client
            .delete_of_pipeline(&names)
            .await
            .map_err(|error| error.to_string()),
        Err(why) => Err(why),
    };
    match removed {
        Ok(topics) => {
            let topics = topics.iter().map(|topic| format!("topic {topic}"));
            deleted.gone.extend(topics);
        }
        Err(why) => deleted.left.push(format!(
            "topics and consumer groups {}.{}.* ({why})",
            pipeline.namespace(),
            pipeline.name()
        )),
    }
    Ok(Removal::Tried(deleted))
}

/// A Pipeline that can run, and what it needs.
pub(super) struct Dereferenced {
    pub(super) judged: JudgedPipeline,
    pub(super) kafka: Kafka,
    /// URLs of databases, by `<namespace>/<name>` of their Sinks.
    urls: BTreeMap<String, String>,
    /// The keys that workers need of each Secret of Sinks, by its name.
    pub(super) keys: Used,
    /// A digest of how workers reach what they use.
    pub(super) ways: String,
}

fn dereference(pipeline: &Pipeline, context: &Context) -> Result<Dereferenced, Vec<Finding>> {
    let (world, namespace) = (&context.world, pipeline.namespace());
    let (sources, sinks) = references(pipeline, context)?;
    let judged = judge::pipeline(pipeline, &sources, &sinks)?;
    let sink = |name: &str| world.sink(namespace, name);
    if let Some(taken) = context.claims.claim(pipeline, sink, &context.bell) {
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
    let mut keys = Used::new();
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
    for secret in secrets_of_registries(&judged.plan) {
        if world.secret(namespace, secret).is_none() {
            let name = secret.to_owned();
            let missing = SecretError::NoSecret { name }.to_string();
            return Err(vec![Finding::new(
                Aspect::Sources,
                Reason::SecretMissing,
                missing,
            )]);
        }
        // All of it: which keys there are says how the registry is asked.
        keys.insert(secret.to_owned(), BTreeSet::new());
    }
    let mut used = keys.clone();
    used.insert(context.settings.kafka_secret.clone(), BTreeSet::new());
    Ok(Dereferenced {
        ways: secrets::ways(&used, |name| world.secret(namespace, name), &kafka.access),
        judged,
        kafka,
        urls,
        keys,
    })
}

/// The Secrets with what schema registries want to be shown.
fn secrets_of_registries(plan: &Plan) -> impl Iterator<Item = &str> {
    let registries = plan.sources.iter();
    let registries = registries.filter_map(|source| source.registry.as_ref());
    registries.filter_map(|registry| registry.secret.as_deref())
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
    let is_good = is_good(&outside);
    let (owner, ways) = (owner(pipeline), &found.ways);
    let may_change = workloads::may_change(context, &owner, Role::Worker, &outside, ways);
    findings.extend(outside);
    let hash = found.judged.documents.hash();
    let before = pipeline.status().plan;
    let number = match before.as_ref().filter(|plan| plan.hash == hash) {
        Some(plan) if may_change => plan.number,
        None if is_good => {
            let number = next_number(pipeline, before.as_ref());
            report::plan(pipeline, context, &PlanStatus { number, hash }).await?;
            number
        }
        _ => return Ok(findings),
    };
    let resources = found.judged.pipeline.spec.resources.as_ref();
    findings.push(workers::apply(pipeline, context, found, number, resources).await?);
    Ok(findings)
}

fn is_good(outside: &[Finding]) -> bool {
    let mut standings = outside.iter().map(|finding| finding.reason.standing());
    standings.all(|standing| standing == Standing::Good)
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
    let uid = pipeline.uid().to_owned();
    let subject = hash(format!("{} {}", found.judged.documents.hash(), found.ways).as_bytes());
    if let Some(findings) = context.rhythm.found(&uid, &subject) {
        return Ok(findings);
    }
    let (schemas, adopted) = tables(pipeline, context, found).await;
    if !adopted.is_empty() {
        write_down(pipeline, context, &adopted, None).await?;
    }
    let topics = topics(pipeline, context, found).await?;
    let findings = vec![schemas, topics];
    if is_good(&findings) {
        context.rhythm.remember(&uid, subject, findings.clone());
        if deletion::is_delete(pipeline, DATA) {
            context.reached.remember(&uid, &found.kafka, &found.urls);
        }
    }
    Ok(findings)
}

/// Writes down what was there before the Pipeline.
async fn write_down(
    pipeline: &mut Pipeline,
    context: &Context,
    adopted: &[String],
    cluster: Option<&String>,
) -> Result<(), ReconcileError> {
    if let Some(now) = report::adopted(pipeline, context, adopted, cluster).await? {
        *pipeline = now;
    }
    Ok(())
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
        report::event(pipeline, context, false, reason, action, change).await;
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
) -> Result<Finding, ReconcileError> {
    let plan = &found.judged.plan;
    let client = match context.kafka.topics(pipeline.namespace(), &found.kafka) {
        Ok(client) => client,
        Err(error) => return Ok(kafka::finding(&error)),
    };
    let cluster = match kafka::cluster(pipeline, &client).await {
        Ok(cluster) => cluster,
        Err(finding) => return Ok(finding),
    };
    match kafka::adopted(pipeline, &client, &of_pipeline(plan)).await {
        Ok(there) => write_down(pipeline, context, &there, Some(&cluster)).await?,
        Err(finding) => return Ok(finding),
    }
    if let Some(lost) = lost(pipeline, context, found, &client).await {
        return Ok(lost);
    }
    let changes = match client.ensure_plans(std::slice::from_ref(plan)).await {
        Ok(changes) => changes,
        Err(error) => return Ok(kafka::finding(&error)),
    };
    for change in changes {
        let (reason, action) = ("TopicChanged", "EnsureTopics");
        let note = change.to_string();
        report::event(pipeline, context, false, reason, action, &note).await;
    }
    Ok(Finding::new(
        Aspect::Topics,
        Reason::TopicsAsDeclared,
        "internal topics and those of outputs as declared",
    ))
}

/// What is wrong where topics are gone that say how far the Pipeline is: made anew, they would have its tasks begin from nothing.
async fn lost(
    pipeline: &Pipeline,
    context: &Context,
    found: &Dereferenced,
    client: &Topics,
) -> Option<Finding> {
    let told = pipeline.status().plan?;
    let is_told = told.hash == found.judged.documents.hash();
    let plan = match is_told {
        true => found.judged.plan.clone(),
        false => workers::told_plan(pipeline, context)?,
    };
    let names = PipelineNames::new(pipeline.namespace(), pipeline.name());
    let letters = names.dead_letters();
    let mut lost = Vec::new();
    for topic in own_of_pipeline(&plan) {
        if topic.name == letters {
            continue;
        }
        match client.find(&topic.name).await {
            Ok(Some(_)) => {}
            Ok(None) => lost.push(topic.name),
            Err(error) => return Some(kafka::finding(&error)),
        }
    }
    if lost.is_empty() {
        return None;
    }
    let message = format!(
        "topics are gone that say how far it is: {}. Restore them; or delete the Pipeline and make it again under another name, with other tables, to begin anew",
        lost.join(", ")
    );
    Some(Finding::new(Aspect::Topics, Reason::NeedsMending, message))
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
