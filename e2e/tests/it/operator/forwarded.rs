//! A port of a Service, reached from this machine.
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdout, Stdio},
    time::Duration,
};

use tidewheel_e2e::cluster::Cluster;

/// How long an answer may take before whoever forwards is taken for gone.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// A port of this machine that leads to a Service, until it is dropped.
pub(super) struct Forwarded {
    child: Child,
    /// kubectl speaks of each connection, and would end if nobody listened.
    _said: BufReader<ChildStdout>,
    port: u16,
}

impl Forwarded {
    pub(super) fn to(cluster: &Cluster, namespace: &str, service: &str, port: u16) -> Self {
        Self::open(cluster, namespace, service, port).unwrap()
    }

    /// As [`Self::to`], where there may be no pod to lead to.
    pub(super) fn open(
        cluster: &Cluster,
        namespace: &str,
        service: &str,
        port: u16,
    ) -> io::Result<Self> {
        let mut child = cluster
            .kubectl()
            .args(["port-forward", "--namespace", namespace, service])
            .arg(format!(":{port}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        // Forwarding from 127.0.0.1:40001 -> 8080
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line)?;
        let number = line.split_once("127.0.0.1:").and_then(|(_, rest)| {
            let number = rest.split(' ').next()?;
            number.parse().ok()
        });
        let Some(port) = number else {
            child.wait()?;
            return Err(io::Error::other(format!("no port was forwarded: {line}")));
        };
        Ok(Self {
            child,
            _said: said,
            port,
        })
    }

    /// Posts a body and returns the answer, head and all.
    pub(super) fn post(&self, path: &str, headers: &str, body: &[u8]) -> io::Result<String> {
        post(self.port, ANSWERS_WITHIN, path, headers, body)
    }

    /// Gets something and returns the answer, head and all.
    pub(super) fn get(&self, path: &str) -> io::Result<String> {
        get(self.port, path)
    }
}

/// Posts a body to a port of this machine, over a connection of its own, and returns the answer, head and all.
pub(super) fn post(
    port: u16,
    patience: Duration,
    path: &str,
    headers: &str,
    body: &[u8],
) -> io::Result<String> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    ask(port, patience, &[head.as_bytes(), body].concat())
}

/// Gets something from a port of this machine, over a connection of its own, and returns the answer, head and all.
pub(super) fn get(port: u16, path: &str) -> io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    ask(port, ANSWERS_WITHIN, request.as_bytes())
}

fn ask(port: u16, patience: Duration, request: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    // No further: whoever forwards may reset what was closed.
    while !is_whole(&answer) {
        let count = stream.read(&mut part)?;
        if count == 0 {
            let answer = String::from_utf8_lossy(&answer);
            return Err(io::Error::other(format!(
                "the connection ended after: {answer}"
            )));
        }
        answer.extend_from_slice(&part[..count]);
    }
    String::from_utf8(answer).map_err(io::Error::other)
}

/// Whether an answer is there with all of its body.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() >= length.trim().parse().unwrap())
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
