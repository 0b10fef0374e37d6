//! What may not change about data that is there: judged alike while files change and at a start on kept data.
use serde::Serialize;
use serde_json::Value;
use tidewheel_crds::{Kind, PipelineSpec, Segment, violations};
use tidewheel_planner::plan::{Output, Plan, Target};
use tidewheel_planner::problem::{Code, Problem};
use tidewheel_planner::resource::{Resource, ResourceSet};

use crate::dev::kept::{Kept, KeptTable};

const BEGIN_ANEW: &str = "put it back, or begin anew: without --data, or with another folder";

/// Everything in which `set` and its `plans` may not differ from what was taken over before: what a cluster would refuse as well, and
/// outputs whose table or topic is another one, those included that were away meanwhile.
pub(crate) fn refused(kept: &Kept, set: &ResourceSet, plans: &[Plan]) -> Vec<Problem> {
    let before = kept.set();
    let mut problems = changes(Kind::EventSource, &before.event_sources, &set.event_sources);
    problems.extend(changes(Kind::Pipeline, &before.pipelines, &set.pipelines));
    problems.extend(changes(Kind::Sink, &before.sinks, &set.sinks));
    let moved = plans.iter().flat_map(|plan| moved_outputs(kept, set, plan));
    let moved: Vec<Problem> = moved.collect();
    // What a cluster would refuse of them as well knows neither what it was nor what it is.
    problems.retain(|problem| !moved.iter().any(|moved| is_about(moved, problem)));
    problems.extend(moved);
    problems
}

/// Whether a problem is of the member that another is of, or of one that holds it.
fn is_about(moved: &Problem, problem: &Problem) -> bool {
    let (Some(inner), Some(outer)) = (&moved.field, &problem.field) else {
        return false;
    };
    let rest = inner.strip_prefix(outer.as_str());
    moved.resource == problem.resource
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A problem of an output, at the member of it that `path` leads to, such as `postgres`, `table`.
pub(crate) fn output_problem(
    set: &ResourceSet,
    plan: &Plan,
    output: &str,
    path: &[&str],
    code: Code,
    message: &str,
) -> Option<Problem> {
    let pipeline = set.pipeline(&plan.namespace, &plan.name)?;
    let index = output_index(pipeline, output)?;
    let mut member = vec![Segment::Field("outputs".to_owned()), Segment::Index(index)];
    member.extend(path.iter().map(|name| Segment::Field((*name).to_owned())));
    Some(pipeline.error_at(&member, code, message))
}

fn output_index(pipeline: &Resource<PipelineSpec>, name: &str) -> Option<usize> {
    let mut outputs = pipeline.spec.outputs.iter();
    outputs.position(|output| output.name == name)
}

fn changes<S: Serialize>(kind: Kind, old: &[Resource<S>], new: &[Resource<S>]) -> Vec<Problem> {
    let spec = |resource: &Resource<S>| serde_json::to_value(&resource.spec).unwrap_or(Value::Null);
    let mut problems = Vec::new();
    for resource in new {
        let Some(before) = old.iter().find(|before| before.id == resource.id) else {
            continue;
        };
        for violation in violations(kind, &spec(resource), Some(&spec(before))) {
            let problem = resource.error_at(&violation.path, Code::InvalidField, violation.message);
            problems.push(Problem {
                help: Some(BEGIN_ANEW.to_owned()),
                ..problem
            });
        }
    }
    problems
}

/// The outputs of a plan that filled another table or topic before.
fn moved_outputs(kept: &Kept, set: &ResourceSet, plan: &Plan) -> Vec<Problem> {
    let pipeline = plan.full_name();
    let outputs =
        plan.outputs
            .iter()
            .filter_map(|output| match kept.table(&pipeline, &output.name) {
                Some(before) => moved(set, plan, output, before),
                None => moved_topic(set, plan, output, kept.topic(&pipeline, &output.name)?),
            });
    outputs.collect()
}

/// An output that filled the topic `before`.
fn moved_topic(set: &ResourceSet, plan: &Plan, output: &Output, before: &str) -> Option<Problem> {
    let (path, to) = match &output.target {
        Target::Topic(topic) if topic.name == before => return None,
        Target::Topic(topic) => (["kafka", "topic"], format!("the topic `{}`", topic.name)),
        Target::Table(table) => (["postgres", "sink"], format!("the table `{}`", table.name)),
    };
    let message = message(&output.name, &format!("the topic `{before}`"), &to);
    let problem = output_problem(set, plan, &output.name, &path, Code::InvalidField, &message)?;
    let help = format!("give the output another name, or give it its old topic `{before}` again");
    Some(Problem {
        help: Some(help),
        ..problem
    })
}

fn moved(set: &ResourceSet, plan: &Plan, output: &Output, before: &KeptTable) -> Option<Problem> {
    let (name, now) = (&output.name, KeptTable::of(output));
    let kind = if now.is_some() { "postgres" } else { "kafka" };
    let (problem, old) = if before.sink != output.sink {
        let (from, to) = (
            format!("the Sink `{}`", short(&before.sink)),
            format!("the Sink `{}`", short(&output.sink)),
        );
        let (path, code) = ([kind, "sink"], Code::InvalidField);
        let message = message(name, &from, &to);
        let problem = output_problem(set, plan, name, &path, code, &message)?;
        let old = format!("its old Sink `{}`", short(&before.sink));
        (problem, old)
    } else {
        moved_within(set, plan, name, before, &now?)?
    };
    let help = format!("give the output another name, or give it {old} again");
    Some(Problem {
        help: Some(help),
        ..problem
    })
}

/// An output that stays in its Sink, but in another schema or table; and what it had before, in words.
fn moved_within(
    set: &ResourceSet,
    plan: &Plan,
    name: &str,
    before: &KeptTable,
    now: &KeptTable,
) -> Option<(Problem, String)> {
    if before.schema != now.schema {
        let (from, to) = (
            format!("the schema `{}`", before.schema),
            format!("the schema `{}`", now.schema),
        );
        let path = ["postgres", "schema"].map(|name| Segment::Field(name.to_owned()));
        let sink = set.sink(&plan.namespace, short(&now.sink))?;
        let problem = sink.error_at(&path, Code::InvalidField, message(name, &from, &to));
        let old = format!("its Sink the old schema `{}`", before.schema);
        Some((problem, old))
    } else if before.table != now.table {
        let (from, to) = (
            format!("the table `{}`", before.table),
            format!("the table `{}`", now.table),
        );
        let (path, code) = (["postgres", "table"], Code::InvalidField);
        let message = message(name, &from, &to);
        let problem = output_problem(set, plan, name, &path, code, &message)?;
        Some((problem, format!("its old table `{}`", before.table)))
    } else {
        None
    }
}

fn message(output: &str, from: &str, to: &str) -> String {
    format!(
        "the output `{output}` cannot move from {from} to {to}: the rows that it wrote stay behind, and are not written again"
    )
}

/// The name of a Sink within its namespace.
fn short(sink: &str) -> &str {
    sink.split_once('/').map_or(sink, |(_, name)| name)
}
