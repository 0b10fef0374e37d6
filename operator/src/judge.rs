//! Judging resources, as `tidewheel check` does. Pure.
use std::sync::Arc;

use serde_json::Value;
use tidewheel_crds::{EventSourceSpec, Kind, PipelineSpec, SinkSpec};
use tidewheel_planner::load::{Loaded, load_values};
use tidewheel_planner::plan::Plan;
use tidewheel_planner::problem::{Code, Problem};
use tidewheel_planner::resource::{Resource, ResourceSet};
use tidewheel_planner::{clashes, judge};

use crate::conditions::{Aspect, Finding, Reason};
use crate::documents::Documents;
use crate::resource::{Declared, EventSource, Pipeline, Sink};

/// A Pipeline that can run, and all that it refers to.
pub(crate) struct JudgedPipeline {
    pub(crate) pipeline: Resource<PipelineSpec>,
    pub(crate) sinks: Vec<Resource<SinkSpec>>,
    pub(crate) plan: Plan,
    pub(crate) documents: Documents,
}

/// Judges an EventSource.
pub(crate) fn source(source: &EventSource) -> Result<Resource<EventSourceSpec>, Vec<Finding>> {
    let (mut set, _) = good(&[source.document()])?;
    set.event_sources.pop().ok_or_else(unreadable)
}

/// Judges a Sink.
pub(crate) fn sink(sink: &Sink) -> Result<Resource<SinkSpec>, Vec<Finding>> {
    let (mut set, _) = good(&[sink.document()])?;
    set.sinks.pop().ok_or_else(unreadable)
}

/// Judges a Pipeline with the EventSources and Sinks that it refers to.
pub(crate) fn pipeline(
    pipeline: &Pipeline,
    sources: &[Arc<EventSource>],
    sinks: &[Arc<Sink>],
) -> Result<JudgedPipeline, Vec<Finding>> {
    let sources = sources.iter().map(|source| source.document());
    let sinks = sinks.iter().map(|sink| sink.document());
    let documents = sources.chain(sinks).chain([pipeline.document()]);
    let (mut set, mut plans) = good(&documents.collect::<Vec<_>>())?;
    let (Some(pipeline), Some(plan)) = (set.pipelines.pop(), plans.pop()) else {
        return Err(unreadable());
    };
    let sources: Vec<_> = set.event_sources.iter().collect();
    let documents =
        Documents::of_pipeline(&pipeline, &sources, &set.sinks.iter().collect::<Vec<_>>());
    Ok(JudgedPipeline {
        pipeline,
        sinks: set.sinks,
        plan,
        documents,
    })
}

/// What outputs of a Pipeline are in the way of others, which were there before it: a table or a topic belongs to who claimed it first.
pub(crate) fn taken(
    pipeline: &Pipeline,
    others: &[Arc<Pipeline>],
    sources: &[Arc<EventSource>],
    sinks: &[Arc<Sink>],
) -> Option<Finding> {
    let mut before: Vec<&Arc<Pipeline>> = others
        .iter()
        .filter(|other| !other.is_deleted() && age(other) < age(pipeline))
        .collect();
    before.sort_by(|a, b| age(a).cmp(&age(b)));
    let pipelines = before.into_iter().map(AsRef::as_ref).chain([pipeline]);
    let mut set = ResourceSet::default();
    set.pipelines = pipelines.filter_map(typed).collect();
    set.event_sources = sources
        .iter()
        .filter_map(|source| typed(source.as_ref()))
        .collect();
    set.sinks = sinks
        .iter()
        .filter_map(|sink| typed(sink.as_ref()))
        .collect();
    let mut problems = clashes(&set);
    problems.retain(|problem| {
        is_of(
            problem,
            Kind::Pipeline,
            pipeline.namespace(),
            pipeline.name(),
        )
    });
    let message = said(problems.iter());
    (!problems.is_empty()).then(|| Finding::new(Aspect::Whole, Reason::OutputTaken, message))
}

/// Since when a Pipeline is there; of two of the same second one is the older all the same.
fn age(pipeline: &Pipeline) -> (Option<i64>, &str, &str) {
    let created = pipeline.metadata.creation_timestamp.as_ref();
    (
        created.map(|time| time.0.as_second()),
        pipeline.namespace(),
        pipeline.name(),
    )
}

