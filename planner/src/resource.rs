//! The resources that are judged together, and where in which file their members stand.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tidewheel_crds::{EventSourceSpec, PipelineSpec, SinkSpec};

use crate::load::document;
use crate::load::positions::{Document, Segment, path_text};
use crate::problem::{Code, Place, Problem, Severity};

/// Identity of a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ResourceId {
    /// Kind, such as `Pipeline`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ResourceId {
    /// `<namespace>/<name>`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.name.as_str() {
            "" => "?",
            name => name,
        };
        write!(f, "{} {}/{name}", self.kind, self.namespace)
    }
}

/// A resource, with the document that it came from.
#[derive(Debug, Clone)]
pub struct Resource<T> {
    /// Which it is.
    pub id: ResourceId,
    /// Its spec.
    pub spec: T,
    /// How often its spec was changed, where whoever keeps it counts that: `metadata.generation`.
    pub revision: Option<i64>,
    pub(crate) document: Option<Arc<Document>>,
}

/// Everything that is judged together.
#[derive(Debug, Clone, Default)]
pub struct ResourceSet {
    /// The EventSources.
    pub event_sources: Vec<Resource<EventSourceSpec>>,
    /// The Pipelines.
    pub pipelines: Vec<Resource<PipelineSpec>>,
    /// The Sinks.
    pub sinks: Vec<Resource<SinkSpec>>,
    /// The Secrets.
    pub secrets: Vec<Resource<SecretData>>,
    /// Resources that are there but broken: what refers to them is not to blame.
    pub(crate) broken: Vec<ResourceId>,
    /// Whether some file could not be read: what is in none of the others may be in that.
    pub(crate) incomplete: bool,
    /// Members that break their schema: nothing more is said of them.
    pub(crate) violated: Vec<(ResourceId, Path)>,
}

/// The values of a Secret. They are shown to nobody: `Debug` names the keys only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretData {
    /// Values by key.
    pub values: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.values.keys().map(|key| (key, "***")))
            .finish()
    }
}

impl<T> Resource<T> {
    /// A resource that did not come from a file.
    pub fn new(kind: &str, namespace: &str, name: &str, spec: T) -> Self {
        let id = ResourceId {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Self {
            id,
            spec,
            revision: None,
            document: None,
        }
    }

    /// What problems of this resource are reported against.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            id: self.id.clone(),
            document: self.document.clone(),
            part: None,
        }
    }
}

impl<T: Serialize> Resource<T> {
    /// An error at a member of the spec, which stands at `path` below it.
    pub fn error_at(
        &self,
        path: &[tidewheel_crds::Segment],
        code: Code,
        message: impl Into<String>,
    ) -> Problem {
        let mut member = member!["spec"];
        member.extend(path.iter().map(document::segment));
        let problem = self.subject().error(&member, code, message);
        let spec = serde_json::to_value(&self.spec).unwrap_or_default();
        Problem {
            part: document::part(path, &spec),
            ..problem
        }
    }
}

impl ResourceSet {
    /// An EventSource by namespace and name.
    pub fn event_source(&self, namespace: &str, name: &str) -> Option<&Resource<EventSourceSpec>> {
        find(&self.event_sources, namespace, name)
    }

    /// A Pipeline by namespace and name.
    pub fn pipeline(&self, namespace: &str, name: &str) -> Option<&Resource<PipelineSpec>> {
        find(&self.pipelines, namespace, name)
    }

    /// A Sink by namespace and name.
    pub fn sink(&self, namespace: &str, name: &str) -> Option<&Resource<SinkSpec>> {
        find(&self.sinks, namespace, name)
    }

