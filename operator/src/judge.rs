//! Judging resources, as `tidewheel check` does. Pure.
use std::sync::Arc;

use serde_json::Value;
use tidewheel_crds::{EventSourceSpec, PipelineSpec, SinkSpec};
use tidewheel_planner::judge;
use tidewheel_planner::load::{Loaded, load_values};
use tidewheel_planner::plan::Plan;
use tidewheel_planner::problem::{Code, Problem};
use tidewheel_planner::resource::{Resource, ResourceSet};

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
    judged(&documents.collect::<Vec<_>>())
}

/// Judges what workers were told to run: a Pipeline without what they need not know.
pub(crate) fn told(text: &str) -> Result<JudgedPipeline, Vec<Finding>> {
    let documents = Documents::read(text).ok_or_else(unreadable)?;
    judged(documents.values())
}

/// Judges a Pipeline with all that it refers to.
fn judged(documents: &[Value]) -> Result<JudgedPipeline, Vec<Finding>> {
    let (mut set, mut plans) = good(documents)?;
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

/// Problems in one text, each on a line: where, what, and what to write instead.
pub(crate) fn said<'a>(problems: impl Iterator<Item = &'a Problem>) -> String {
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
}