/// A resource as the planner takes it; none where its spec cannot be read, which is said where it is judged.
fn typed<K: Declared, S: serde::de::DeserializeOwned>(resource: &K) -> Option<Resource<S>> {
    let spec = S::deserialize(resource.spec()).ok()?;
    Some(Resource::new(
        K::KIND.as_str(),
        resource.namespace(),
        resource.name(),
        spec,
    ))
}

/// The resources and plans, where nothing is wrong with them.
fn good(documents: &[Value]) -> Result<(ResourceSet, Vec<Plan>), Vec<Finding>> {
    let Loaded { set, mut problems } = load_values(documents);
    // Secrets are looked for elsewhere.
    problems.retain(|problem| problem.code != Code::UnknownSecret);
    let (set, plans, problems) = judge(Loaded { set, problems });
    let judged_last = documents
        .last()
        .and_then(|document| document["kind"].as_str());
    let findings = findings(&problems, judged_last.unwrap_or_default());
    if findings.is_empty() {
        Ok((set, plans))
    } else {
        Err(findings)
    }
}

/// What problems mean for the resource of kind `judged`: its own, and those of what it refers to.
fn findings(problems: &[Problem], judged: &str) -> Vec<Finding> {
    let kind = |problem: &Problem| {
        problem
            .resource
            .as_ref()
            .map(|id| id.kind.clone())
            .unwrap_or_default()
    };
    let of = |is_meant: &dyn Fn(&str) -> bool, aspect, reason| {
        let meant = problems
            .iter()
            .filter(|problem| problem.is_error() && is_meant(&kind(problem)));
        let message = said(meant);
        (!message.is_empty()).then(|| Finding::new(aspect, reason, message))
    };
    let refers = |other: &str, kind: &str| kind == other && judged != other;
    [
        of(
            &|kind| kind == judged || kind.is_empty(),
            Aspect::Whole,
            Reason::SpecInvalid,
        ),
        of(
            &|kind| refers("EventSource", kind),
            Aspect::Sources,
            Reason::SourceInvalid,
        ),
        of(
            &|kind| refers("Sink", kind),
            Aspect::Schemas,
            Reason::SinkInvalid,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn unreadable() -> Vec<Finding> {
    vec![Finding::new(
        Aspect::Whole,
        Reason::SpecInvalid,
        "the spec cannot be read",
    )]
}

fn is_of(problem: &Problem, kind: Kind, namespace: &str, name: &str) -> bool {
    problem
        .resource
        .as_ref()
        .is_some_and(|id| id.kind == kind.as_str() && id.namespace == namespace && id.name == name)
}

/// Problems in one text, each on a line: where, what, and what to write instead.
fn said<'a>(problems: impl Iterator<Item = &'a Problem>) -> String {
    let lines = problems.map(|problem| {
        let part = problem.part.as_ref().or(problem.field.as_ref());
        let place = problem.place.as_ref();
        let place = place.map(|place| format!("line {}, column {}", place.line, place.column));
        let parts = [part.cloned(), place].into_iter().flatten();
        let place = parts.collect::<Vec<_>>().join(", ");
        let start = if place.is_empty() {
            place
        } else {
            format!("{place}: ")
        };
        let help = problem.help.as_ref().map(|help| format!("; {help}"));
        format!("{start}{}{}", problem.message, help.unwrap_or_default())
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;
    use std::slice::from_ref;

    const SPECS: &str = include_str!("../tests/resources.yaml");

    struct Shop {
        source: Arc<EventSource>,
        sink: Arc<Sink>,
        pipeline: Pipeline,
    }

    fn shop() -> Shop {
        let loaded = tidewheel_planner::load::load_texts([("resources.yaml", SPECS)]);
        let set = loaded.set;
        let meta = |name: &str| json!({"name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"});
        let source = json!({"metadata": meta("clicks"), "spec": set.event_sources[0].spec});
        let sink = json!({"metadata": meta("warehouse"), "spec": set.sinks[0].spec});
        let pipeline = json!({"metadata": meta("shop-kpis"), "spec": set.pipelines[0].spec});
        Shop {
            source: Arc::new(serde_json::from_value(source).unwrap()),
            sink: Arc::new(serde_json::from_value(sink).unwrap()),
            pipeline: serde_json::from_value(pipeline).unwrap(),
        }
    }

    fn judged(shop: &Shop) -> Result<JudgedPipeline, Vec<Finding>> {
        pipeline(&shop.pipeline, from_ref(&shop.source), from_ref(&shop.sink))
    }

    fn only(findings: Vec<Finding>) -> (Aspect, Reason, String) {
        assert_eq!(findings.len(), 1, "{findings:?}");
        let finding = findings.into_iter().next().unwrap();
        (finding.aspect, finding.reason, finding.message)
    }

    #[test]
    fn a_good_pipeline_has_a_plan_and_documents() {
        let judged = judged(&shop()).ok().unwrap();
        assert_eq!(judged.plan.full_name(), "shop/shop-kpis");
        assert_eq!(judged.sinks.len(), 1);
        assert!(judged.documents.text().contains("kpi_1m"));
    }

    #[test]
    fn a_mistake_in_sql_is_named_with_its_step_line_and_column() {
        let mut shop = shop();
        shop.pipeline.spec["steps"][0]["aggregate"]["sql"] =
            "SELECT source, count(*) AS count\nFROM clicks\nGROUP BY sorce".into();
        let (aspect, reason, message) = only(judged(&shop).err().unwrap());
        assert_eq!((aspect, reason), (Aspect::Whole, Reason::SpecInvalid));
        assert!(
            message.starts_with("step `kpi`, line 3, column 10: "),
            "{message}"
        );
    }

    #[test]
    fn what_no_schema_admits_is_named_by_its_field_and_holds_up_nobody() {
        let mut shop = shop();
        shop.pipeline.spec["outputs"] = json!("everything");
        let (_, reason, message) = only(judged(&shop).err().unwrap());
        assert_eq!(reason, Reason::SpecInvalid);
        assert!(message.contains("outputs"), "{message}");
        assert_eq!(shop.pipeline.source_names().collect::<Vec<_>>(), ["clicks"]);
        assert_eq!(shop.pipeline.sink_names().count(), 0);
    }

    #[test]
    fn a_source_that_cannot_run_is_the_sources_fault() {
        let mut shop = shop();
        let mut source = shop.source.as_ref().clone();
        source.spec["eventTime"]["field"] = "nothing".into();
        shop.source = Arc::new(source);
        let (aspect, reason, _) = only(judged(&shop).err().unwrap());
        assert_eq!((aspect, reason), (Aspect::Sources, Reason::SourceInvalid));
        let (aspect, reason, _) = only(super::source(&shop.source).err().unwrap());
        assert_eq!((aspect, reason), (Aspect::Whole, Reason::SpecInvalid));
    }

    #[test]
    fn a_table_belongs_to_the_older_pipeline() {
        let shop = shop();
        let older = Arc::new(shop.pipeline.clone());
        let mut newer = shop.pipeline.clone();
        newer.metadata.name = Some("another".to_owned());
        newer.metadata.creation_timestamp =
            serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap();
        let all = [older.clone(), Arc::new(newer.clone())];
        let look = |pipeline: &Pipeline, all: &[Arc<Pipeline>]| {
            taken(pipeline, all, from_ref(&shop.source), from_ref(&shop.sink))
        };
        assert_eq!(look(&older, &all), None);
        let finding = look(&newer, &all).unwrap();
        assert_eq!(finding.reason, Reason::OutputTaken);
        assert!(
            finding.message.contains(
                "is already filled by the output `events_raw` of Pipeline shop/shop-kpis"
            ),
            "{}",
            finding.message
        );
        assert_eq!(look(&newer, &all[1..]), None);
        let mut leaving = older.as_ref().clone();
        leaving.metadata.deletion_timestamp = newer.metadata.creation_timestamp.clone();
        assert_eq!(look(&newer, &[Arc::new(leaving)]), None);
    }
}
