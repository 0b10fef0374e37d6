//! From a YAML document to a resource.
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidewheel_crds::{
    GROUP, Kind, VERSION, Violation, admitted, name_violation, remainder, violations,
};

use crate::load::positions::{Document, Segment, SourceFile, documents, last_alias, place_in};
use crate::load::{Loader, file_problem, secret};
use crate::nearest::did_you_mean;
use crate::problem::{Code, Place, Problem, Severity};
use crate::resource::{Resource, ResourceId, Subject, member};

/// Namespace of resources that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// Reads all documents of a file.
pub(super) fn read_file(file: &Arc<SourceFile>, loader: &mut Loader) {
    let positions = match documents(file) {
        Ok(found) => found.into_iter().filter(|document| !document.is_null()),
        Err(e) => {
            let place = unreadable_place(file, e.marker().line(), e.marker().col() + 1);
            loader.unreadable(syntax_error(e.info(), place));
            return;
        }
    };
    let positions: Vec<Document> = positions.collect();
    let twice = positions.iter().find_map(Document::duplicate);
    if let Some((name, place)) = twice {
        let message = format!("the member `{name}` is written twice");
        let problem = syntax_error(&message, place.map(|place| without_text(file, place)));
        loader.unreadable(problem.help("remove one of them"));
        return;
    }
    let values = match values(file) {
        Ok(values) => values,
        Err(problem) => {
            loader.unreadable(*problem);
            return;
        }
    };
    for (document, value) in positions.into_iter().zip(values) {
        read_document(Some(Arc::new(document)), &value, loader);
    }
}

fn values(file: &SourceFile) -> Result<Vec<Value>, Box<Problem>> {
    let mut values = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&file.text) {
        let value = serde_yaml::Value::deserialize(document).map_err(|e| {
            let text = e.to_string();
            if text.contains("repetition limit") {
                return Box::new(grows_without_end(file));
            }
            let place = e
                .location()
                .and_then(|at| unreadable_place(file, at.line(), at.column()));
            Box::new(syntax_error(
                text.split(" at line ").next().unwrap_or(&text),
                place,
            ))
        })?;
        if value.is_null() {
            continue;
        }
        // Keys that are not text have no place in a resource; what remains is judged as null.
        values.push(serde_json::to_value(&value).unwrap_or(Value::Null));
    }
    Ok(values)
}

/// Aliases of lists of aliases: a few lines that stand for more than any memory holds.
fn grows_without_end(file: &SourceFile) -> Problem {
    let place = last_alias(file).map(|place| without_text(file, place));
    let message = "the aliases of this file stand for far more than it says";
    file_problem(Code::YamlSyntax, message.to_owned(), place)
        .help("write out what this alias stands for; resources need none")
}

/// A place in a file that is not YAML. Where it may hold a Secret, its text is not shown.
fn unreadable_place(file: &SourceFile, line: usize, column: usize) -> Option<Place> {
    place_in(file, line, column, 1).map(|place| without_text(file, place))
}

fn without_text(file: &SourceFile, mut place: Place) -> Place {
    if file.text.contains("Secret") {
        place.text = " ".repeat(place.column.saturating_sub(1));
    }
    place
}

fn syntax_error(message: &str, place: Option<Place>) -> Problem {
    file_problem(
        Code::YamlSyntax,
        format!("this is not YAML: {message}"),
        place,
    )
    .help(if message.contains("mapping values are not allowed") {
        "put a text that holds `: ` in quotes, or below `|` on lines of its own"
    } else {
        "check indentation, quotes and colons near this place"
    })
}

