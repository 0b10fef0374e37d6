//! Reconciling an EventSource: its topic, and what takes or makes its events.
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::controller::Action;
use tidewheel_crds::EventSourceSpec;
use tidewheel_crds::event_source::Origin;
use tidewheel_planner::names::{PipelineNames, generator_positions, source_topic};
use tidewheel_planner::resource::{Resource, ResourceSet};
use tidewheel_planner::topics::{self, Topic};
use tidewheel_provision::kafka::{TopicError, Topics};

use super::{ReconcileError, deletion, monitors, report, workloads};
use crate::children::{Child, Role, Workload, generate, ingest};
use crate::conditions::{Aspect, Finding, Reason};
use crate::context::{Context, owner};
use crate::deletions::{Deleted, Removal};
use crate::documents::Documents;
use crate::judge;
use crate::kafka::{self, Kafka};
use crate::resource::{Declared, EventSource, Pipeline};
use crate::secrets::{self, SecretError, Used};

/// Where the spec says what becomes of its data.
const DATA: &str = "/topic/deletionPolicy";

/// Brings everything of an EventSource in line.
pub(crate) async fn reconcile(
    source: Arc<EventSource>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let is_delete = deletion::is_delete(source.as_ref(), DATA);
    if source.is_deleted() {
        let remove = remove(&source, &context);
        return deletion::finalize(source.as_ref(), &context, is_delete, remove).await;
    }
    let guarded = deletion::guard(source.as_ref(), &context, is_delete).await?;
    let source = guarded.map_or(source, Arc::new);
    let findings = match dereference(&source, &context) {
        Ok(found) => run(&source, &context, &found).await?,
        Err(mut findings) => {
            findings.extend(keep(&source, &context).await?);
            findings
        }
    };
    let (this, role) = (owner(source.as_ref()), role(&source));
    monitors::apply(&context, &this, role, None).await;
    report(source.as_ref(), &context, &findings, None).await
}

/// Brings its topic in line, and then what takes or makes its events, as far as it is no worse off for that.
async fn run(
    source: &EventSource,
    context: &Context,
    found: &Dereferenced,
) -> Result<Vec<Finding>, ReconcileError> {
    let mut findings = topics(source, context, found).await?;
    let owner = owner(source);
    let pods = if workloads::may_change(context, &owner, role(source), &findings, &found.ways) {
        workload(source, context, found).await?
    } else {
        keep(source, context).await?
    };
    findings.extend(pods);
    Ok(findings)
}

/// How the pods fare that are left as they are.
async fn keep(source: &EventSource, context: &Context) -> Result<Option<Finding>, ReconcileError> {
    workloads::as_it_is(context, &owner(source), role(source), None, false).await
}

/// What takes or makes its events, whatever else is wrong with it.
fn role(source: &EventSource) -> Role {
    if source.spec.get("generator").is_some() {
        Role::Generate
    } else {
        Role::Ingest
    }
}

/// Deletes its topic, once nobody reads it and nothing writes to it.
async fn remove(source: &EventSource, context: &Context) -> Result<Removal, ReconcileError> {
    if source.spec.get("kafka").is_some() {
        return Ok(Removal::Tried(Deleted::default()));
    }
    let readers = readers(source, context);
    if !readers.is_empty() {
        let names: Vec<&str> = readers.iter().map(|pipeline| pipeline.name()).collect();
        return Ok(Removal::Held(format!(
            "it is still read by the Pipelines {}",
            names.join(", ")
        )));
    }
    if !workloads::end(context, &owner(source), role(source)).await? {
        return Ok(Removal::Ends("its pods are still there".to_owned()));
    }
    let (namespace, name) = (source.namespace(), source.name());
    let topics = [
        source_topic(namespace, name),
        generator_positions(namespace, name),
    ];
    let removed = match kafka::client_to_delete(source, context).await {
        Ok(client) => client
            .delete(&topics)
            .await
            .map_err(|error| error.to_string()),
        Err(why) => Err(why),
    };
    let mut deleted = Deleted::default();
    match removed {
        Ok(topics) => {
            deleted.gone = topics
                .iter()
                .map(|topic| format!("topic {topic}"))
                .collect()
        }
        Err(why) => deleted.left.push(format!("topic {} ({why})", topics[0])),
    }
    Ok(Removal::Tried(deleted))
}

/// The Pipelines that read it.
fn readers(source: &EventSource, context: &Context) -> Vec<Arc<Pipeline>> {
    context.world.pipelines.state_filter(|pipeline| {
        let is_here = pipeline.namespace() == source.namespace();
        is_here && pipeline.source_names().any(|name| name == source.name())
    })
}

/// An EventSource that can run, and what it needs.
struct Dereferenced {
    source: Resource<EventSourceSpec>,
    kafka: Kafka,
    /// The API keys, where senders need one.
    keys: Option<Arc<Secret>>,
    /// A digest of how pods reach what they use.
    ways: String,
}

