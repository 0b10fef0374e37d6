//! Who holds a cluster: the process that has the lock on a file in its folder, which the kernel takes from it when it ends.
use std::{
    fs::{File, TryLockError},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

use crate::cluster::{
    error::{ClusterError, io, io_at},
    place::Place,
    run::{make_folder, run},
};

/// How often a claim is tried: whoever puts the last other cluster away removes the folder above all of them.
const ATTEMPTS: u32 = 10;

/// The claim of this process on a cluster's name. Given up when it is dropped.
pub(crate) struct Claim {
    _lock: File,
}

impl Claim {
    /// Makes the cluster's folder, held by this process from its first moment.
    pub(crate) fn new(place: &Place) -> Result<Self, ClusterError> {
        let mut attempt = 1;
        loop {
            match Self::attempt(place) {
                Err(ClusterError::Io { error, .. })
                    if error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn attempt(place: &Place) -> Result<Self, ClusterError> {
        make_folder(place.all_folders())?;
        // No cluster's name has a dot, so that nobody takes this for one that was abandoned.
        let fresh = format!(".{}.{}", place.name(), std::process::id());
        let fresh = place.all_folders().join(fresh);
        std::fs::create_dir(&fresh).map_err(io_at("making", &fresh))?;
        let made = Self::lock(&fresh).and_then(|claim| {
            let renamed = std::fs::rename(&fresh, place.folder());
            renamed.map(|()| claim).map_err(|error| match error.kind() {
                ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => ClusterError::Exists {
                    name: place.name().to_owned(),
                },
                _ => io_at("making", &place.folder())(error),
            })
        });
        if made.is_err() {
            let _ = std::fs::remove_dir_all(&fresh);
        }
        made
    }

    fn lock(folder: &Path) -> Result<Self, ClusterError> {
        let path = lock_file(folder);
        let mut lock = File::create(&path).map_err(io_at("making", &path))?;
        lock.lock().map_err(io_at("locking", &path))?;
        write!(lock, "{}", std::process::id()).map_err(io_at("writing", &path))?;
        Ok(Self { _lock: lock })
    }
}

/// Whether a process holds the cluster.
pub(crate) fn is_held(place: &Place) -> Result<bool, ClusterError> {
    let path = lock_file(&place.folder());
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_at("opening", &path)(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(io_at("locking", &path)(error)),
    }
}

/// Kills whoever holds the cluster and waits until it is not held any more.
pub(crate) fn end_holder(place: &Place) -> Result<(), ClusterError> {
    if !is_held(place)? {
        return Ok(());
    }
    let path = lock_file(&place.folder());
    let holder = std::fs::read_to_string(&path).map_err(io_at("reading", &path))?;
    match run(
        Command::new("kill").args(["-KILL", &holder]),
        "ending the cluster's holder",
    ) {
        // It has ended since.
        Err(ClusterError::Failed { .. }) => {}
        result => drop(result?),
    }
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file.map_err(io("waiting for the cluster's holder to end"))?,
    };
    file.lock().map_err(io_at("locking", &path))
}

fn lock_file(folder: &Path) -> PathBuf {
    folder.join("lock")
}