/// Reads one document; `document` says where its members stand, where it came from a file.
pub(super) fn read_document(document: Option<Arc<Document>>, value: &Value, loader: &mut Loader) {
    let text = |path: &[&str]| {
        path.iter()
            .try_fold(value, |v, key| v.get(key))
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let kind = text(&["kind"]).unwrap_or_default();
    let (name, namespace) = (
        text(&["metadata", "name"]),
        text(&["metadata", "namespace"]),
    );
    let id = ResourceId {
        kind: kind.to_owned(),
        namespace: namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned(),
        name: name.unwrap_or_default().to_owned(),
    };
    let subject = Subject {
        id: id.clone(),
        document: document.clone(),
        part: None,
    };
    let Some(api_version) = text(&["apiVersion"]).filter(|_| !kind.is_empty()) else {
        let place = document.and_then(|document| document.value(&[]));
        let problem = file_problem(
            Code::NotAResource,
            "this document has no `apiVersion` and `kind`".to_owned(),
            place,
        );
        loader.loaded.problems.push(problem.help(format!(
            "write `apiVersion: {GROUP}/{VERSION}` and `kind: Pipeline`, `EventSource` or `Sink`"
        )));
        return;
    };
    let known = Kind::ALL.into_iter().find(|k| k.as_str() == kind);
    let ours = api_version.split('/').next() == Some(GROUP);
    match known {
        Some(known) if ours => {
            if api_version != format!("{GROUP}/{VERSION}") {
                let message = format!("`{api_version}` is not a version of this API");
                let problem = subject.error(&member!["apiVersion"], Code::NotAResource, message);
                let problem = problem.help(format!("write `{GROUP}/{VERSION}`"));
                loader.broken(&subject, vec![problem]);
                return;
            }
            if !loader.claim(&subject) {
                return;
            }
            read_spec(known, &subject, value, loader);
        }
        None if ours => {
            let kinds = Kind::ALL.map(Kind::as_str);
            let message = format!("there is no kind `{kind}` in {GROUP}");
            let near = did_you_mean(kind, kinds)
                .unwrap_or_else(|| "the kinds are `EventSource`, `Pipeline` and `Sink`".to_owned());
            loader.loaded.problems.push(
                subject
                    .error(&member!["kind"], Code::NotAResource, message)
                    .help(near),
            );
        }
        _ if kind == "Secret" && api_version == "v1" => {
            if loader.claim(&subject) {
                match secret::read(value, &subject) {
                    Ok(data) => loader
                        .loaded
                        .set
                        .secrets
                        .push(resource(&subject, value, data)),
                    Err(problems) => loader.broken(&subject, problems),
                }
            }
        }
        _ => {
            let message = format!("{kind} of `{api_version}` is not read: it is left alone");
            let told_by = if known.is_some() {
                "apiVersion"
            } else {
                "kind"
            };
            let problem = subject.error(&member![told_by], Code::IgnoredKind, message);
            let meant = known.map(|_| format!("did you mean `apiVersion: {GROUP}/{VERSION}`?"));
            loader.loaded.problems.push(Problem {
                severity: Severity::Warning,
                help: meant,
                ..problem
            });
        }
    }
}

fn read_spec(kind: Kind, subject: &Subject, value: &Value, loader: &mut Loader) {
    let missing = Value::Object(serde_json::Map::new());
    let spec = value.get("spec").unwrap_or(&missing);
    let mut problems = Vec::new();
    let name = value
        .get("metadata")
        .and_then(|metadata| metadata.get("name"));
    if let Some(name) = name.filter(|name| !name.is_string() && !name.is_null()) {
        let message = format!("the name of a resource is a text, and `{name}` is none");
        let problem = subject.error(&member!["metadata", "name"], Code::InvalidField, message);
        problems.push(problem.help(format!("write it in quotes: `name: \"{name}\"`")));
    } else if subject.id.name.is_empty() {
        let problem = subject.error(
            &member!["metadata"],
            Code::InvalidField,
            "the resource has no name",
        );
        problems.push(problem.help("write `metadata: {name: ...}`"));
    } else if let Some(message) = name_violation(&subject.id.name) {
        problems.push(subject.error(&member!["metadata", "name"], Code::InvalidField, message));
    }
    for field in value.as_object().into_iter().flat_map(|o| o.keys()) {
        if !["apiVersion", "kind", "metadata", "spec", "status"].contains(&field.as_str()) {
            let message = format!("unknown field `{field}`");
            let problem =
                subject.error_at_key(&member![field.as_str()], Code::InvalidField, message);
            problems.push(problem.help("the fields of a resource are below `spec`"));
        }
    }
    let mut violated = Vec::new();
    let found = violations(kind, spec, None);
    for violation in &found {
        let mut path = member!["spec"];
        path.extend(violation.path.iter().map(segment));
        let problem = if violation.code == tidewheel_crds::Code::UnknownField {
            subject.error_at_key(&path, Code::InvalidField, &violation.message)
        } else {
            subject.error(&path, Code::InvalidField, &violation.message)
        };
        let part = part(&violation.path, spec);
        let help = help_of(violation).map(str::to_owned);
        problems.push(Problem {
            part,
            help,
            ..problem
        });
        violated.push(path);
    }
    let set = &mut loader.loaded.set;
    let read = match kind {
        Kind::EventSource => typed(kind, spec, &found)
            .map(|spec| set.event_sources.push(resource(subject, value, spec))),
        Kind::Pipeline => {
            typed(kind, spec, &found).map(|spec| set.pipelines.push(resource(subject, value, spec)))
        }
        Kind::Sink => {
            typed(kind, spec, &found).map(|spec| set.sinks.push(resource(subject, value, spec)))
        }
    };
    if let Err(message) = read {
        if problems.is_empty() {
            problems.push(subject.error(&member!["spec"], Code::InvalidField, message));
        }
        set.broken.push(subject.id.clone());
    }
    set.violated
        .extend(violated.into_iter().map(|path| (subject.id.clone(), path)));
    loader.loaded.problems.extend(problems);
}

/// What to write in place of a field that people look for and that is not there.
fn help_of(violation: &Violation) -> Option<&'static str> {
    let is_of_kafka = matches!(
        violation.path.first(),
        Some(tidewheel_crds::Segment::Field(name)) if name == "kafka"
    );
    (is_of_kafka && violation.code == tidewheel_crds::Code::UnknownField).then_some(
        "topics are on the cluster that the pipelines run on, where they are part of its transactions: copy them from or to another cluster with \
         a tool made for that, such as MirrorMaker",
    )
}

