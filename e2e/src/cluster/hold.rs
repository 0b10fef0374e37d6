//! The holder of a cluster: a process beside it that starts it in namespaces of its own, passes connections on, and puts it away.
//!
//! ```text
//!   maker ── pipe ──> holder ──> unshare ──> sh (the first process of its namespace) ──> inside: etcd, kubelet, Kafka ...
//!    │                  │                                                                   │
//!    │                  └── 127.0.0.1:PORT ── socket in the cluster's folder ───────────────┘
//!    └ a test, or `make cluster`, which ends once the cluster is there
//! ```
//!
//! The pipe ends with the maker, however that ends; then the holder puts the cluster away, unless it was told [`STAY`]. When the
//! holder is killed, the kernel kills the first process, and with it all others in there; folder and cgroups are left for the
//! next who makes or puts away a cluster.
use std::{
    ffi::OsString,
    fs::File,
    io::BufRead,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    thread,
};

use crate::{
    cluster::{
        cgroups,
        claim::Claim,
        error::{ClusterError, io},
        network::NODE,
        place::Place,
        programs, relay,
        said::Said,
        sweep,
    },
    ports, process,
};

/// What the holder is told when the cluster is to outlive who made it.
pub(crate) const STAY: &str = "stay";
/// Puts itself into the cgroups before it becomes the rest of its arguments.
const JOIN: &str = r#"
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit; shift; done; shift
exec "$@"
"#;
/// The first process of a namespace inherits everybody's orphans: a shell that waits buries them.
const FIRST: &str = r#""$@" & wait $!"#;

/// The ports of a cluster: on 127.0.0.1 of this machine, and the same ones inside.
#[derive(Debug, Clone, Copy)]
pub struct ClusterPorts {
    /// The API server's.
    pub api: u16,
    /// Kafka's.
    pub kafka: u16,
    /// PostgreSQL's.
    pub postgres: u16,
}

/// Holds a cluster until it is told to put it away; says on standard output what happens. `program` is this program.
///
/// # Errors
/// [`ClusterError`] where it cannot be started or put away.
pub fn hold(place: &Place, program: PathBuf, images: &[PathBuf]) -> Result<(), ClusterError> {
    let claim = Claim::new(place)?;
    let held = start(place, program, images);
    let ended = held.and_then(|mut first| {
        let maker = place.clone();
        thread::spawn(move || {
            if !is_told_to_stay() {
                // What ends the cluster ends the waiting below; the rest is done there.
                let _ = cgroups::remove(&maker);
            }
        });
        let ended = first.wait().map_err(io("waiting for the cluster to end"))?;
        Err(ClusterError::Failed {
            doing: format!("the cluster, which ended with {ended},"),
            said: process::end_of(&log(place)),
        })
    });
    let removed = sweep::remove(place);
    drop(claim);
    removed.and(ended)
}

fn start(place: &Place, program: PathBuf, images: &[PathBuf]) -> Result<Child, ClusterError> {
    let groups = cgroups::make(place)?;
    let listeners = ports::listen(3)?;
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = ports::port(listener)?;
    }
    let first = first_process(place, &groups, program, ports, images)?;
    let [api, kafka, postgres] = ports;
    let loopback = Ipv4Addr::LOCALHOST;
    let targets = [(NODE, api), (loopback, kafka), (loopback, postgres)];
    for (listener, target) in listeners.into_iter().zip(targets) {
        relay::forward(listener, place.relay(), SocketAddr::from(target));
    }
    Ok(first)
}

/// Starts the cluster, in its cgroups and namespaces.
fn first_process(
    place: &Place,
    groups: &[PathBuf],
    program: PathBuf,
    ports: [u16; 3],
    images: &[PathBuf],
) -> Result<Child, ClusterError> {
    let log = File::create(log(place)).map_err(io("making the cluster's log"))?;
    let mut command = Command::new("sh");
    command.args(["-c", JOIN, "join"]);
    command.args(groups).arg("--");
    // The kernel ends it with the holder, and everything in it with the first process.
    command.args(["setpriv", "--pdeathsig", "KILL"]);
    command.arg("unshare").args(programs::NAMESPACES);
    command.args(["--fork", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-c", FIRST, "first"]);
    command.arg(program).args(["inside", place.name()]);
    command.args(ports.map(|port| OsString::from(port.to_string())));
    command.args(images);
    command
        .env("TMPDIR", place.temporary())
        .env("PATH", programs::path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(io("starting the cluster"))
}

/// What the processes say that have no log of their own.
fn log(place: &Place) -> PathBuf {
    place.folder().join("inside.log")
}

/// Reads the pipe from the maker until it says something or ends.
pub(crate) fn is_told_to_stay() -> bool {
    let mut told = String::new();
    let read = std::io::stdin().lock().read_line(&mut told);
    read.is_ok() && told.trim() == STAY
}

/// Runs `part` of a cluster, such as [`hold`], and tells the maker what it fails with.
pub fn telling(part: impl FnOnce() -> Result<(), ClusterError>) -> ExitCode {
    match part() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Said::Failed(error.to_string()).tell();
            ExitCode::FAILURE
        }
    }
}
