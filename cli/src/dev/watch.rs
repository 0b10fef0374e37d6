//! Tells when the files have changed.
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::failure::Failure;

/// An editor writes a file in several steps; they are looked at together.
const SETTLE: Duration = Duration::from_millis(200);

/// Watches files and folders.
pub(crate) struct Changes {
    changed: mpsc::Receiver<()>,
    /// When what has changed is to be looked at.
    settles_at: Option<Instant>,
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
            settles_at: None,
            _watcher: watcher,
        })
    }

    /// Returns once something has changed and settled. Cancel-safe: a change that was seen is remembered until it is told.
    pub(crate) async fn next(&mut self) {
        loop {
            match self.settles_at {
                None => match self.changed.recv().await {
                    Some(()) => self.settles_at = Some(Instant::now() + SETTLE),
                    None => return std::future::pending().await,
                },
                Some(settles_at) => match timeout_at(settles_at, self.changed.recv()).await {
                    Ok(Some(())) => self.settles_at = Some(Instant::now() + SETTLE),
                    Ok(None) | Err(_) => {
                        self.settles_at = None;
                        return;
                    }
                },
            }
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_told_however_often_the_wait_for_it_is_cut_short() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, "a: 1").unwrap();
        let mut changes = Changes::watch(&[folder.path().to_path_buf()]).unwrap();
        std::fs::write(&file, "a: 2").unwrap();
        let told = async {
            loop {
                let short = SETTLE / 4;
                if tokio::time::timeout(short, changes.next()).await.is_ok() {
                    return;
                }
            }
        };
        let patience = Duration::from_secs(60);
        tokio::time::timeout(patience, told).await.unwrap();
    }
}
