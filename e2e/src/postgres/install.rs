//! Where PostgreSQL's programs are, and how they are called.
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    postgres::{SERVER, USER},
    process,
    server::{ServerError, io},
};

/// The oldest version that is supported: unique indexes have NULLS NOT DISTINCT since.
const OLDEST: u32 = 15;
/// Where distributions put one folder for each version.
const FOLDERS: [&str; 2] = ["/usr/lib/postgresql", "/usr/local/lib/postgresql"];
/// PostgreSQL refuses to run as root, so root runs it as `nobody`, which every system has under this number.
const NOBODY: &str = "65534";

/// PostgreSQL's programs.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    programs: PathBuf,
    /// Whether this process is root's.
    root: bool,
}

impl Installation {
    pub(crate) fn find() -> Result<Self, ServerError> {
        let in_path = std::env::var_os("PATH").into_iter().flat_map(|path| {
            std::env::split_paths(&path)
                .map(|folder| folder.to_path_buf())
                .collect::<Vec<_>>()
        });
        let programs = versioned().into_iter().chain(in_path).find(|folder| {
            folder.join("initdb").is_file()
                && version(&folder.join("postgres")).is_some_and(|version| version >= OLDEST)
        });
        let programs = programs.ok_or_else(|| ServerError::NotInstalled {
            what: format!("there is no PostgreSQL {OLDEST} or newer"),
        })?;
        let me = std::fs::metadata("/proc/self").map_err(io("asking who runs this"))?;
        Ok(Self {
            programs,
            root: me.uid() == 0,
        })
    }

    /// The folder that they are in.
    pub(crate) fn programs(&self) -> &Path {
        &self.programs
    }

    /// Makes a database cluster in `data`, a folder in `folder`.
    pub(crate) fn init(
        &self,
        folder: &Path,
        data: &Path,
        password: &Path,
    ) -> Result<(), ServerError> {
        let mut command = self.server_side("initdb");
        command
            .args(["--no-locale", "--encoding=UTF8", "--no-sync", "--username"])
            .arg(USER)
            .arg("--auth=scram-sha-256")
            .arg("--pwfile")
            .arg(password)
            .arg("--pgdata")
            .arg(data);
        run(command, folder, "could not make its data")
    }

    /// The server of a data folder.
    pub(crate) fn server(&self, data: &Path) -> Command {
        let mut command = self.server_side("postgres");
        command.arg("-D").arg(data);
        command
    }

    /// The client.
    pub(crate) fn psql(&self) -> Command {
        Command::new(self.programs.join("psql"))
    }

    /// Gives what is at `path` to whoever runs the server.
    pub(crate) fn hand_over(&self, folder: &Path, path: &Path) -> Result<(), ServerError> {
        if !self.root {
            return Ok(());
        }
        let mut command = Command::new("chown");
        command
            .arg("-R")
            .arg(format!("{NOBODY}:{NOBODY}"))
            .arg(path);
        run(command, folder, "could not be given its folder")
    }

    fn server_side(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        if !self.root {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
            .arg(program);
        command
    }
}

/// Runs a program to its end; what it says is shown where it fails.
pub(crate) fn run(
    mut command: Command,
    folder: &Path,
    failure: &'static str,
) -> Result<(), ServerError> {
    let output = command
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(io("running a program of PostgreSQL"))?;
    if output.status.success() {
        return Ok(());
    }
    let log = folder.join("program.log");
    std::fs::write(&log, [output.stdout, output.stderr].concat())
        .map_err(io("keeping what a program of PostgreSQL said"))?;
    Err(ServerError::Server {
        server: SERVER,
        what: failure.to_owned(),
        log: process::end_of(&log),
    })
}

/// The folders of all versions that are installed, the newest first.
fn versioned() -> Vec<PathBuf> {
    let installed = FOLDERS
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten();
    let mut versions: Vec<(u32, PathBuf)> = installed
        .filter_map(|folder| {
            let version = folder.file_name().to_str()?.parse().ok()?;
            Some((version, folder.path().join("bin")))
        })
        .collect();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

/// The major version that a server says it has: `postgres (PostgreSQL) 15.18 (Debian ...)`.
fn version(server: &Path) -> Option<u32> {
    let output = Command::new(server).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_once("(PostgreSQL) ")?.1;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
