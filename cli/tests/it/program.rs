//! Runs the binary.
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::Value;

/// Long enough for the slowest machine; nothing waits for it that does not fail.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The document on stdout, where all went well.
    pub(crate) fn document(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewheel"));
    command
        .args(args)
        .current_dir(root())
        .env_remove("TIDEWHEEL_LOG")
        .stdin(Stdio::null());
    command
}

pub(crate) fn run(args: &[&str]) -> Ended {
    let output = command(args).output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Plays lines through a text of resources with `tidewheel dev`, to the end of the input.
pub(crate) fn play_lines(specs: &str, lines: &[impl AsRef<str>], more: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, events) = (path("specs.yaml"), path("events"));
    let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
    std::fs::write(&file, specs).unwrap();
    std::fs::write(&events, lines.join("\n")).unwrap();
    run(&[&["dev", &file, "--send", &events, "--until-idle"][..], more].concat())
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

pub(crate) fn specs(name: &str) -> String {
    format!("cli/tests/it/specs/{name}")
}

/// The rows of an output.
pub(crate) fn rows<'a>(document: &'a Value, output: &str) -> &'a Vec<Value> {
    let outputs = document["outputs"].as_array().unwrap();
    let found = outputs
        .iter()
        .find(|found| found["output"] == output)
        .unwrap();
    found["rows"].as_array().unwrap()
}

/// `tidewheel dev` at work.
pub(crate) struct Running {
    child: Child,
    said: Receiver<String>,
    heard: RefCell<Vec<String>>,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, said) = channel();
        listen(child.stdout.take().unwrap(), tell.clone());
        listen(child.stderr.take().unwrap(), tell);
        Self {
            child,
            said,
            heard: RefCell::default(),
        }
    }

    /// The next line that holds `text`.
    pub(crate) fn says(&self, text: &str) -> String {
        let mut before = String::new();
        loop {
            let line = self
                .said
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("never said {text:?}, but:\n{before}"));
            self.heard.borrow_mut().push(line.clone());
            if line.contains(text) {
                return line;
            }
            before.push_str(&line);
            before.push('\n');
        }
    }

    /// Where it takes events.
    pub(crate) fn address(&self) -> String {
        let line = self.says("taking events at http://");
        line.split_whitespace()
            .find(|word| word.starts_with("http://"))
            .unwrap()
            .to_owned()
    }

    /// Ends it as Ctrl-C does. Its exit code.
    pub(crate) fn stop(self) -> i32 {
        self.stop_and_tell().0
    }

    /// Ends it as Ctrl-C does. Its exit code, and all that it said.
    pub(crate) fn stop_and_tell(mut self) -> (i32, Vec<String>) {
        self.signal("TERM");
        let code = self.child.wait().unwrap().code().unwrap();
        (code, self.all_that_it_said())
    }

    /// Kills it (SIGKILL). All that it said.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.all_that_it_said()
    }

    /// Sends it a signal by its name, such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Of a process that has ended.
    fn all_that_it_said(&mut self) -> Vec<String> {
        let mut heard = self.heard.take();
        heard.extend(self.said.iter());
        heard
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(output: impl Read + Send + 'static, tell: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
}
