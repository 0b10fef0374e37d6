//! The three kinds as the API server has them: whatever is in a spec, the resource can be read, so that one that is malformed holds up no other.
use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidewheel_crds::status::PipelineStatus;
use tidewheel_crds::{GROUP, Kind, Scaling, VERSION};

use crate::scaling::Bounds;

/// A resource of ours.
pub(crate) trait Declared:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its kind.
    const KIND: Kind;

    /// What the user wrote.
    fn spec(&self) -> &Value;

    /// What was said of it last; nothing where nobody has, or somebody else wrote there. Those that are no Pipelines have no plan.
    fn status(&self) -> PipelineStatus;

    /// Its namespace.
    fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }

    /// Its name.
    fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    /// What tells it from any other of its name, before it or after it.
    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    /// Whether it is on its way out: nothing is made for it any more.
    fn is_deleted(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }

    /// The resource as a document, with nothing in it that others wrote.
    fn document(&self) -> Value {
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": Self::KIND.as_str(),
            "metadata": {"name": self.name(), "namespace": self.namespace()},
            "spec": self.spec(),
        })
    }
}

macro_rules! declared {
    ($($name:ident,)+) => {
        $(
            #[doc = concat!("A ", stringify!($name), " as the API server has it.")]
            #[derive(Resource, Clone, Debug, Serialize, Deserialize)]
            #[resource(inherit = tidewheel_crds::$name)]
            pub(crate) struct $name {
                pub(crate) metadata: ObjectMeta,
                #[serde(default)]
                pub(crate) spec: Value,
                #[serde(default)]
                pub(crate) status: Value,
            }

            impl Declared for $name {
                const KIND: Kind = Kind::$name;

                fn spec(&self) -> &Value {
                    &self.spec
                }

                fn status(&self) -> PipelineStatus {
                    PipelineStatus::deserialize(&self.status).unwrap_or_default()
                }
            }
        )+
    };
}

declared! { EventSource, Pipeline, Sink, }

impl Pipeline {
    /// Whether nothing is to be read for now.
    pub(crate) fn is_suspended(&self) -> bool {
        self.spec.get("suspend").and_then(Value::as_bool) == Some(true)
    }

    /// How many workers there may be; what the API says itself where the spec cannot be read.
    pub(crate) fn bounds(&self) -> Bounds {
        let scaling = self.spec.get("scaling");
        let scaling = scaling.and_then(|scaling| Scaling::deserialize(scaling).ok());
        let scaling = scaling.unwrap_or_default();
        Bounds {
            min: scaling.least(),
            max: scaling.most(),
            catch_up_within: scaling.catch_up_within.into(),
        }
    }

    /// The names of the EventSources that it reads, as far as the spec has any.
    pub(crate) fn source_names(&self) -> impl Iterator<Item = &str> {
        let sources = self.spec.get("sources").and_then(Value::as_array);
        let names = sources.into_iter().flatten();
        names.filter_map(|source| source.get("name")?.as_str())
    }

    /// The names of the Sinks that it writes to, as far as the spec has any.
    pub(crate) fn sink_names(&self) -> impl Iterator<Item = &str> {
        let outputs = self.spec.get("outputs").and_then(Value::as_array);
        outputs.into_iter().flatten().filter_map(|output| {
            let kind = ["postgres", "kafka"]
                .into_iter()
                .find_map(|kind| output.get(kind))?;
            kind.get("sink")?.as_str()
        })
    }
}

impl Sink {
    /// The Secret with its connection, as far as the spec names one.
    pub(crate) fn secret_name(&self) -> Option<&str> {
        self.spec
            .pointer("/postgres/connection/secretRef/name")?
            .as_str()
    }
}

impl EventSource {
    /// The Secret with its API keys, as far as the spec names one.
    pub(crate) fn secret_name(&self) -> Option<&str> {
        self.spec
            .pointer("/http/auth/apiKeys/secretRef/name")?
            .as_str()
    }

    /// The Secret with what its schema registry wants to be shown, as far as the spec names one.
    pub(crate) fn registry_secret_name(&self) -> Option<&str> {
        self.spec
            .pointer("/kafka/schemaRegistry/secretRef/name")?
            .as_str()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_should_catch_up_when_it_says_so_or_else_within_a_minute() {
        let of = |spec: Value| {
            let pipeline = json!({"metadata": {"name": "a"}, "spec": spec});
            let pipeline: Pipeline = serde_json::from_value(pipeline).unwrap();
            pipeline.bounds().catch_up_within.as_secs()
        };
        assert_eq!(of(json!({"scaling": {"catchUpWithin": "1m30s"}})), 90);
        assert_eq!(of(json!({"scaling": {"catchUpWithin": 7}})), 60);
        assert_eq!(of(json!({})), 60);
    }
}
