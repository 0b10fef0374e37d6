//! Reads resources from YAML.
//!
//! Files hold any number of documents; folders are read with all below them. What is wrong in one document keeps none of the others from being judged.
mod document;
mod files;
pub(crate) mod positions;
mod secret;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::problem::{Code, Place, Problem, Severity};
use crate::resource::{ResourceId, ResourceSet};
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
                Err(problem) => loader.loaded.problems.push(problem),
            }),
            Err(problem) => loader.loaded.problems.push(problem),
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

    fn finish(self) -> Loaded {
        self.loaded
    }
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
