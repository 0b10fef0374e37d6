//! The part of a plan that is replayed: windows of events in tables, each emitted once.
use std::collections::BTreeMap;

use tidewheel_planner::plan::{Aggregate, LatePolicy, Output, Plan, StepKind, Window};

use super::range::{Range, starts_in};
use super::{Read, ReplayError, ReplayedOutput};

/// An output that a replay leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untouched {
    /// Its name.
    pub output: String,
    /// Why.
    pub why: Why,
}

/// Why an output is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It has rows of events and not of windows.
    Rows,
    /// It goes to a topic, in which nothing can be replaced.
    Topic,
    /// It has sessions: where they begin depends on all events before, and no time parts those that are final from the others.
    Sessions,
    /// It has windows over windows: they are made of rows that those have written, and not of events.
    OverWindows,
}

/// The windows of the plan's tables that lie in `range` as a whole. `numbers`: the generations of aggregate steps.
pub(super) fn replayed_outputs(
    plan: &Plan,
    numbers: &BTreeMap<String, i64>,
    range: Range,
) -> Result<Vec<ReplayedOutput>, ReplayError> {
    let mut replayed = Vec::new();
    for (index, output) in plan.outputs.iter().enumerate() {
        let Some((step, aggregate)) = aggregate_of(plan, output) else {
            continue;
        };
        if left_alone(plan, output).is_some() {
            continue;
        }
        let (window, name) = (aggregate.window, &plan.steps[step].name);
        let starts_ms = starts_in(window, range).ok_or_else(|| ReplayError::NoWindow {
            step: name.clone(),
            size_ms: window.size_ms(),
        })?;
        replayed.push(ReplayedOutput {
            output: index,
            step: name.clone(),
            generation: numbers.get(name).copied().unwrap_or(1),
            starts_ms,
            size_ms: window.size_ms(),
            every_ms: window.every_ms(),
        });
    }
    match replayed.is_empty() {
        true => Err(ReplayError::NoWindows),
        false => Ok(replayed),
    }
}

/// The outputs that are left as they are.
pub(super) fn untouched(plan: &Plan) -> Vec<Untouched> {
    let left = plan.outputs.iter().filter_map(|output| {
        Some(Untouched {
            output: output.name.clone(),
            why: left_alone(plan, output)?,
        })
    });
    left.collect()
}

/// The plan with nothing but what is replayed, as it is replayed: each window once, when it takes no more rows, which is what an amended one
/// has come to by then.
///
/// Its sources have the partitions that are read.
pub(super) fn narrowed(plan: &Plan, replayed: &[ReplayedOutput], reads: &[Read]) -> Plan {
    let mut narrowed = plan.clone();
    for source in &mut narrowed.sources {
        let of_source = reads.iter().filter(|read| read.source == source.name);
        source.partitions = u32::try_from(of_source.count()).unwrap_or(u32::MAX);
    }
    narrowed.outputs = replayed
        .iter()
        .map(|replayed| plan.outputs[replayed.output].clone())
        .collect();
    for step in &mut narrowed.steps {
        if let StepKind::Aggregate(aggregate) = &mut step.kind {
            aggregate.late.policy = LatePolicy::Drop;
        }
    }
    narrowed
}

/// Why an output is left as it is; none where it is replayed.
fn left_alone(plan: &Plan, output: &Output) -> Option<Why> {
    match (output.table(), aggregate_of(plan, output)) {
        (None, _) => Some(Why::Topic),
        (Some(_), None) => Some(Why::Rows),
        (Some(_), Some((step, _))) if plan.fed_by(step).is_some() => Some(Why::OverWindows),
        (Some(_), Some((_, aggregate))) => {
            matches!(aggregate.window, Window::Session { .. }).then_some(Why::Sessions)
        }
    }
}

/// The aggregate step whose windows an output has, and its index; none where it has rows of events.
fn aggregate_of<'a>(plan: &'a Plan, output: &Output) -> Option<(usize, &'a Aggregate)> {
    let step = plan.aggregate_behind(output.from)?;
    match &plan.steps[step].kind {
        StepKind::Aggregate(aggregate) => Some((step, aggregate)),
        StepKind::Rows(_) | StepKind::Deduplicate(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tidewheel_planner::load::load_texts;
    use tidewheel_planner::{judge, problem};

    use super::*;

    const PIPELINE: &str = "apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: events, namespace: shop}
spec:
  schema:
    fields:
      - {name: id, type: text, required: true}
      - {name: ts, type: timestamp, required: true}
  eventTime: {field: ts}
  key: [id]
  topic: {partitions: 1}
  http: {}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: tables, namespace: shop}
spec:
  postgres: {connection: {secretRef: {name: tables, key: url}}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: kpis, namespace: shop}
spec:
  sources: [{name: events}]
  steps:
    - {name: minutes, aggregate: {window: {tumbling: 1m}, late: {policy: Drop}, sql: SELECT count(*) AS n FROM events}}
    - {name: visits, aggregate: {window: {session: {gap: 1m}}, late: {allowed: 1m, policy: DeadLetter}, sql: 'SELECT id, count(*) AS n FROM events GROUP BY id'}}
    - {name: more, sql: 'SELECT window_start, n FROM minutes WHERE n > 1'}
    - {name: hours, aggregate: {window: {tumbling: 1h}, sql: SELECT max(n) AS n FROM minutes}}
  outputs:
    - {name: rows, from: events, postgres: {sink: tables}}
    - {name: minutes, from: minutes, postgres: {sink: tables}}
    - {name: visits, from: visits, postgres: {sink: tables}}
    - {name: more, from: more, postgres: {sink: tables}}
    - {name: hours, from: hours, postgres: {sink: tables}}
";

    #[test]
    fn windows_that_lie_at_times_of_their_own_are_replayed_and_nothing_else() {
        let (_, plans, problems) = judge(load_texts([("pipeline.yaml", PIPELINE)]));
        assert!(!plans.is_empty(), "{}", problem::render(&problems));
        let plan = &plans[0];
        let range = Range {
            from_ms: 0,
            to_ms: 120_000,
        };
        let replayed = replayed_outputs(plan, &BTreeMap::new(), range).unwrap();
        let replayed: Vec<_> = replayed
            .iter()
            .map(|replayed| (replayed.output, replayed.step.as_str()))
            .collect();
        assert_eq!(replayed, [(1, "minutes"), (3, "minutes")]);
        let left: Vec<_> = untouched(plan)
            .into_iter()
            .map(|left| (left.output, left.why))
            .collect();
        let expected = [
            ("rows", Why::Rows),
            ("visits", Why::Sessions),
            ("hours", Why::OverWindows),
        ];
        assert_eq!(left, expected.map(|(name, why)| (name.to_owned(), why)));
    }
}
