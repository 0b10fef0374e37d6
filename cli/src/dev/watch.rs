//! Tells when the files have changed.
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::failure::Failure;

/// An editor writes a file in several steps; they are looked at together.
const SETTLE: Duration = Duration::from_millis(200);

/// Watches files and folders.
pub(crate) struct Changes {
    changed: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Changes {
    /// Watches `paths`: files by the folders that they are in, since editors put new files in their place.
    pub(crate) fn watch(paths: &[PathBuf]) -> Result<Self, Failure> {
        let (told, changed) = mpsc::channel(1);
        let watched: Vec<PathBuf> = paths
            .iter()
            .map(|path| path.canonicalize())
            .collect::<Result<_, _>>()?;
        let cannot =
            |error: notify::Error| Failure::Run(format!("the files cannot be watched: {error}"));
        let ours = watched.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let Ok(event) = event else { return };
            let is_change =
                !event.kind.is_access() && event.paths.iter().any(|path| concerns(&ours, path));
            if is_change {
                // Full means that a change is waiting to be looked at already.
                let _ = told.try_send(());
            }
        })
        .map_err(cannot)?;
        for path in &watched {
            let (folder, mode) = match path.parent() {
                Some(parent) if !path.is_dir() => (parent, RecursiveMode::NonRecursive),
                _ => (path.as_path(), RecursiveMode::Recursive),
            };
            watcher.watch(folder, mode).map_err(cannot)?;
        }
        Ok(Self {
            changed,
            _watcher: watcher,
        })
    }

    /// Returns once something has changed and settled. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        if self.changed.recv().await.is_none() {
            return std::future::pending().await;
        }
        while tokio::time::timeout(SETTLE, self.changed.recv())
            .await
            .is_ok_and(|told| told.is_some())
        {}
    }
}

fn concerns(watched: &[PathBuf], path: &Path) -> bool {
    let is_yaml = path
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml");
    watched
        .iter()
        .any(|watched| path == watched || is_yaml && path.starts_with(watched))
}
