//! The workers of a Pipeline: told what to run, in the number that their lag asks for, and what is seen of them.
use serde::Deserialize as _;
use tidewheel_crds::Resources;
use tidewheel_planner::plan::{Plan, StepKind};

use super::pipeline::{Dereferenced, needs};
use super::{ReconcileError, workloads};
use crate::children::{ChildKind, Role, Workload, documents, worker};
use crate::conditions::{Aspect, Finding, Reason};
use crate::context::{Context, owner};
use crate::judge;
use crate::report::Workers;
use crate::resource::{Declared as _, Pipeline};
use crate::scaling::{self, Inputs};

/// Brings in line the workers of the plan of this number.
pub(super) async fn apply(
    pipeline: &Pipeline,
    context: &Context,
    found: &Dereferenced,
    number: i64,
    resources: Option<&Resources>,
) -> Result<Finding, ReconcileError> {
    let inputs = inputs(&found.judged.plan);
    context
        .scalings
        .planned(uid(pipeline), &found.judged.documents.hash(), inputs);
    let owner = owner(pipeline);
    let workload = Workload {
        owner: &owner,
        settings: &context.settings.workloads,
        documents: found.judged.documents.numbered(number),
        kafka: &found.kafka.access,
        secrets: found.keys.clone(),
        secrets_digest: found.secrets_digest.clone(),
        resources,
    };
    let children = worker(&workload, replicas(pipeline, context));
    let is_settling = context.scalings.is_settling(uid(pipeline));
    workloads::apply(context, &owner, &children, is_settling).await
}

/// Keeps the workers of the last plan that could run, whatever is wrong with what should: as they are, and made again where they are gone.
pub(super) async fn keep(
    pipeline: &Pipeline,
    context: &Context,
) -> Result<Option<Finding>, ReconcileError> {
    let owner = owner(pipeline);
    let is_settling = context.scalings.is_settling(uid(pipeline));
    let replicas = Some(replicas(pipeline, context));
    let pods = workloads::as_it_is(context, &owner, Role::Worker, replicas, is_settling).await?;
    if pods.is_some() {
        return Ok(pods);
    }
    let Some((found, number)) = told(pipeline, context) else {
        return Ok(None);
    };
    let resources = pipeline.spec().get("resources");
    let resources = resources.and_then(|resources| Resources::deserialize(resources).ok());
    apply(pipeline, context, &found, number, resources.as_ref())
        .await
        .map(Some)
}

/// What workers were told to run last, as far as it is still known and can run; and its number.
fn told(pipeline: &Pipeline, context: &Context) -> Option<(Dereferenced, i64)> {
    let plan = pipeline.status().plan?;
    let specs = context.world.owned(ChildKind::ConfigMap, uid(pipeline));
    let judged = specs
        .iter()
        .filter_map(|specs| judge::told(documents(specs)?).ok())
        .find(|judged| judged.documents.hash() == plan.hash)?;
    let found = needs(judged, context, pipeline.namespace()).ok()?;
    Some((found, plan.number))
}

/// How many workers there should be now.
fn replicas(pipeline: &Pipeline, context: &Context) -> u32 {
    if pipeline.is_suspended() {
        return 0;
    }
    let found = scaling::replicas_found(pipeline, context);
    context
        .scalings
        .replicas(uid(pipeline), found, &pipeline.bounds())
}

/// What is told of its workers: what was seen last, or what was said before anybody had looked.
pub(super) fn seen(pipeline: &Pipeline, context: &Context) -> (Vec<Finding>, Workers) {
    let (told, before) = (context.scalings.told(uid(pipeline)), pipeline.status());
    let is_looked_at = !told.findings.is_empty();
    let mut findings = told.findings;
    if !is_looked_at {
        let aspects = [Aspect::Flow, Aspect::Scaling].into_iter();
        let told = aspects.filter_map(|aspect| Finding::told(aspect, &before.shared.conditions));
        findings = told.collect();
    }
    // What is resumed was not looked at since.
    let is_suspended = pipeline.is_suspended();
    findings.retain(|finding| is_suspended || finding.reason != Reason::Suspended);
    let lag = told.lag.and_then(|lag| i64::try_from(lag).ok());
    let workers = Workers {
        replicas: i32::try_from(replicas(pipeline, context)).ok(),
        lag: if is_looked_at { lag } else { before.lag },
        scaling: told.decision.or(before.scaling),
    };
    (findings, workers)
}

/// The inputs of a plan, which workers share by partitions.
fn inputs(plan: &Plan) -> Inputs {
    let sources = plan.sources.iter().map(|source| {
        let partitions = (!source.foreign).then_some(source.partitions);
        (source.name.clone(), partitions)
    });
    let steps = plan.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Aggregate(aggregate) => Some((step.name.clone(), Some(aggregate.partitions))),
        StepKind::Rows(_) | StepKind::Deduplicate(_) => None,
    });
    sources.chain(steps).collect()
}

pub(super) fn uid(pipeline: &Pipeline) -> &str {
    pipeline.metadata.uid.as_deref().unwrap_or_default()
}