fn dereference(source: &EventSource, context: &Context) -> Result<Dereferenced, Vec<Finding>> {
    let judged = judge::source(source)?;
    let namespace = source.namespace();
    let kafka = kafka::of_namespace(&context.world, &context.settings, namespace)
        .map_err(|finding| vec![finding])?;
    let keys = match source.secret_name() {
        None => None,
        Some(name) => Some(context.world.secret(namespace, name).ok_or_else(|| {
            let missing = SecretError::NoSecret {
                name: name.to_owned(),
            };
            vec![Finding::new(
                Aspect::Whole,
                Reason::SecretMissing,
                missing.to_string(),
            )]
        })?),
    };
    let named = |secret: &Arc<Secret>| secret.metadata.name.clone().unwrap_or_default();
    let names = keys.iter().map(named);
    let names = names.chain([context.settings.kafka_secret.clone()]);
    let used: Used = names.map(|name| (name, Default::default())).collect();
    let secret = |name: &str| context.world.secret(namespace, name);
    Ok(Dereferenced {
        ways: secrets::ways(&used, secret, &kafka.access),
        source: judged,
        kafka,
        keys,
    })
}

/// Makes its topic, or brings it in line.
async fn topics(
    source: &EventSource,
    context: &Context,
    found: &Dereferenced,
) -> Result<Vec<Finding>, ReconcileError> {
    let uid = source.uid();
    let subject = format!(
        "{} {}",
        found.ways,
        Documents::of_source(&found.source).hash()
    );
    if let Some(findings) = context.rhythm.found(uid, &subject) {
        return Ok(findings);
    }
    let client = match context.kafka.topics(source.namespace(), &found.kafka) {
        Ok(client) => client,
        Err(error) => return Ok(vec![kafka::finding(&error)]),
    };
    let cluster = match kafka::cluster(source, &client).await {
        Ok(cluster) => cluster,
        Err(finding) => return Ok(vec![finding]),
    };
    let mut set = ResourceSet::default();
    set.event_sources.push(found.source.clone());
    let own = topics::of_sources(&set);
    match kafka::adopted(source, &client, &own).await {
        Ok(there) => drop(report::adopted(source, context, &there, Some(&cluster)).await?),
        Err(finding) => return Ok(vec![finding]),
    }
    let done = match found.source.spec.kafka.as_ref() {
        Some(existing) => look_at(&client, &existing.topic).await,
        None => ensure(source, context, &own, &client).await,
    };
    Ok(match done {
        Ok(message) => {
            let findings = vec![Finding::new(
                Aspect::Topics,
                Reason::TopicsAsDeclared,
                message,
            )];
            context.rhythm.remember(uid, subject, findings.clone());
            if deletion::is_delete(source, DATA) {
                let (kafka, no_databases) = (&found.kafka, &BTreeMap::new());
                context.reached.remember(uid, kafka, no_databases);
            }
            findings
        }
        Err(error) => vec![kafka::finding(&error)],
    })
}

/// Looks whether somebody else's topic is there.
async fn look_at(client: &Topics, topic: &str) -> Result<String, TopicError> {
    match client.find(topic).await? {
        Some(found) => Ok(format!(
            "topic {topic} is there with {} partitions",
            found.partitions
        )),
        None => Err(TopicError::NotThere {
            topic: topic.to_owned(),
        }),
    }
}

/// Makes its own topic. Before it gets partitions, the Pipelines that read it get room for the progress in each of them.
async fn ensure(
    source: &EventSource,
    context: &Context,
    own: &[Topic],
    client: &Topics,
) -> Result<String, TopicError> {
    let mut changes = Vec::new();
    if let Some(topic) = own.first()
        && let Some(found) = client.find(&topic.name).await?
        && found.partitions < topic.partitions
    {
        changes.extend(
            client
                .ensure(&states(source, context, topic.partitions))
                .await?,
        );
    }
    changes.extend(client.ensure(own).await?);
    for change in changes {
        crate::report::event(
            source,
            context,
            false,
            "TopicChanged",
            "EnsureTopics",
            &change.to_string(),
        )
        .await;
    }
    let names = own
        .iter()
        .map(|topic| topic.name.as_str())
        .collect::<Vec<_>>();
    Ok(format!("{} as declared", names.join(", ")))
}

/// The topics of state of all Pipelines that read a source which gets so many partitions.
fn states(source: &EventSource, context: &Context, partitions: u32) -> Vec<Topic> {
    let readers = readers(source, context);
    let readers = readers.iter().filter(|pipeline| !pipeline.is_deleted());
    let names = readers.map(|pipeline| PipelineNames::new(pipeline.namespace(), pipeline.name()));
    names
        .map(|names| topics::of_state(names.state(source.name()), partitions))
        .collect()
}

/// Applies what takes or makes its events; nothing where they are in a topic already.
async fn workload(
    source: &EventSource,
    context: &Context,
    found: &Dereferenced,
) -> Result<Option<Finding>, ReconcileError> {
    let owner = owner(source);
    let keys = found.keys.iter().map(|secret| {
        let name = secret.metadata.name.clone().unwrap_or_default();
        (name, Default::default())
    });
    let keys: Used = keys.collect();
    let workload = Workload {
        owner: &owner,
        settings: &context.settings.workloads,
        documents: Documents::of_source(&found.source).text(),
        kafka: &found.kafka.access,
        secrets: keys,
        secrets_digest: found.ways.clone(),
        resources: found.source.spec.resources.as_ref(),
    };
    let children: Vec<Child> = match found.source.spec.origin() {
        Some(Origin::Http(http)) => ingest(&workload, http.replicas.min),
        Some(Origin::Generator(_)) => generate(&workload),
        Some(Origin::Kafka(_)) | None => return Ok(None),
    };
    workloads::apply(context, &owner, &children, false)
        .await
        .map(Some)
}
