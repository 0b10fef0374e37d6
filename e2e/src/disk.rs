//! A disk that is soon full.
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::server::{ServerError, io};

/// A file system in memory, of a given size. Unmounted when it is dropped.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts a disk of so many bytes; none where the system does not let us mount anything.
    ///
    /// # Errors
    /// [`ServerError::Io`] where there is no folder to be had, or no `mount`.
    pub fn mount(size_bytes: usize) -> Result<Option<Self>, ServerError> {
        let folder = tempfile::Builder::new()
            .prefix("tidewheel-disk-")
            .tempdir()
            .map_err(io("making a folder for a disk"))?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={size_bytes},mode=755"))
            .arg("tidewheel-test-disk")
            .arg(folder.path())
            .stderr(Stdio::null())
            .status()
            .map_err(io("mounting a disk"))?;
        Ok(mounted.success().then_some(Self { folder }))
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a folder on it.
    ///
    /// # Errors
    /// [`ServerError::Io`] where the system refuses.
    pub fn folder(&self, name: &str) -> Result<PathBuf, ServerError> {
        let folder = self.path().join(name);
        std::fs::create_dir(&folder).map_err(io("making a folder on a disk"))?;
        Ok(folder)
    }

    /// Takes all room that is left.
    ///
    /// # Errors
    /// [`ServerError::Io`] where something else than the lack of room ends it.
    pub fn fill(&mut self) -> Result<(), ServerError> {
        let mut file = File::create(self.ballast()).map_err(io("making a file on a disk"))?;
        // In pages, so that not even one is left.
        let page = [0; 4096];
        loop {
            match file.write_all(&page) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(io("filling a disk")(error)),
            }
        }
    }

    /// Gives back what was taken.
    ///
    /// # Errors
    /// [`ServerError::Io`] where nothing was taken, or the system refuses.
    pub fn make_room(&mut self) -> Result<(), ServerError> {
        std::fs::remove_file(self.ballast()).map_err(io("making room on a disk"))
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server may have files open on it, and goes later.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
