//! A real Kubernetes on this machine: API server, kubelet, containerd, DNS, with Kafka and PostgreSQL beside it, in namespaces of
//! its own that have no way out.
//! ```no_run
//! use std::path::Path;
//! use tidewheel_e2e::cluster::{Cluster, ClusterError, Options};
//!
//! # fn run() -> Result<(), ClusterError> {
//! let cluster = Cluster::start(&Options {
//!     name: "mine".to_owned(),
//!     holder: Path::new("target/release/tidewheel-cluster").to_owned(),
//!     tidewheel: Path::new("target/release/tidewheel").to_owned(),
//! }, |step| eprintln!("{step}"))?;
//! cluster.kubectl().args(["get", "nodes"]).status();
//! # Ok(())
//! # }
//! ```
//! [`Cluster::start_with_kind`] has kind make one instead, where Docker is; [`choose_way`] says which of them a machine can do.
//!
//! Its processes, mounts and network end when it is dropped, or when the process that started it ends in whatever way; so do its
//! folder and its cgroups. [`hold`] says how.
mod audit;
mod cgroups;
mod charts;
mod claim;
mod control_plane;
mod error;
mod hold;
mod identity;
mod images;
mod inside;
mod kind;
mod mounts;
mod network;
mod node;
mod place;
mod programs;
mod relay;
mod run;
mod said;
mod servers;
mod sweep;
mod way;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

pub use self::{
    audit::Request,
    charts::{NAMESPACE, chart},
    error::ClusterError,
    hold::{ClusterPorts, hold, telling},
    images::{TIDEWHEEL, TIDEWHEEL_NEXT, TOOLBOX, image},
    inside::inside,
    kind::hold_kind,
    place::Place,
    sweep::{put_away, put_away_abandoned},
    way::{Choice, Way, choose_way},
};
use self::{
    error::{io, io_at},
    hold::STAY,
    images::{Builder, Images, image_by},
    programs::Programs,
    run::run_with,
    said::Said,
};
use crate::{ports, process};

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name, which no other on this machine has.
    pub name: String,
    /// The program `tidewheel-cluster`, which holds it.
    pub holder: PathBuf,
    /// The program whose image it gets.
    pub tidewheel: PathBuf,
}

/// A cluster that runs. Put away when it is dropped, unless it was given.
pub struct Cluster {
    kubectl: PathBuf,
    helm: PathBuf,
    environment: BTreeMap<String, String>,
    /// None where somebody else made it.
    own: Option<Own>,
}

/// What holds a cluster that was made here.
struct Own {
    place: Place,
    holder: Child,
    /// The holder puts the cluster away when it ends.
    orders: Option<ChildStdin>,
    /// Whether the holder was told not to.
    stays: bool,
    way: Way,
}

/// The variable that names the kubeconfig of a cluster that is there already.
const GIVEN: &str = "TIDEWHEEL_KUBECONFIG";
/// What must be said about it beside that: how its Kafka and its PostgreSQL are reached, and where it finds images.
const ABOUT: [&str; 6] = [
    "TIDEWHEEL_KAFKA",
    "TIDEWHEEL_KAFKA_IN_PODS",
    "TIDEWHEEL_POSTGRES",
    "TIDEWHEEL_POSTGRES_IN_PODS",
    "TIDEWHEEL_IMAGE",
    "TIDEWHEEL_TOOLBOX_IMAGE",
];

impl Cluster {
    /// Makes a cluster and waits until pods can run in it: about 15 seconds. `progress` is told each step.
    ///
    /// # Errors
    /// [`ClusterError::Missing`] names what this machine lacks; [`ClusterError::Exists`] where the name is taken; whatever else
    /// fails, nothing is left of the cluster.
    pub fn start(options: &Options, progress: impl FnMut(&str)) -> Result<Self, ClusterError> {
        let place = Place::new(&options.name)?;
        let programs = Programs::find()?;
        let images = Images::make(&programs, &options.tidewheel)?;
        let mut holder = holder(options);
        holder.args(["hold", place.name()]).args(images.archives());
        let [kubectl, helm] = ["kubectl", "helm"].map(|name| programs.folder().join(name));
        Self::held(
            Own::start(place, Way::Packages, holder, progress)?,
            kubectl,
            helm,
        )
    }

