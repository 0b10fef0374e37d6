//! The CRDs, as they are installed in a cluster and as the rest of this crate reads them.
use std::{fmt, str::FromStr, sync::LazyLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    ValidationRule,
};
use kube::CustomResourceExt;

use crate::{EventSource, Pipeline, Sink, shape::NAME_MESSAGE};

/// One of the three kinds of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// [`EventSource`].
    EventSource,
    /// [`Pipeline`].
    Pipeline,
    /// [`Sink`].
    Sink,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::EventSource, Self::Pipeline, Self::Sink];

    /// As in `kind:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventSource => "EventSource",
            Self::Pipeline => "Pipeline",
            Self::Sink => "Sink",
        }
    }

    /// The CRD of the kind.
    pub fn definition(self) -> &'static CustomResourceDefinition {
        &DEFINITIONS[self as usize]
    }

    /// The schema of `spec`.
    pub(crate) fn spec(self) -> &'static JSONSchemaProps {
        static EMPTY: LazyLock<JSONSchemaProps> = LazyLock::new(JSONSchemaProps::default);
        let schema = self
            .definition()
            .spec
            .versions
            .first()
            .and_then(|version| version.schema.as_ref());
        schema
            .and_then(|schema| {
                schema
                    .open_api_v3_schema
                    .as_ref()?
                    .properties
                    .as_ref()?
                    .get("spec")
            })
            .unwrap_or(&EMPTY)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of tidewheel.dev: write EventSource, Pipeline or Sink")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

static DEFINITIONS: LazyLock<[CustomResourceDefinition; 3]> =
    LazyLock::new(|| [EventSource::crd(), Pipeline::crd(), Sink::crd()].map(finished));

/// The CRDs of all kinds.
pub fn crds() -> Vec<CustomResourceDefinition> {
    DEFINITIONS.to_vec()
}

/// The CRDs of all kinds as YAML documents, ready for `kubectl apply --server-side -f -`.
#[allow(
    clippy::expect_used,
    reason = "plain data with string keys always serialises"
)]
pub fn crds_yaml() -> String {
    let documents = DEFINITIONS
        .iter()
        .map(|crd| serde_yaml::to_string(crd).expect("a CRD is plain data"));
    documents.collect::<Vec<_>>().join("---\n")
}

fn finished(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            finish(schema);
            schema
                .x_kubernetes_validations
                .get_or_insert_default()
                .push(ValidationRule {
                    rule: "!self.metadata.name.contains('.') && size(self.metadata.name) <= 63"
                        .to_owned(),
                    message: Some(NAME_MESSAGE.to_owned()),
                    ..ValidationRule::default()
                });
        }
    }
    crd
}

/// What the generated schema says that an API server does not want to hear.
fn finish(schema: &mut JSONSchemaProps) {
    // A null then counts as absent, and rules need not tell the two apart.
    schema.nullable = None;
    // Structural schemas refuse unknown fields without being told; telling them is an error.
    schema
        .additional_properties
        .take_if(|allowed| matches!(allowed, JSONSchemaPropsOrBool::Bool(false)));
    // Formats of Rust's, of which the API server warns; the bounds say it all.
    schema.format.take_if(|format| format.starts_with("uint"));
    // Line breaks of the source code, except before a list.
    schema.description = schema.description.take().map(|text| unwrapped(&text));
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
    {
        finish(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &mut schema.items {
        finish(item);
    }
}

/// Joins the lines of a paragraph; lines that begin with a code span stand for themselves.
fn unwrapped(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for line in text.lines() {
        if !joined.is_empty() {
            joined.push(if line.starts_with('`') { '\n' } else { ' ' });
        }
        joined.push_str(line.trim());
    }
    joined
}
