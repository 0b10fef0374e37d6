//! Reads resources from YAML.
//!
//! Files hold any number of documents; folders are read with all below them. What is wrong in one document keeps none of the others from being judged.
pub(crate) mod document;
mod files;
pub(crate) mod positions;
mod secret;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tidewheel_crds::EventSourceSpec;

use crate::problem::{Code, Place, Problem, Severity};
use crate::resource::{Resource, ResourceId, ResourceSet, member};
use positions::SourceFile;

/// What was read, and what is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The resources that could be read.
    pub set: ResourceSet,
    /// What is wrong; also what is merely odd.
    pub problems: Vec<Problem>,
}

/// Reads files and folders (`*.yaml` and `*.yml`, sorted by path).
///
/// What cannot be read is among the problems.
pub fn load(paths: &[PathBuf]) -> Loaded {
    let mut loader = Loader::default();
    for path in paths {
        match files::find(path) {
            Ok(found) => found.iter().for_each(|file| match files::read(file) {
                Ok(text) => loader.file(&file.display().to_string(), text),
                Err(problem) => loader.unreadable(*problem),
            }),
            Err(problem) => loader.unreadable(*problem),
        }
    }
    loader.finish()
}

/// Reads texts, each with the name of its file.
pub fn load_texts<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Loaded {
    let mut loader = Loader::default();
    for (name, text) in texts {
        loader.file(name, text.to_owned());
    }
    loader.finish()
}

/// Reads resources as an API server has them. There are no files: the places of problems are counted within their SQL.
pub fn load_values<'a>(values: impl IntoIterator<Item = &'a serde_json::Value>) -> Loaded {
    let mut loader = Loader::default();
    for value in values {
        document::read_document(None, value, &mut loader);
    }
    loader.finish()
}

/// Collects what the files hold.
#[derive(Default)]
struct Loader {
    loaded: Loaded,
    /// Where each resource was defined first.
    seen: HashMap<ResourceId, Option<Place>>,
}

impl Loader {
    fn file(&mut self, name: &str, text: String) {
        // A byte order mark is no part of YAML's text.
        let text = text
            .strip_prefix('\u{feff}')
            .map(str::to_owned)
            .unwrap_or(text);
        let file = Arc::new(SourceFile {
            name: name.to_owned(),
            text,
        });
        document::read_file(&file, self);
    }

    /// A file of which nothing is known.
    fn unreadable(&mut self, problem: Problem) {
        self.loaded.set.incomplete = true;
        self.loaded.problems.push(problem);
    }

    fn finish(mut self) -> Loaded {
        let set = &self.loaded.set;
        let warnings: Vec<Problem> = set
            .event_sources
            .iter()
            .flat_map(|source| [missing_keys(source, set), missing_access(source, set)])
            .flatten()
            .collect();
        self.loaded.problems.extend(warnings);
        self.loaded
    }
}

/// The Secret of an EventSource's keys may be in the cluster already; where it is nowhere, nobody can send.
fn missing_keys(source: &Resource<EventSourceSpec>, set: &ResourceSet) -> Option<Problem> {
    let name = &source
        .spec
        .http
        .as_ref()?
        .auth
        .as_ref()?
        .api_keys
        .secret_ref
        .name;
    let namespace = &source.id.namespace;
    if set.secret(namespace, name).is_some() || set.is_broken("Secret", namespace, name) {
        return None;
    }
    let path = member!["spec", "http", "auth", "apiKeys", "secretRef", "name"];
    let message = format!(
        "there is no Secret `{name}` in the namespace `{namespace}` among these files: no key would be accepted"
    );
    let problem = source.subject().error(&path, Code::UnknownSecret, message);
    let help = format!(
        "add `kind: Secret` with `metadata: {{name: {name}, namespace: {namespace}}}` and keys below `stringData`"
    );
    Some(Problem {
        severity: Severity::Warning,
        ..problem.help(help)
    })
}

/// The Secret of a schema registry may be in the cluster already as well; where it is nowhere, workers cannot ask for schemas.
fn missing_access(source: &Resource<EventSourceSpec>, set: &ResourceSet) -> Option<Problem> {
    let registry = source.spec.kafka.as_ref()?.schema_registry.as_ref()?;
    let (namespace, name) = (&source.id.namespace, &registry.secret_ref.as_ref()?.name);
    if set.secret(namespace, name).is_some() || set.is_broken("Secret", namespace, name) {
        return None;
    }
    let path = member!["spec", "kafka", "schemaRegistry", "secretRef", "name"];
    let message = format!(
        "there is no Secret `{name}` in the namespace `{namespace}` among these files: workers could not ask for schemas"
    );
    let problem = source.subject().error(&path, Code::UnknownSecret, message);
    let help = format!(
        "add `kind: Secret` with `metadata: {{name: {name}, namespace: {namespace}}}` and what the registry wants to be shown below `stringData`: `username` and `password`, `ca.crt`, or `tls.crt` and `tls.key`"
    );
    Some(Problem {
        severity: Severity::Warning,
        ..problem.help(help)
    })
}

/// A problem of a file as a whole.
pub(crate) fn file_problem(code: Code, message: String, place: Option<Place>) -> Problem {
    Problem {
        severity: Severity::Error,
        code,
        message,
        help: None,
        resource: None,
        part: None,
        field: None,
        place,
    }
}
