//! Outputs that would write to a topic which something else writes to, or which their own pipeline reads.
use std::collections::HashMap;

use tidewheel_crds::PipelineSpec;

use crate::names::{generator_positions, source_topic};
use crate::problem::{Code, Problem};
use crate::resource::{Resource, ResourceSet, member};

/// Every output over a topic that is not its alone, in any pipeline of the set. All of them are on one cluster.
pub(crate) fn shared_topics(set: &ResourceSet) -> Vec<Problem> {
    let mut first: HashMap<&str, String> = HashMap::new();
    let mut problems = Vec::new();
    for pipeline in &set.pipelines {
        for (index, output) in pipeline.spec.outputs.iter().enumerate() {
            let Some(kafka) = &output.kafka else {
                continue;
            };
            let topic = kafka.topic.as_str();
            let clash = own_of_source(set, topic)
                .or_else(|| own_of_pipeline(set, topic))
                .or_else(|| own_input(set, pipeline, topic))
                .or_else(|| other_output(&first, topic));
            let filled_by = format!("the output `{}` of {}", output.name, pipeline.id);
            first.entry(topic).or_insert(filled_by);
            let Some((message, help)) = clash else {
                continue;
            };
            let path = member!["spec", "outputs", index, "kafka", "topic"];
            let subject = pipeline.subject().part("output", &output.name);
            let problem = subject.error(&path, Code::SharedTopic, message);
            problems.push(problem.help(help));
        }
    }
    problems
}

type Clash = Option<(String, &'static str)>;

fn own_of_source(set: &ResourceSet, topic: &str) -> Clash {
    let own = set.event_sources.iter().find(|source| {
        let (namespace, name) = (&source.id.namespace, &source.id.name);
        let own = [
            source_topic(namespace, name),
            generator_positions(namespace, name),
        ];
        source.spec.kafka.is_none() && own.iter().any(|own| own == topic)
    })?;
    Some((
        format!("the topic `{topic}` belongs to {}", own.id),
        "write another name: what goes into that topic comes from the EventSource alone",
    ))
}

fn own_of_pipeline(set: &ResourceSet, topic: &str) -> Clash {
    let is_own = |pipeline: &&Resource<PipelineSpec>| {
        let (namespace, name) = (&pipeline.id.namespace, &pipeline.id.name);
        topic
            .strip_prefix(&format!("{namespace}.{name}"))
            .is_some_and(|rest| rest.starts_with('.'))
    };
    let own = set.pipelines.iter().find(is_own)?;
    let (namespace, name) = (&own.id.namespace, &own.id.name);
    Some((
        format!(
            "topics that begin with `{namespace}.{name}.` are for the progress and state of {}",
            own.id
        ),
        "write a name that begins otherwise",
    ))
}

fn own_input(set: &ResourceSet, pipeline: &Resource<PipelineSpec>, topic: &str) -> Clash {
    let reads = |name: &str| {
        let source = set.event_source(&pipeline.id.namespace, name);
        let kafka = source.and_then(|source| source.spec.kafka.as_ref());
        kafka.is_some_and(|kafka| kafka.topic == topic)
    };
    let mut sources = pipeline.spec.sources.iter();
    let source = sources.find(|source| reads(&source.name))?;
    Some((
        format!(
            "the pipeline reads the topic `{topic}` as its source `{}`: its rows would come back as events without end",
            source.name
        ),
        "write another name",
    ))
}

fn other_output(first: &HashMap<&str, String>, topic: &str) -> Clash {
    let other = first.get(topic)?;
    Some((
        format!("the topic `{topic}` is already filled by {other}"),
        "write another name, or unite the steps with UNION ALL",
    ))
}