/// The spec, or what is left of it without its violations: the rest can be judged all the same.
fn typed<T: DeserializeOwned>(kind: Kind, spec: &Value, found: &[Violation]) -> Result<T, String> {
    T::deserialize(admitted(kind, spec)).or_else(|e| {
        let rest = remainder(kind, spec, found).ok_or_else(|| e.to_string())?;
        T::deserialize(rest).map_err(|_| e.to_string())
    })
}

pub(crate) fn segment(segment: &tidewheel_crds::Segment) -> Segment {
    match segment {
        tidewheel_crds::Segment::Field(name) => Segment::Key(name.clone()),
        tidewheel_crds::Segment::Index(index) => Segment::Index(*index),
    }
}

/// "step `kpi`" for a path below `steps[1]`.
/// The step, output or source that a path of the spec is in.
pub(crate) fn part(path: &[tidewheel_crds::Segment], spec: &Value) -> Option<String> {
    let [
        tidewheel_crds::Segment::Field(list),
        tidewheel_crds::Segment::Index(index),
        ..,
    ] = path
    else {
        return None;
    };
    let kind = match list.as_str() {
        "steps" => "step",
        "outputs" => "output",
        "sources" => "source",
        _ => return None,
    };
    let name = spec.get(list)?.get(index)?.get("name")?.as_str()?;
    Some(format!("{kind} `{name}`"))
}

fn resource<T>(subject: &Subject, value: &Value, spec: T) -> Resource<T> {
    Resource {
        id: subject.id.clone(),
        spec,
        revision: value
            .pointer("/metadata/generation")
            .and_then(Value::as_i64),
        document: subject.document.clone(),
    }
}

impl Loader {
    /// Whether the resource is the first of its kind, namespace and name; otherwise both places are reported.
    fn claim(&mut self, subject: &Subject) -> bool {
        let path = member!["metadata", "name"];
        let place = subject.document.as_ref().and_then(|d| d.value(&path));
        let Some(first) = self.seen.get(&subject.id) else {
            self.seen.insert(subject.id.clone(), place);
            return true;
        };
        let at = first.as_ref().map_or(String::new(), |p| {
            format!(" at {}:{}", p.file.as_deref().unwrap_or("?"), p.line)
        });
        let message = format!("{} is defined twice, first{at}", subject.id);
        let problem = subject.error(&path, Code::DuplicateResource, message);
        self.loaded
            .problems
            .push(problem.help("rename one of them, or remove it"));
        false
    }

    fn broken(&mut self, subject: &Subject, problems: Vec<Problem>) {
        self.loaded.set.broken.push(subject.id.clone());
        self.loaded.problems.extend(problems);
    }
}
