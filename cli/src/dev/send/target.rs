//! What `--send` names: a file, and the source that it is for.
use std::path::{Path, PathBuf};

use tidewheel_ingest::Source;

use crate::failure::Failure;

/// A file for a source.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) source: Source,
    pub(crate) path: PathBuf,
    /// Which `--send` it is, from 0.
    pub(crate) number: usize,
    /// Names the file in the log, so that a later run goes on with the same one.
    pub(crate) identity: String,
}

impl Target {
    /// Reads all `--send` arguments.
    pub(crate) fn parse_all(
        arguments: &[String],
        sources: &[Source],
    ) -> Result<Vec<Self>, Failure> {
        arguments
            .iter()
            .enumerate()
            .map(|(number, argument)| Self::parse(argument, number, sources))
            .collect()
    }

    /// The id under which its events and its position are written together.
    pub(crate) fn transactional_id(&self) -> String {
        format!("dev.send.{}", self.number)
    }

    fn parse(argument: &str, number: usize, sources: &[Source]) -> Result<Self, Failure> {
        // A file may have `=` in its name.
        let (name, file) = match argument.split_once('=') {
            Some((name, file)) if !Path::new(argument).exists() => (Some(name), file),
            _ => (None, argument),
        };
        let source = find(name, sources)?.clone();
        let path = PathBuf::from(file);
        let unreadable = |error: std::io::Error| {
            Failure::usage(
                format!(
                    "--send {argument}: {} cannot be read: {error}",
                    path.display()
                ),
                "check the path",
            )
        };
        let canonical = path.canonicalize().map_err(unreadable)?;
        let metadata = canonical.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(Failure::usage(
                format!("--send {argument}: {} is a folder", path.display()),
                "name one file; --send may be given several times",
            ));
        }
        let place = (
            number,
            source.full_name(),
            canonical.display().to_string(),
            metadata.len(),
        );
        let identity = serde_json::to_string(&place).unwrap_or_default();
        Ok(Self {
            source,
            path,
            number,
            identity,
        })
    }
}

fn find<'a>(name: Option<&str>, sources: &'a [Source]) -> Result<&'a Source, Failure> {
    let labels = sources
        .iter()
        .map(Source::full_name)
        .collect::<Vec<_>>()
        .join(", ");
    let Some(name) = name else {
        return match sources {
            [only] => Ok(only),
            [] => Err(Failure::usage(
                "--send: no EventSource takes events",
                "give one `http: {}`, or `kafka` with a topic",
            )),
            _ => Err(Failure::usage(
                "--send: there are several EventSources",
                format!("say which: --send SOURCE=FILE with one of {labels}"),
            )),
        };
    };
    let found: Vec<&Source> = sources
        .iter()
        .filter(|source| source.name == name || source.full_name() == name)
        .collect();
    match found.as_slice() {
        [source] => Ok(source),
        [] => Err(Failure::usage(
            format!("--send: there is no EventSource `{name}` with `http` or `kafka`"),
            format!("there are: {labels}"),
        )),
        _ => Err(Failure::usage(
            format!("--send: several EventSources are called `{name}`"),
            format!("say which, with its namespace: {labels}"),
        )),
    }
}