    /// A Secret by namespace and name.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Resource<SecretData>> {
        find(&self.secrets, namespace, name)
    }

    /// Whether the schema of its kind says already that the member, or what it is in, is wrong.
    pub(crate) fn is_violated(&self, problem: &Problem) -> bool {
        let field = problem.field.as_deref().unwrap_or_default();
        let within = |path: &Path| {
            let path = path_text(path);
            // What is wrong with the spec as a whole says nothing about its members.
            path.len() > "spec".len()
                && field
                    .strip_prefix(path.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.violated
            .iter()
            .any(|(id, path)| problem.resource.as_ref() == Some(id) && within(path))
    }

    /// Whether a resource that is not in the set may be there all the same, and what is wrong with it was said.
    pub(crate) fn is_broken(&self, kind: &str, namespace: &str, name: &str) -> bool {
        let is = |id: &ResourceId| id.kind == kind && id.namespace == namespace && id.name == name;
        self.incomplete || self.broken.iter().any(is)
    }

    /// Every EventSource, broken ones too.
    pub(crate) fn event_source_ids(&self) -> Vec<&ResourceId> {
        let whole = self.event_sources.iter().map(|source| &source.id);
        whole.chain(self.broken_of("EventSource")).collect()
    }

    /// Every Sink, broken ones too.
    pub(crate) fn sink_ids(&self) -> Vec<&ResourceId> {
        let whole = self.sinks.iter().map(|sink| &sink.id);
        whole.chain(self.broken_of("Sink")).collect()
    }

    fn broken_of(&self, kind: &str) -> impl Iterator<Item = &ResourceId> {
        let named = self.broken.iter().filter(|id| !id.name.is_empty());
        named.filter(move |id| id.kind == kind)
    }
}

fn find<'a, T>(
    resources: &'a [Resource<T>],
    namespace: &str,
    name: &str,
) -> Option<&'a Resource<T>> {
    resources
        .iter()
        .find(|r| r.id.namespace == namespace && r.id.name == name)
}

/// What a problem is reported against: a resource, and perhaps a part of it.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) id: ResourceId,
    pub(crate) document: Option<Arc<Document>>,
    pub(crate) part: Option<String>,
}

/// A path to a member of a resource.
pub(crate) type Path = Vec<Segment>;

/// The path of `segments`: names, and indices as numbers.
macro_rules! member {
    ($($segment:expr),* $(,)?) => {
        $crate::resource::path([$($crate::load::positions::Segment::from($segment)),*])
    };
}
pub(crate) use member;

/// A path of these segments.
pub(crate) fn path<const N: usize>(segments: [Segment; N]) -> Path {
    Path::from(segments)
}

impl Subject {
    /// The same, for a part such as "step `kpi`".
    pub(crate) fn part(&self, kind: &str, name: &str) -> Self {
        Self {
            part: Some(format!("{kind} `{name}`")),
            ..self.clone()
        }
    }

    /// An error at the value of a member.
    pub(crate) fn error(
        &self,
        path: &[Segment],
        code: Code,
        message: impl Into<String>,
    ) -> Problem {
        let place = self.place(|document| document.value(path));
        self.problem(path, code, message.into(), place)
    }

    /// An error at the name of a member, or its value where it has no name.
    pub(crate) fn error_at_key(
        &self,
        path: &[Segment],
        code: Code,
        message: impl Into<String>,
    ) -> Problem {
        let place = self.place(|document| document.key(path));
        self.problem(path, code, message.into(), place)
    }

    /// An error within the text of a member: `line` and `column` from 1, within the text.
    pub(crate) fn error_within(
        &self,
        path: &[Segment],
        text: &str,
        span: Option<TextSpan>,
        code: Code,
        message: String,
    ) -> Problem {
        let place = match (&self.document, span) {
            (Some(document), Some(span)) => document
                .within(path, text, span)
                .or_else(|| document.value(path)),
            (Some(document), None) => document.value(path),
            (None, Some(span)) => text.lines().nth(span.line - 1).map(|line| Place {
                file: None,
                line: span.line,
                column: span.column,
                length: span.length,
                text: line.to_owned(),
            }),
            (None, None) => None,
        };
        self.problem(path, code, message, place)
    }

    fn place(&self, find: impl FnOnce(&Document) -> Option<Place>) -> Option<Place> {
        find(self.document.as_deref()?)
    }

    fn problem(
        &self,
        path: &[Segment],
        code: Code,
        message: String,
        place: Option<Place>,
    ) -> Problem {
        let field = path_text(path);
        Problem {
            severity: Severity::Error,
            code,
            message,
            help: None,
            resource: Some(self.id.clone()),
            part: self.part.clone(),
            field: (!field.is_empty()).then_some(field),
            place,
        }
    }
}

/// A stretch of a text: line and column from 1, length in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextSpan {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) length: usize,
}

impl Problem {
    /// The same, with what to write instead.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
