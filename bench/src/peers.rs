//! Programs that people use today for the same work, as processes of their own.
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use tidewheel_e2e::{Usage, cache, descendants};

use crate::Failure;

/// How long a peer may take to begin.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How much of what a peer has said is worth showing, lines.
const LINES: usize = 20;

/// What programs in Java are started with.
pub(crate) const JAVA_OPTIONS: [&str; 7] = [
    "-Xms2g",
    "-Xmx2g",
    "-XX:+UseG1GC",
    // As Flink's own scripts have it.
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.time=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

/// A peer at work. It and everything that it has started is killed when this is dropped.
pub(crate) struct Peer {
    name: String,
    child: Child,
    log: NamedTempFile,
}

impl Peer {
    /// Starts a program of `bench/peers/python`.
    pub(crate) fn python(program: &str, arguments: &[&str]) -> Result<Self, Failure> {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/python"));
        let mut command = Command::new(interpreter()?);
        // Python would write what it has compiled beside the programs.
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(folder)
            .arg(program)
            .args(arguments);
        Self::start(program, command)
    }

    /// Starts the main class of a Java program of `bench/peers`.
    pub(crate) fn java(program: &str, class: &str, arguments: &[&str]) -> Result<Self, Failure> {
        let folder = installed(program)?;
        let mut command = Command::new("java");
        command
            .args(JAVA_OPTIONS)
            .arg("-cp")
            .arg(folder.join("*"))
            .arg(class)
            .args(arguments);
        Self::start(program, command)
    }

    fn start(name: &str, mut command: Command) -> Result<Self, Failure> {
        let log = NamedTempFile::new()?;
        let said =
            |log: &NamedTempFile| -> Result<File, Failure> { Ok(log.as_file().try_clone()?) };
        command
            .stdin(Stdio::null())
            .stdout(said(&log)?)
            .stderr(said(&log)?);
        Ok(Self {
            name: name.to_owned(),
            child: command.spawn()?,
            log,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that its processes have had, each at its own time.
    pub(crate) fn peak_bytes(&self) -> u64 {
        Usage::of_tree(self.id()).unwrap_or_default().peak_bytes
    }

    /// Waits until somebody listens at an address.
    ///
    /// # Errors
    /// When the peer ends, or takes more than a minute.
    pub(crate) fn await_listening(&mut self, address: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + BEGINS_WITHIN;
        while std::net::TcpStream::connect(address).is_err() {
            self.still_runs()?;
            if Instant::now() > deadline {
                return Err(self.failed("does not listen"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// # Errors
    /// When the peer has ended.
    pub(crate) fn still_runs(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            Some(status) => Err(self.failed(&format!("ended with {status}"))),
            None => Ok(()),
        }
    }

    fn failed(&self, what: &str) -> Failure {
        let text = std::fs::read_to_string(self.log.path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
        format!("{} {what}; the last that it said:\n{last}", self.name).into()
    }

    /// Kills it and everything that it has started (SIGKILL), all at once.
    pub(crate) fn kill(&mut self) {
        // Whoever has ended has no children any more, and somebody else may have its number.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let processes = [self.id()].into_iter().chain(descendants(self.id()));
        let processes = processes.map(|process| process.to_string());
        // Those that have ended by themselves are no failure.
        let _ = Command::new("kill")
            .arg("-KILL")
            .args(processes)
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The Python that has what the peers need.
fn interpreter() -> Result<PathBuf, Failure> {
    Ok(installed("python")?.join("bin/python"))
}

/// Where `scripts/peers.sh` has put something.
fn installed(what: &str) -> Result<PathBuf, Failure> {
    let folder = cache::folder()?.join("peers").join(what);
    if folder.join("complete").is_file() {
        return Ok(folder);
    }
    Err(format!(
        "there is no {}: run scripts/peers.sh (make bench does)",
        folder.display()
    )
    .into())
}

/// Which Java it is, as it says itself.
pub(crate) fn java_version() -> Result<String, Failure> {
    let output = Command::new("java").arg("-version").output()?;
    let said = String::from_utf8(output.stderr)?;
    Ok(said.lines().next().unwrap_or("unknown").to_owned())
}

/// Which Python it is, and the versions of some of the packages that are installed for it.
pub(crate) fn python_versions(packages: &[&str]) -> Result<String, Failure> {
    const ASK: &str = "import platform, sys, importlib.metadata as m; \
        print(', '.join([f'Python {platform.python_version()}'] + [f'{p} {m.version(p)}' for p in sys.argv[1:]]))";
    let output = Command::new(interpreter()?)
        .args(["-c", ASK])
        .args(packages)
        .output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?.trim().to_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into())
}
