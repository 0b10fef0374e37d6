//! What kept data were made under: the EventSources that filled the log, so that a later run cannot change their meaning.
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidewheel_crds::EventSourceSpec;
use tidewheel_planner::resource::Resource;

use crate::failure::Failure;

const VERSION: u32 = 1;

/// The file that names them; none where nothing is kept.
pub(crate) struct KeptSources {
    file: Option<PathBuf>,
    by_name: BTreeMap<String, Kept>,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    sources: BTreeMap<String, Kept>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    namespace: String,
    name: String,
    spec: EventSourceSpec,
}

impl KeptSources {
    /// Reads what a run before this one has left in `folder`.
    pub(crate) fn read(folder: Option<&Path>) -> Result<Self, Failure> {
        let file = folder.map(|folder| folder.join("sources.json"));
        let text = match file.as_deref().map(std::fs::read) {
            None => None,
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Some(text) => Some(text?),
        };
        let Some(text) = text else {
            return Ok(Self {
                file,
                by_name: BTreeMap::new(),
            });
        };
        match serde_json::from_slice::<File>(&text) {
            Ok(File {
                version: VERSION,
                sources,
            }) => Ok(Self {
                file,
                by_name: sources,
            }),
            unknown => {
                let reason = unknown
                    .err()
                    .map_or("another version".to_owned(), |error| error.to_string());
                let file = file.unwrap_or_default();
                Err(Failure::usage(
                    format!("{} cannot be read: {reason}", file.display()),
                    "give --data a folder that this build has made",
                ))
            }
        }
    }

    /// The EventSources as they were.
    pub(crate) fn resources(&self) -> Vec<Resource<EventSourceSpec>> {
        let resource = |kept: &Kept| {
            Resource::new(
                "EventSource",
                &kept.namespace,
                &kept.name,
                kept.spec.clone(),
            )
        };
        self.by_name.values().map(resource).collect()
    }

    /// Takes over what they are now. Those that are no longer there stay: so do their events.
    pub(crate) fn update(&mut self, sources: &[Resource<EventSourceSpec>]) -> io::Result<()> {
        for source in sources {
            let (namespace, name) = (source.id.namespace.clone(), source.id.name.clone());
            self.by_name.insert(
                format!("{namespace}/{name}"),
                Kept {
                    namespace,
                    name,
                    spec: source.spec.clone(),
                },
            );
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        // All of it or nothing, whenever the process ends.
        let new = file.with_extension("json.new");
        std::fs::write(
            &new,
            serde_json::to_vec_pretty(&File {
                version: VERSION,
                sources: self.by_name.clone(),
            })?,
        )?;
        std::fs::rename(&new, file)
    }
}
