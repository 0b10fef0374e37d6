//! What roles read: resources with everything in them that a role needs, and nothing else. Pure.
//!
//! The same resources give the same bytes, so that workloads roll when something changed for them and at no other time.
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tidewheel_crds::event_source::Http;
use tidewheel_crds::{
    DeletionPolicy, EventSourceSpec, GROUP, PipelineSpec, Scaling, SinkSpec, VERSION,
};
use tidewheel_planner::resource::Resource;

/// What stands between two documents.
const SEPARATOR: &str = "---\n";

/// The documents of a role.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Documents(Vec<Value>);

impl Documents {
    /// What the roles of an EventSource read.
    pub(crate) fn of_source(source: &Resource<EventSourceSpec>) -> Self {
        let mut spec = source.spec.clone();
        spec.resources = None;
        spec.topic.deletion_policy = DeletionPolicy::Retain;
        if let Some(http) = &mut spec.http {
            http.replicas = Http::default().replicas;
        }
        Self(vec![document(source, &spec)])
    }

    /// What the workers of a Pipeline read.
    pub(crate) fn of_pipeline(
        pipeline: &Resource<PipelineSpec>,
        sources: &[&Resource<EventSourceSpec>],
        sinks: &[&Resource<SinkSpec>],
    ) -> Self {
        let sources = sources.iter().map(|source| {
            let mut spec = source.spec.clone();
            spec.resources = None;
            spec.topic.deletion_policy = DeletionPolicy::Retain;
            // Who may send is the affair of those who take events.
            spec.http = spec.http.map(|http| Http {
                format: http.format,
                ..Http::default()
            });
            document(source, &spec)
        });
        let sinks = sinks.iter().map(|sink| {
            let mut spec = sink.spec.clone();
            if let Some(postgres) = &mut spec.postgres {
                postgres.deletion_policy = DeletionPolicy::Retain;
            }
            document(sink, &spec)
        });
        let mut spec = pipeline.spec.clone();
        spec.suspend = false;
        spec.resources = None;
        spec.scaling = Scaling::default();
        spec.deletion_policy = DeletionPolicy::Retain;
        let pipeline = std::iter::once(document(pipeline, &spec));
        Self(sources.chain(sinks).chain(pipeline).collect())
    }

    /// Those of a [text](Self::text); none where it is no such text.
    pub(crate) fn read(text: &str) -> Option<Self> {
        // Within a document every end of a line is an escape.
        let texts = text.split(SEPARATOR);
        texts
            .map(|text| serde_json::from_str(text).ok())
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Each document.
    pub(crate) fn values(&self) -> &[Value] {
        &self.0
    }

    /// A digest of them, in hexadecimal digits.
    pub(crate) fn hash(&self) -> String {
        hash(self.text().as_bytes())
    }

    /// Their text, with the `number` of the plan that they are, in the Pipeline among them.
    pub(crate) fn numbered(&self, number: i64) -> String {
        let mut numbered = self.clone();
        let pipelines = numbered
            .0
            .iter_mut()
            .filter(|document| document["kind"] == "Pipeline");
        pipelines.for_each(|document| document["metadata"]["generation"] = number.into());
        numbered.text()
    }

    /// They without the number of the plan that they are: what it was before it had one.
    pub(crate) fn unnumbered(mut self) -> Self {
        for document in &mut self.0 {
            if let Some(metadata) = document["metadata"].as_object_mut() {
                metadata.remove("generation");
            }
        }
        self
    }

    /// Their text: YAML, since JSON is that too.
    pub(crate) fn text(&self) -> String {
        let texts = self.0.iter().map(|document| format!("{document:#}\n"));
        texts.collect::<Vec<_>>().join(SEPARATOR)
    }
}

/// The SHA-256 of some bytes, in hexadecimal digits.
pub(crate) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn document<T>(resource: &Resource<T>, spec: &impl Serialize) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": resource.id.kind,
        "metadata": {"name": resource.id.name, "namespace": resource.id.namespace},
        "spec": spec,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use tidewheel_planner::load::load_texts;

    const SPECS: &str = include_str!("../tests/resources.yaml");

    fn of(text: &str) -> Documents {
        let loaded = load_texts([("resources.yaml", text)]);
        let set = loaded.set;
        let (sources, sinks): (Vec<_>, Vec<_>) = (
            set.event_sources.iter().collect(),
            set.sinks.iter().collect(),
        );
        Documents::of_pipeline(&set.pipelines[0], &sources, &sinks)
    }

    #[test]
    fn what_roles_read_is_judged_good_and_gives_the_same_documents_again() {
        let documents = of(SPECS);
        let text = documents.numbered(7);
        let loaded = load_texts([("resources.yaml", text.as_str())]);
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let plans = tidewheel_planner::plan(&loaded.set).unwrap();
        assert_eq!(plans[0].revision, Some(7));
        assert_eq!(of(&text), documents);
        let read = Documents::read(&text).unwrap();
        assert_eq!(read.text(), text);
        assert_eq!(read.unnumbered().hash(), documents.hash());
        assert_eq!(Documents::read("nothing"), None);
    }

    #[test]
    fn what_a_worker_does_not_need_changes_nothing() {
        let without = of(SPECS);
        for (from, to) in [
            ("suspend: false", "suspend: true"),
            ("cpu: 500m", "cpu: 900m"),
            ("min: 2", "min: 3"),
            ("name: clicks-keys", "name: other-keys"),
            ("suspend: false", "deletionPolicy: Delete"),
            ("suspend: false", "scaling: {min: 2, catchUpWithin: 30s}"),
            (
                "key: [event_id]",
                "key: [event_id]\n  topic: {deletionPolicy: Delete}",
            ),
            (
                "schema: shop_analytics",
                "schema: shop_analytics\n    deletionPolicy: Delete",
            ),
        ] {
            assert!(SPECS.contains(from), "{from}");
            assert_eq!(
                of(&SPECS.replace(from, to)).hash(),
                without.hash(),
                "{from}"
            );
        }
        let changed = of(&SPECS.replace("count(*) AS count", "count(*) AS number"));
        assert_ne!(changed.hash(), without.hash());
    }
}
