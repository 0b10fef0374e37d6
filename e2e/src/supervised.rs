//! A server in a folder of its own: started, stopped, killed, held.
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    process::{self, Process},
    server::{ServerError, io},
    usage::Usage,
};

/// How long a server may take to answer, on a machine that has other things to do.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);
/// How long it may take to stop when it is told to.
const STOPS_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What the server prints, in its folder.
const LOG: &str = "server.log";
/// How often a start is tried: between choosing a free port and listening on it, somebody else may take it.
const ATTEMPTS: u32 = 3;

/// The server. When it is dropped, or the process that started it ends in whatever way, it is killed and its folder removed.
pub(crate) struct Supervised {
    name: &'static str,
    /// None while it is stopped. Dropped before the folder.
    process: Option<Process>,
    folder: Folder,
}

/// Where a server has its files.
enum Folder {
    /// Removed with the server.
    Own(TempDir),
    /// Removed by whoever gave it.
    Given(PathBuf),
}

impl Supervised {
    /// A server that does not run yet, called `name` in messages, with a new folder.
    pub(crate) fn new(name: &'static str, prefix: &str) -> Result<Self, ServerError> {
        let folder = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir()
            .map_err(io("making the server's folder"))?;
        Ok(Self {
            name,
            process: None,
            folder: Folder::Own(folder),
        })
    }

    /// A server that does not run yet, in a folder that is somebody else's to remove; made where it is not there.
    pub(crate) fn within(name: &'static str, folder: PathBuf) -> Result<Self, ServerError> {
        std::fs::create_dir_all(&folder).map_err(io("making the server's folder"))?;
        Ok(Self {
            name,
            process: None,
            folder: Folder::Given(folder),
        })
    }

    /// Tries to start a server a few times.
    pub(crate) fn attempt<S>(start: impl Fn() -> Result<S, ServerError>) -> Result<S, ServerError> {
        let mut attempt = 1;
        loop {
            match start() {
                Err(ServerError::Server { .. }) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        match &self.folder {
            Folder::Own(folder) => folder.path(),
            Folder::Given(folder) => folder,
        }
    }

    /// Starts it with `command`, unless it runs, and waits until it `answers`.
    pub(crate) fn start(
        &mut self,
        command: Command,
        mut answers: impl FnMut() -> Result<bool, ServerError>,
    ) -> Result<(), ServerError> {
        if self.process.is_some() {
            return Ok(());
        }
        let folder = self.folder().to_owned();
        let process = self
            .process
            .insert(Process::spawn(command, &folder, &folder.join(LOG))?);
        let deadline = Instant::now() + ANSWERS_WITHIN;
        while !answers()? {
            if process.has_ended()? {
                self.process = None;
                return Err(self.failed("ended while starting"));
            }
            if Instant::now() > deadline {
                return Err(self.failed("did not answer"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Says so where it has ended by itself.
    pub(crate) fn still_runs(&mut self) -> Result<(), ServerError> {
        match self.process.as_mut().map(Process::has_ended) {
            Some(Ok(true)) => Err(self.failed("ended")),
            Some(Err(error)) => Err(error),
            Some(Ok(false)) | None => Ok(()),
        }
    }

    /// What it has used of the machine; nothing while it is stopped.
    pub(crate) fn usage(&self) -> Usage {
        let process = self.process.as_ref().map(Process::id);
        process.and_then(Usage::of).unwrap_or_default()
    }

    /// Stops it in good order, by the signal that it takes for that.
    pub(crate) fn stop(&mut self, signal: &str) -> Result<(), ServerError> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        process.terminate(signal)?;
        let deadline = Instant::now() + STOPS_WITHIN;
        while !process.has_ended()? {
            if Instant::now() > deadline {
                return Err(self.failed("did not stop"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Kills it and all its processes.
    pub(crate) fn kill(&mut self) -> Result<(), ServerError> {
        self.process.take().map_or(Ok(()), Process::kill)
    }

    /// Holds it and all its processes.
    pub(crate) fn pause(&self) -> Result<(), ServerError> {
        self.signal("STOP")
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) -> Result<(), ServerError> {
        self.signal("CONT")
    }

    fn signal(&self, signal: &str) -> Result<(), ServerError> {
        self.process
            .as_ref()
            .map_or(Ok(()), |process| process.signal(signal))
    }

    /// What it did not do, with the end of its log.
    pub(crate) fn failed(&self, what: &str) -> ServerError {
        ServerError::Server {
            server: self.name,
            what: what.to_owned(),
            log: process::end_of(&self.folder().join(LOG)),
        }
    }
}
