//! Putting a cluster away, in whatever state it is.
//!
//! Its processes are in cgroups of its own; its mounts, bridges, addresses and rules are in namespaces that end with the last
//! process in them. So there are three things to do: end the processes, remove the cgroups, remove the folder. What kind has made
//! belongs to the Docker engine, and goes first: the folder is what is known of it.
use std::{io::ErrorKind, path::Path, time::Duration};

use crate::cluster::{
    cgroups, claim,
    error::{ClusterError, io_at},
    kind,
    place::Place,
};

/// How often removing the folder is tried: whoever held the cluster may be removing it as well, and each finds files gone; servers
/// that lost their holder are just ending, and each write makes another file.
const ATTEMPTS: u32 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Leaves nothing of a cluster, whoever made it. There may be none.
///
/// # Errors
/// [`ClusterError::Failed`] where processes do not end, [`ClusterError::Io`] where something cannot be removed.
pub fn put_away(place: &Place) -> Result<(), ClusterError> {
    claim::end_holder(place)?;
    remove(place)
}

/// Leaves nothing of clusters whose holder has ended without doing so; returns their names. One by kind stays while its Docker engine
/// is out of reach.
///
/// # Errors
/// As [`put_away`].
pub fn put_away_abandoned() -> Result<Vec<String>, ClusterError> {
    let mut names = Vec::new();
    for place in Place::all()? {
        if claim::is_held(&place)? {
            continue;
        }
        // Asked before: whoever puts it away at the same time may have done so by the time this fails.
        let is_by_kind = kind::has_made(&place);
        match remove(&place) {
            // Whoever puts it away by its name is told why the Docker engine does not.
            Err(_) if is_by_kind => {}
            removed => {
                removed?;
                names.push(place.name().to_owned());
            }
        }
    }
    Ok(names)
}

/// What [`put_away`] does beyond ending the holder.
pub(crate) fn remove(place: &Place) -> Result<(), ClusterError> {
    kind::remove(place)?;
    cgroups::remove(place)?;
    remove_folder(&place.folder())?;
    // Others may have clusters in the first, and other things in the second.
    for folder in place.all_folders().ancestors().take(2) {
        let _ = std::fs::remove_dir(folder);
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<(), ClusterError> {
    let mut attempt = 1;
    loop {
        match std::fs::remove_dir_all(folder) {
            Ok(()) => return Ok(()),
            Err(_) if !folder.exists() => return Ok(()),
            Err(error) if attempt == ATTEMPTS || error.kind() == ErrorKind::PermissionDenied => {
                return Err(io_at("removing", folder)(error));
            }
            Err(_) => {
                attempt += 1;
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }
}
