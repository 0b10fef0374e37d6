//! Who sends requests to a source: from this machine to a pod, or from a pod to the Service of the example's.
use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tidewheel_e2e::cluster::Cluster;

use super::{forwarded::Forwarded, shop::Shop};
use crate::cluster::pod;

/// How long a request is sent again until it is accepted.
const PATIENCE: Duration = Duration::from_secs(180);

/// Posts each line that it reads, over a connection of its own, and says whether it was accepted.
const SCRIPT: &str = r#"
exec 3>&1
export body
while read -r body; do
    /bin/busybox nc -w 20 clicks-ingest 8080 -e /bin/busybox sh -c '
        printf "POST /v1/events HTTP/1.1\r\nHost: clicks-ingest\r\nContent-Length: %d\r\n\r\n%s" "${#body}" "$body"
        read -r -t 20 answer
        case $answer in *" 202 "*) echo accepted >&3;; *) echo refused >&3;; esac' || echo refused
done"#;

/// Sends until it is accepted, as senders should.
pub(super) struct Sender {
    cluster: &'static Cluster,
    namespace: &'static str,
    way: Way,
    /// Of the source, as kubectl names it.
    service: &'static str,
    /// How often it had to send again.
    pub(super) again: u64,
}

const CLICKS: &str = "service/clicks-ingest";

/// The way of a request.
enum Way {
    /// Through the API server to one of the pods, whichever there is.
    ToPod(Option<Forwarded>),
    /// From another pod to the Service's address, and so to whichever pod is ready.
    ToService(Option<Shell>),
}

/// A shell in a pod.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Sender {
    pub(super) fn outside(shop: &Shop) -> Self {
        Self::to(shop, CLICKS)
    }

    /// To another source than the example's.
    pub(super) fn to(shop: &Shop, service: &'static str) -> Self {
        Self::new(shop, service, Way::ToPod(None))
    }

    /// In a pod of its own.
    pub(super) fn inside(shop: &Shop) -> Self {
        let image = shop.cluster.toolbox_image();
        shop.cluster
            .apply(&pod(shop.name, "sender", image, &["sleep", "3600"], ""))
            .unwrap();
        shop.wait_for("pod/sender", "Ready");
        Self::new(shop, CLICKS, Way::ToService(None))
    }

    fn new(shop: &Shop, service: &'static str, way: Way) -> Self {
        Self {
            cluster: shop.cluster,
            namespace: shop.name,
            way,
            service,
            again: 0,
        }
    }

    /// Sends events, a JSON object for each, until they are accepted.
    pub(super) fn send(&mut self, events: &[String]) {
        let body = format!("[{}]", events.join(","));
        let began = Instant::now();
        while !self.is_accepted(&body) {
            assert!(began.elapsed() < PATIENCE, "no event is accepted any more");
            self.again += 1;
            sleep(Duration::from_millis(200));
        }
    }

    fn is_accepted(&mut self, body: &str) -> bool {
        let (cluster, namespace, service) = (self.cluster, self.namespace, self.service);
        let is_accepted = match &mut self.way {
            Way::ToPod(forwarded) => {
                if forwarded.is_none() {
                    *forwarded = Forwarded::open(cluster, namespace, service, 8080).ok();
                }
                let answer = forwarded
                    .as_ref()
                    .and_then(|forwarded| forwarded.post("/v1/events", "", body.as_bytes()).ok());
                answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 202"))
            }
            Way::ToService(shell) => {
                if shell.is_none() {
                    *shell = Shell::open(cluster, namespace).ok();
                }
                let answer = shell.as_mut().and_then(|shell| shell.tell(body).ok());
                match answer.as_deref() {
                    Some("accepted\n") => true,
                    // The shell is as good as before.
                    Some("refused\n") => return false,
                    _ => false,
                }
            }
        };
        if !is_accepted {
            match &mut self.way {
                Way::ToPod(forwarded) => *forwarded = None,
                Way::ToService(shell) => *shell = None,
            }
        }
        is_accepted
    }
}

impl Shell {
    fn open(cluster: &Cluster, namespace: &str) -> io::Result<Self> {
        let mut child = cluster
            .kubectl()
            .args(["exec", "--stdin", "--namespace", namespace, "sender", "--"])
            .args(["/bin/busybox", "sh", "-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let output = BufReader::new(output);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    /// Tells it a line and returns the line that it says.
    fn tell(&mut self, line: &str) -> io::Result<String> {
        self.input.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
