//! The workers of a Pipeline: told what to run, in the number that their lag asks for, and what is seen of them.
use serde::Deserialize as _;
use tidewheel_crds::Resources;
use tidewheel_planner::plan::{Plan, StepKind};

use super::pipeline::{Dereferenced, needs};
use super::{ReconcileError, workloads};
use crate::children::{ChildKind, Role, Workload, documents, worker};
use crate::conditions::{Aspect, Finding, Reason};
use crate::context::{Context, owner};
use crate::judge::{self, JudgedPipeline};
use crate::kafka;
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
        .planned(pipeline.uid(), &found.judged.documents.hash(), inputs);
    let owner = owner(pipeline);
    let workload = Workload {
        owner: &owner,
        settings: &context.settings.workloads,
        documents: found.judged.documents.numbered(number),
        kafka: &found.kafka.access,
        secrets: found.keys.clone(),
        secrets_digest: found.ways.clone(),
        resources,
    };
    let children = worker(&workload, replicas(pipeline, context));
    let is_settling = context.scalings.is_settling(pipeline.uid());
    workloads::apply(context, &owner, &children, is_settling).await
}

/// Keeps the workers of the last plan that could run, whatever is wrong with what should: put back where somebody has changed them or they are
/// gone, and otherwise as they are.
pub(super) async fn keep(
    pipeline: &Pipeline,
    context: &Context,
) -> Result<Option<Finding>, ReconcileError> {
    let owner = owner(pipeline);
    if let Some((found, number)) = told(pipeline, context)
        && is_within_reach(pipeline, context, &found).await
    {
        let resources = pipeline.spec().get("resources");
        let resources = resources.and_then(|resources| Resources::deserialize(resources).ok());
        let pods = apply(pipeline, context, &found, number, resources.as_ref());
        return pods.await.map(Some);
    }
    let is_settling = context.scalings.is_settling(pipeline.uid());
    let replicas = Some(replicas(pipeline, context));
    workloads::as_it_is(context, &owner, Role::Worker, replicas, is_settling).await
}

/// Whether workers would find what they need as those did that are there; or, where none are, as the last ones did.
async fn is_within_reach(pipeline: &Pipeline, context: &Context, found: &Dereferenced) -> bool {
    let (owner, ways) = (owner(pipeline), &found.ways);
    if workloads::runs_with(context, &owner, Role::Worker).as_ref() == Some(ways) {
        return true;
    }
    let client = context.kafka.topics(pipeline.namespace(), &found.kafka);
    let outside = match client {
        Ok(client) => kafka::cluster(pipeline, &client).await.err(),
        Err(error) => Some(kafka::finding(&error)),
    };
    let outside: Vec<Finding> = outside.into_iter().collect();
    workloads::may_change(context, &owner, Role::Worker, &outside, ways)
}

/// What workers were told to run last, as far as it is still known and can run; and its number.
fn told(pipeline: &Pipeline, context: &Context) -> Option<(Dereferenced, i64)> {
    let (judged, number) = told_documents(pipeline, context)?;
    let found = needs(judged, context, pipeline.namespace()).ok()?;
    Some((found, number))
}

/// The plan that workers were told to run last, as far as it is still known.
pub(super) fn told_plan(pipeline: &Pipeline, context: &Context) -> Option<Plan> {
    told_documents(pipeline, context).map(|(judged, _)| judged.plan)
}

fn told_documents(pipeline: &Pipeline, context: &Context) -> Option<(JudgedPipeline, i64)> {
    let plan = pipeline.status().plan?;
    let specs = context.world.owned(ChildKind::ConfigMap, pipeline.uid());
    let mut judged = specs
        .iter()
        .filter_map(|specs| judge::told(documents(specs)?).ok());
    let judged = judged.find(|judged| judged.documents.hash() == plan.hash)?;
    Some((judged, plan.number))
}

/// How many workers there should be now.
fn replicas(pipeline: &Pipeline, context: &Context) -> u32 {
    if pipeline.is_suspended() {
        return 0;
    }
    let found = scaling::replicas_found(pipeline, context);
    context
        .scalings
        .replicas(pipeline.uid(), found, &pipeline.bounds())
}

/// What is told of its workers: what was seen last, or what was said before anybody had looked.
pub(super) fn seen(pipeline: &Pipeline, context: &Context) -> (Vec<Finding>, Workers) {
    let (told, before) = (context.scalings.told(pipeline.uid()), pipeline.status());
    let is_looked_at = !told.findings.is_empty();
    let mut findings = told.findings;
    for aspect in [Aspect::Flow, Aspect::Scaling, Aspect::Windows] {
        if findings.iter().all(|finding| finding.aspect != aspect) {
            findings.extend(Finding::told(aspect, &before.shared.conditions));
        }
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
