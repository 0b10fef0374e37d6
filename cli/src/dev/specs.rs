//! The files: read, judged, and turned into what runs here.
use std::path::PathBuf;
use std::sync::Arc;

use tidewheel_crds::event_source::EventSourceSpec;
use tidewheel_decode::{EventFormat, EventSchema, Part, UnknownFields};
use tidewheel_planner::plan::Plan;
use tidewheel_planner::problem::{Code, Problem, Severity};
use tidewheel_planner::resource::{Resource, ResourceSet};

use crate::served::{api_keys, served_source};

/// What the files say, with nothing wrong in it.
#[derive(Debug, Clone)]
pub(crate) struct Specs {
    /// All resources.
    pub(crate) set: ResourceSet,
    /// A plan for each Pipeline.
    pub(crate) plans: Vec<Plan>,
    /// The sources that take events: those with `http`.
    pub(crate) http_sources: Vec<tidewheel_ingest::Source>,
    /// The sources over existing topics: an embedded log has none, so files stand for their producers.
    pub(crate) kafka_sources: Vec<tidewheel_ingest::Source>,
    /// The sources that make their events up: those with `generator`.
    pub(crate) generated_sources: Vec<GeneratedSource>,
    /// What is odd.
    pub(crate) warnings: Vec<Problem>,
}

/// A source with a generator.
#[derive(Debug, Clone)]
pub(crate) struct GeneratedSource {
    /// What it says.
    pub(crate) spec: EventSourceSpec,
    /// How its events are checked and keyed.
    pub(crate) source: tidewheel_ingest::Source,
}

impl Specs {
    /// Reads and judges files.
    ///
    /// # Errors
    /// Everything that is wrong, and what is odd.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, Vec<Problem>> {
        let (set, plans, mut problems) = tidewheel_planner::check(paths);
        // A cluster may have the Secret already; here these files are all there is. Whoever asks a schema registry finds out: without
        // Kafka nobody does.
        let of_keys = |problem: &&mut Problem| {
            let field = problem.field.as_deref().unwrap_or_default();
            problem.code == Code::UnknownSecret && field.starts_with("spec.http")
        };
        problems
            .iter_mut()
            .filter(of_keys)
            .for_each(|problem| problem.severity = Severity::Error);
        let (mut http_sources, mut kafka_sources, mut generated_sources) =
            (Vec::new(), Vec::new(), Vec::new());
        if !problems.iter().any(Problem::is_error) {
            for resource in &set.event_sources {
                match ingest_source(&set, resource) {
                    Ok(source) if resource.spec.http.is_some() => http_sources.push(source),
                    Ok(source) if resource.spec.kafka.is_some() => {
                        kafka_sources.push(as_produced(source));
                    }
                    Ok(source) => generated_sources.push(GeneratedSource {
                        spec: resource.spec.clone(),
                        source,
                    }),
                    Err(found) => problems.extend(found),
                }
            }
        }
        if set.event_sources.is_empty() && problems.is_empty() {
            problems.push(nothing_to_run());
        }
        if problems.iter().any(Problem::is_error) {
            return Err(problems);
        }
        Ok(Self {
            set,
            plans,
            http_sources,
            kafka_sources,
            generated_sources,
            warnings: problems,
        })
    }

    /// The sources that files can be played into: on Kafka, existing topics are not ours to write to.
    pub(crate) fn playable(&self, on_kafka: bool) -> Vec<tidewheel_ingest::Source> {
        let existing = self.kafka_sources.iter().filter(|_| !on_kafka);
        self.http_sources.iter().chain(existing).cloned().collect()
    }

    /// Everything that a pipeline's work follows from, as text: its own spec, and those of its sources and sinks.
    pub(crate) fn meaning(&self, plan: &Plan) -> Option<String> {
        let pipeline = self.set.pipeline(&plan.namespace, &plan.name)?;
        let sources: Vec<_> = plan
            .sources
            .iter()
            .map(|source| {
                self.set
                    .event_source(&plan.namespace, &source.name)
                    .map(|found| &found.spec)
            })
            .collect();
        let sinks: Vec<_> = self
            .set
            .sinks
            .iter()
            .map(|sink| (&sink.id, &sink.spec))
            .collect();
        serde_json::to_string(&(&pipeline.spec, sources, sinks)).ok()
    }

    /// How events come in, as text that is the same where nothing has changed.
    pub(crate) fn sources_text(&self) -> String {
        format!(
            "{:?} {:?} {:?}",
            self.http_sources, self.kafka_sources, self.generated_sources
        )
    }
}

fn nothing_to_run() -> Problem {
    Problem {
        severity: Severity::Error,
        code: Code::NothingFound,
        message: "these files hold no EventSource: there is nothing to run".to_owned(),
        help: Some(
            "name files with `kind: EventSource`, such as examples/web-analytics".to_owned(),
        ),
        resource: None,
        part: None,
        field: None,
        place: None,
    }
}

fn ingest_source(
    set: &ResourceSet,
    source: &Resource<EventSourceSpec>,
) -> Result<tidewheel_ingest::Source, Vec<Problem>> {
    let keys = api_keys(source, |namespace, name| {
        match set.secret(namespace, name) {
            Some(secret) => Ok(secret.spec.clone()),
            None => Err((
                format!("there is no Secret `{name}` in the namespace `{namespace}`"),
                "add `kind: Secret` with keys below `stringData`".to_owned(),
            )),
        }
    })?;
    served_source(source, keys)
}

/// What a producer of an existing topic would make of events in a file: it takes a key that stands beside the event from the member of
/// that name. What else stands beside events is not in a file.
fn as_produced(mut source: tidewheel_ingest::Source) -> tidewheel_ingest::Source {
    let mut schema = EventSchema::clone(&as_played(&source.schema));
    let beside = schema.fields.iter_mut();
    for field in beside.filter(|field| field.part != Part::Value) {
        field.required = false;
        if field.part == Part::Key {
            field.part = Part::Value;
            field.path = vec![field.name.clone()];
        }
    }
    schema.unknown = UnknownFields::Drop;
    source.schema = schema.into();
    source
}

/// How events are played that are in Avro or Protobuf on Kafka: as the JSON that paths see.
pub(crate) fn as_played(schema: &Arc<EventSchema>) -> Arc<EventSchema> {
    match schema.format {
        EventFormat::Json | EventFormat::CloudEvents => schema.clone(),
        EventFormat::Avro | EventFormat::Protobuf => Arc::new(EventSchema {
            format: EventFormat::Json,
            ..EventSchema::clone(schema)
        }),
    }
}
