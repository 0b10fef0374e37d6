//! What kind and Docker are asked for: a cluster whose node is a container of this machine's Docker engine.
//!
//! The container, its volume and its network are all that kind makes. The network is the cluster's own, so that it can be removed
//! with it; by its gateway address pods reach what runs on this machine.
mod hold;

use std::{
    fs::{File, TryLockError},
    io::{ErrorKind, Read},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

pub use self::hold::hold_kind;
use crate::cluster::{
    error::{ClusterError, io_at},
    images::{TIDEWHEEL, TIDEWHEEL_NEXT},
    place::Place,
    programs::{client, which},
    run::run,
};

/// A shell and small programs, for looking around: the node pulls it, as it was pulled itself.
pub(crate) const TOOLBOX: &str = "docker.io/library/busybox:1.37-musl";
/// Programs that are run by name, each with where it comes from.
const NEEDED: [(&str, &str); 5] = [
    ("kind", "https://kind.sigs.k8s.io"),
    ("docker", "https://docs.docker.com/engine/install"),
    ("flock", "Debian's package util-linux"),
    ("setpriv", "Debian's package util-linux"),
    ("setsid", "Debian's package util-linux"),
];
/// How long a run of kind that lost its holder may take to end: what it has begun to pull comes to its end.
const ENDS_WITHIN: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks for all that a cluster by kind needs on this machine.
///
/// # Errors
/// [`ClusterError::Missing`] names everything that is missing.
pub(crate) fn check() -> Result<(), ClusterError> {
    let mut missing = missing(&NEEDED);
    for name in ["kubectl", "helm"] {
        if client(name).is_none() {
            missing.push(format!("{name} in PATH"));
        }
    }
    if which("docker").is_some()
        && let Err(error) = engine()
    {
        missing.push(format!("an engine of Docker that answers: {error}"));
    }
    named(missing)
}

fn missing(programs: &[(&str, &str)]) -> Vec<String> {
    let missing = programs.iter().filter(|(name, _)| which(name).is_none());
    missing
        .map(|(name, from)| format!("{name} in PATH ({from})"))
        .collect()
}

fn named(missing: Vec<String>) -> Result<(), ClusterError> {
    if missing.is_empty() {
        return Ok(());
    }
    Err(ClusterError::Missing {
        what: missing.join("\n  missing: "),
        how: "install what is named, start Docker, and be in the group that may use it".to_owned(),
    })
}

/// What kind and Docker call the cluster, and its network.
fn name(place: &Place) -> String {
    format!("tidewheel-{}", place.name())
}

/// The container that is its only node, as kind names it.
fn node(place: &Place) -> String {
    format!("{}-control-plane", name(place))
}

/// Says that kind has made something for this place, and in which Docker engine. Locked by kind while it makes the cluster.
fn mark(place: &Place) -> PathBuf {
    place.folder().join("kind")
}

/// Whether kind has made something for this place, or may have.
pub(crate) fn has_made(place: &Place) -> bool {
    mark(place).exists()
}

/// Which Docker engine answers here.
fn engine() -> Result<String, ClusterError> {
    // The other way round, one that does not answer would be a mistake in the format.
    docker(&["version", "--format", "{{.Server.Version}}"])?;
    docker(&["info", "--format", "{{.ID}}"])
}

/// The command that makes the cluster and ends with this thread. What it has started itself may take longer, and keeps the lock.
fn create(place: &Place, node_image: Option<&str>) -> Command {
    let mut command = Command::new("flock");
    command.arg("--no-fork").arg(mark(place));
    command.args(["setpriv", "--pdeathsig", "KILL"]);
    command.args(["kind", "create", "cluster", "--name", &name(place)]);
    command.arg("--kubeconfig").arg(place.kubeconfig());
    if let Some(image) = node_image {
        command.args(["--image", image]);
    }
    // Or it would be in a network that it shares with other clusters, and which nobody removes.
    command.env("KIND_EXPERIMENTAL_DOCKER_NETWORK", name(place));
    on_docker(&mut command);
    command
}

/// The address of this machine in the network of the node.
fn gateway(place: &Place) -> Result<Ipv4Addr, ClusterError> {
    let format = "{{range .NetworkSettings.Networks}}{{println .Gateway}}{{end}}";
    let said = docker(&["inspect", "--format", format, &node(place)])?;
    let address: Ipv4Addr = said.trim().parse().map_err(|error| ClusterError::Failed {
        doing: "asking Docker for the gateway of the node's network".to_owned(),
        said: format!("{error}: {said:?}"),
    })?;
    match TcpListener::bind((address, 0)) {
        Ok(_) => Ok(address),
        Err(error) => Err(ClusterError::Missing {
            what: format!(
                "the address {address} of Docker's network on this machine ({error}), at which pods would reach Kafka and PostgreSQL"
            ),
            how: "use an engine that runs on this machine as root: that of Docker Desktop and a rootless one have their networks elsewhere"
                .to_owned(),
        }),
    }
}

/// Puts an image into the node, under its own name and as the one that upgrades lead to.
fn load(place: &Place, archive: &Path) -> Result<(), ClusterError> {
    let mut command = Command::new("kind");
    command.args(["load", "image-archive", "--name", &name(place)]);
    command.arg(archive);
    run(on_docker(&mut command), "kind load image-archive")?;
    let tag = "ctr --namespace=k8s.io images tag --force";
    let mut arguments = vec!["exec", "--privileged"];
    let node = node(place);
    arguments.push(&node);
    arguments.extend(tag.split(' '));
    arguments.extend([TIDEWHEEL, TIDEWHEEL_NEXT]);
    docker(&arguments).map(drop)
}

/// Sees to it that the node reaches a port of this machine.
fn check_way(place: &Place, address: Ipv4Addr, port: u16) -> Result<(), ClusterError> {
    let (node, [host, port]) = (node(place), [address.to_string(), port.to_string()]);
    let connect = [
        "timeout",
        "10",
        "bash",
        "-c",
        ": <>/dev/tcp/$0/$1",
        &host,
        &port,
    ];
    let mut arguments = vec!["exec", node.as_str()];
    arguments.extend(connect);
    match docker(&arguments) {
        Err(ClusterError::Failed { said, .. }) => Err(ClusterError::Missing {
            what: format!("a way from containers to {host}:{port} of this machine ({said})"),
            how: "have the firewall let in what comes from Docker's networks; with ufw: ufw allow from 172.16.0.0/12"
                .to_owned(),
        }),
        result => result.map(drop),
    }
}

/// Leaves nothing of what kind has made for a place. There may be nothing.
///
/// # Errors
/// [`ClusterError::Missing`] where kind or Docker has gone since, [`ClusterError::Failed`] where they cannot do it.
pub(crate) fn remove(place: &Place) -> Result<(), ClusterError> {
    let mark = mark(place);
    let mut lock = match File::open(&mark) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file.map_err(io_at("opening", &mark))?,
    };
    // From the file that was opened: whoever puts the cluster away at the same time may remove it meanwhile.
    let mut made_in = String::new();
    lock.read_to_string(&mut made_in)
        .map_err(io_at("reading", &mark))?;
    named(missing(&NEEDED[..2]))?;
    check_engine(place, &made_in)?;
    let deadline = Instant::now() + ENDS_WITHIN;
    loop {
        // Whatever a run of kind has begun fails when the node is gone; what it still begins is found in the next round.
        delete(place)?;
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOOK_EVERY);
            }
            Err(error) => {
                return Err(ClusterError::Failed {
                    doing: format!("waiting for kind, which still makes {},", name(place)),
                    said: error.to_string(),
                });
            }
        }
    }
    delete(place)?;
    let (network, filter) = (name(place), format!("name=^{}$", name(place)));
    let networks = docker(&["network", "ls", "--quiet", "--filter", &filter])?;
    if !networks.trim().is_empty() {
        docker(&["network", "rm", &network])?;
    }
    Ok(())
}

/// Another engine would say that nothing is there.
fn check_engine(place: &Place, made_in: &str) -> Result<(), ClusterError> {
    if engine()? == made_in {
        return Ok(());
    }
    Err(ClusterError::Missing {
        what: format!(
            "the Docker engine that has {}: another one answers here",
            name(place)
        ),
        how: format!(
            "set DOCKER_HOST or DOCKER_CONTEXT as when it was made; where that engine is gone for good: rm -r {}",
            place.folder().display()
        ),
    })
}

fn delete(place: &Place) -> Result<(), ClusterError> {
    let mut command = Command::new("kind");
    command.args(["delete", "cluster", "--name", &name(place)]);
    command.arg("--kubeconfig").arg(place.kubeconfig());
    run(on_docker(&mut command), "kind delete cluster").map(drop)
}

/// kind may prefer another engine, which this knows nothing of.
fn on_docker(kind: &mut Command) -> &mut Command {
    kind.env("KIND_EXPERIMENTAL_PROVIDER", "docker")
}

fn docker(arguments: &[&str]) -> Result<String, ClusterError> {
    let doing = format!("docker {}", arguments.join(" "));
    run(Command::new("docker").args(arguments), &doing)
}