    /// Has kind make a cluster, and waits until pods can run in it: about a minute, and once as long as it takes to pull the image of
    /// its node. `node_image` is that image, where it is not to be kind's own choice. `progress` is told each step.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_kind(
        options: &Options,
        node_image: Option<&str>,
        progress: impl FnMut(&str),
    ) -> Result<Self, ClusterError> {
        let place = Place::new(&options.name)?;
        kind::check()?;
        let archive = image_by(Builder::Docker, &options.tidewheel)?;
        let mut holder = holder(options);
        holder.args(["hold-kind", place.name()]).arg(archive);
        holder.args(node_image.iter().flat_map(|image| ["--node-image", image]));
        // Its servers' folders go with its own.
        holder.env("TMPDIR", place.temporary());
        let own = Own::start(place, Way::Kind, holder, progress)?;
        Self::held(own, client("kubectl")?, client("helm")?)
    }

    fn held(own: Own, kubectl: PathBuf, helm: PathBuf) -> Result<Self, ClusterError> {
        Ok(Self {
            kubectl,
            helm,
            environment: environment(&own.place)?,
            own: Some(own),
        })
    }

    /// The cluster that the variable `TIDEWHEEL_KUBECONFIG` names, where there is one. Further variables say how its Kafka and its
    /// PostgreSQL are reached and where it finds images; what a cluster made here [writes down](environment) has them all.
    ///
    /// # Errors
    /// [`ClusterError::Missing`] where a variable or `kubectl` is missing, [`ClusterError::Failed`] where the cluster does not answer.
    pub fn given() -> Result<Option<Self>, ClusterError> {
        let Some(kubeconfig) = variable(GIVEN) else {
            return Ok(None);
        };
        let mut environment = BTreeMap::from([("KUBECONFIG".to_owned(), kubeconfig)]);
        for name in ABOUT {
            let value = variable(name).ok_or_else(|| ClusterError::Missing {
                what: format!("the variable {name}, about the cluster that {GIVEN} names"),
                how: format!("set all of {}", ABOUT.join(", ")),
            })?;
            environment.insert(name.to_owned(), value);
        }
        let cluster = Self {
            kubectl: client("kubectl")?,
            helm: client("helm")?,
            environment,
            own: None,
        };
        cluster.run_kubectl(&["get", "--raw", "/readyz"])?;
        Ok(Some(cluster))
    }

    /// Lets the cluster outlive this process, until it is [put away](put_away).
    ///
    /// # Errors
    /// [`ClusterError::Io`] where the holder cannot be told.
    pub fn stay(mut self) -> Result<(), ClusterError> {
        let Some(own) = &mut self.own else {
            return Ok(());
        };
        if let Some(mut orders) = own.orders.take() {
            writeln!(orders, "{STAY}").map_err(io("telling the holder"))?;
        }
        own.stays = true;
        Ok(())
    }

    /// Where its processes are and what they write; none where somebody else made it, or kind.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        let own = self.own.as_ref().filter(|own| own.way == Way::Packages);
        own.map(|own| &own.place)
    }

    /// Where the file is by which its administrator finds it.
    #[must_use]
    pub fn kubeconfig(&self) -> &str {
        self.value("KUBECONFIG")
    }

    /// `bootstrap.servers` of its Kafka, from this machine.
    #[must_use]
    pub fn kafka(&self) -> &str {
        self.value("TIDEWHEEL_KAFKA")
    }

    /// `bootstrap.servers` of its Kafka, in pods.
    #[must_use]
    pub fn kafka_in_pods(&self) -> &str {
        self.value("TIDEWHEEL_KAFKA_IN_PODS")
    }

    /// The URL of its PostgreSQL, from this machine.
    #[must_use]
    pub fn postgres(&self) -> &str {
        self.value("TIDEWHEEL_POSTGRES")
    }

    /// The URL of its PostgreSQL, in pods.
    #[must_use]
    pub fn postgres_in_pods(&self) -> &str {
        self.value("TIDEWHEEL_POSTGRES_IN_PODS")
    }

    /// The image of the `tidewheel` program.
    #[must_use]
    pub fn image(&self) -> &str {
        self.value("TIDEWHEEL_IMAGE")
    }

    /// An image with a shell and small programs, as `/bin/busybox`.
    #[must_use]
    pub fn toolbox_image(&self) -> &str {
        self.value("TIDEWHEEL_TOOLBOX_IMAGE")
    }

    fn value(&self, name: &str) -> &str {
        self.environment.get(name).map_or("", String::as_str)
    }

    /// `kubectl` as the cluster's administrator, without arguments yet.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.program(&self.kubectl)
    }

    /// `helm` as the cluster's administrator, without arguments yet.
    #[must_use]
    pub fn helm(&self) -> Command {
        self.program(&self.helm)
    }

    /// Runs helm to its end and returns what it prints.
    ///
    /// # Errors
    /// [`ClusterError::Failed`] with what it says.
    pub fn run_helm(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        let doing = format!("helm {}", arguments.join(" "));
        run::run(self.helm().args(arguments), &doing)
    }

    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.value("KUBECONFIG"));
        command
    }

    /// All requests of a service account so far, in the order in which they were answered.
    ///
    /// # Errors
    /// [`ClusterError::Missing`] for a cluster that was given, [`ClusterError::Io`] where nobody has asked anything yet.
    pub fn requests_of(
        &self,
        namespace: &str,
        account: &str,
    ) -> Result<Vec<Request>, ClusterError> {
        audit::requests(self.own_place("the audit log")?, namespace, account)
    }

    /// Where it is, for what only a cluster has whose processes are on this machine.
    fn own_place(&self, for_what: &str) -> Result<&Place, ClusterError> {
        self.place().ok_or_else(|| ClusterError::Missing {
            what: format!("{for_what} of the cluster, which somebody else has made, or kind"),
            how: format!("unset {GIVEN}, and make a cluster from packages"),
        })
    }

    /// Ends every process of a pod's container with SIGKILL, as a node does that has no memory left.
    ///
    /// # Errors
    /// [`ClusterError::Missing`] for a cluster that was given, [`ClusterError::Failed`] where the container does not run.
    pub fn kill_container(&self, namespace: &str, pod: &str) -> Result<(), ClusterError> {
        self.signal_container(namespace, pod, "KILL", None)
    }

    /// Sends a signal, such as `STOP`, to every process of a pod's container, or to those that are called `program` only.
    ///
    /// # Errors
    /// As [`Self::kill_container`]; also where no process is called that.
    pub fn signal_container(
        &self,
        namespace: &str,
        pod: &str,
        signal: &str,
        program: Option<&str>,
    ) -> Result<(), ClusterError> {
        let mut processes = self.processes_of(namespace, pod)?;
        if let Some(program) = program {
            processes.retain(|id| process::name(id).as_deref() == Some(program));
        }
        if processes.is_empty() {
            return Err(nothing_runs(namespace, pod));
        }
        cgroups::signal(signal, &processes)
    }

    /// The network of a pod: a file for `nsenter --net`, as long as the pod runs.
    ///
    /// # Errors
    /// As [`Self::kill_container`].
    pub fn network_of(&self, namespace: &str, pod: &str) -> Result<PathBuf, ClusterError> {
        let processes = self.processes_of(namespace, pod)?;
        let first = processes.first();
        let first = first.ok_or_else(|| nothing_runs(namespace, pod))?;
        Ok(PathBuf::from(format!("/proc/{first}/ns/net")))
    }

    fn processes_of(&self, namespace: &str, pod: &str) -> Result<Vec<String>, ClusterError> {
        let place = self.own_place("the node's processes")?;
        let path = "--output=jsonpath={.status.containerStatuses[0].containerID}";
        let id = self.run_kubectl(&["get", "pod", pod, "--namespace", namespace, path])?;
        match id.trim_start_matches("containerd://") {
            "" => Ok(Vec::new()),
            id => cgroups::processes_of_container(place, id),
        }
    }

    /// A port of 127.0.0.1 that leads to an address in the cluster's network, for as long as this process runs.
    ///
    /// # Errors
    /// [`ClusterError::Missing`] for a cluster that was given, [`ClusterError::Server`] where no port is free.
    pub fn reach(&self, target: SocketAddr) -> Result<u16, ClusterError> {
        let place = self.own_place("the network")?;
        let mut listeners = ports::listen(1)?;
        let listener = listeners.remove(0);
        let port = ports::port(&listener)?;
        relay::forward(listener, place.relay(), target);
        Ok(port)
    }

    /// Applies YAML, as `kubectl apply` does.
    ///
    /// # Errors
    /// [`ClusterError::Failed`] with what the API server says.
    pub fn apply(&self, yaml: &str) -> Result<(), ClusterError> {
        let mut command = self.kubectl();
        command.args(["apply", "--filename=-"]);
        run_with(&mut command, yaml, "kubectl apply").map(drop)
    }

    /// Runs kubectl to its end and returns what it prints.
    ///
    /// # Errors
    /// [`ClusterError::Failed`] with what it says.
    pub fn run_kubectl(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        let doing = format!("kubectl {}", arguments.join(" "));
        run::run(self.kubectl().args(arguments), &doing)
    }
}

impl Own {
    /// Starts a holder and waits until its cluster is ready.
    fn start(
        place: Place,
        way: Way,
        mut holder: Command,
        mut progress: impl FnMut(&str),
    ) -> Result<Self, ClusterError> {
        for name in put_away_abandoned()? {
            progress(&format!("put away {name}, which somebody left behind"));
        }
        let mut holder = holder
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io("starting the cluster's holder"))?;
        let said = holder.stdout.take().map(BufReader::new);
        let own = Self {
            place,
            orders: holder.stdin.take(),
            holder,
            stays: false,
            way,
        };
        // Dropped, and so put away, where it does not come up.
        own.until_ready(said, progress)?;
        Ok(own)
    }

    /// Reads what the cluster says until it is there.
    fn until_ready(
        &self,
        said: Option<impl BufRead>,
        mut progress: impl FnMut(&str),
    ) -> Result<(), ClusterError> {
        let doing = format!("making the cluster {}", self.place.name());
        let lines = said
            .into_iter()
            .flat_map(BufRead::lines)
            .map_while(Result::ok);
        for said in lines.filter_map(|line| Said::read(&line)) {
            match said {
                Said::Step(step) => progress(&step),
                Said::Failed(said) => return Err(ClusterError::Failed { doing, said }),
                Said::Ready => return Ok(()),
            }
        }
        let said = "its holder ended".to_owned();
        Err(ClusterError::Failed { doing, said })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.orders = None;
        if !self.stays {
            let _ = self.holder.wait();
        }
    }
}

/// The program that holds a cluster, without arguments yet: in a session of its own, so that neither Ctrl-C nor a terminal that is
/// closed takes it along.
fn holder(options: &Options) -> Command {
    let mut holder = Command::new("setsid");
    holder.arg(&options.holder);
    holder
}

/// A program for whoever uses a cluster, where it is.
fn client(name: &str) -> Result<PathBuf, ClusterError> {
    programs::client(name).ok_or_else(|| ClusterError::Missing {
        what: name.to_owned(),
        how: "put it into PATH, or run scripts/servers.sh kubernetes".to_owned(),
    })
}

fn nothing_runs(namespace: &str, pod: &str) -> ClusterError {
    ClusterError::Failed {
        doing: format!("looking for the processes of {namespace}/{pod}"),
        said: "none is there".to_owned(),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What is written down about a cluster that is there, by the names of variables.
///
/// # Errors
/// [`ClusterError::Io`] where there is none.
pub fn environment(place: &Place) -> Result<BTreeMap<String, String>, ClusterError> {
    let path = place.environment();
    let text = std::fs::read_to_string(&path).map_err(io_at("reading", &path))?;
    let variables = text
        .lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    Ok(variables
        .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
        .collect())
}
