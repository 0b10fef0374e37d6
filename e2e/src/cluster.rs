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
//! Its processes, mounts and network end when it is dropped, or when the process that started it ends in whatever way; so do its
//! folder and its cgroups. [`hold`] says how.
mod cgroups;
mod claim;
mod control_plane;
mod error;
mod hold;
mod identity;
mod images;
mod inside;
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

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
};

pub use self::{
    error::ClusterError,
    hold::{ClusterPorts, hold, telling},
    images::{TIDEWHEEL, TOOLBOX},
    inside::inside,
    place::Place,
    servers::{KAFKA, POSTGRES_HOST, POSTGRES_PORT},
    sweep::{put_away, put_away_abandoned},
};
use self::{
    error::{io, io_at},
    hold::STAY,
    images::Images,
    programs::Programs,
    run::run_with,
    said::Said,
};

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

/// A cluster that runs. Put away when it is dropped.
pub struct Cluster {
    place: Place,
    programs: Programs,
    holder: Child,
    /// The holder puts the cluster away when it ends.
    orders: Option<ChildStdin>,
    /// Whether the holder was told not to.
    stays: bool,
    environment: BTreeMap<String, String>,
}

impl Cluster {
    /// Makes a cluster and waits until pods can run in it: about 15 seconds. `progress` is told each step.
    ///
    /// # Errors
    /// [`ClusterError::Missing`] names what this machine lacks; [`ClusterError::Exists`] where the name is taken; whatever else
    /// fails, nothing is left of the cluster.
    pub fn start(options: &Options, mut progress: impl FnMut(&str)) -> Result<Self, ClusterError> {
        let place = Place::new(&options.name)?;
        let programs = Programs::find()?;
        let images = Images::make(&programs, &options.tidewheel)?;
        for name in put_away_abandoned()? {
            progress(&format!("put away {name}, which somebody left behind"));
        }
        // In a session of its own, so that neither Ctrl-C nor a terminal that is closed takes it along.
        let mut holder = Command::new("setsid")
            .arg(&options.holder)
            .args(["hold", place.name()])
            .args(images.archives())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io("starting the cluster's holder"))?;
        let orders = holder.stdin.take();
        let said = holder.stdout.take().map(BufReader::new);
        let mut cluster = Self {
            place,
            programs,
            holder,
            orders,
            stays: false,
            environment: BTreeMap::new(),
        };
        let lines = said.into_iter().flat_map(BufRead::lines).map_while(Result::ok);
        for said in lines.filter_map(|line| Said::read(&line)) {
            match said {
                Said::Step(step) => progress(&step),
                Said::Failed(said) => {
                    let doing = format!("making the cluster {}", cluster.place.name());
                    return Err(ClusterError::Failed { doing, said });
                }
                Said::Ready => {
                    cluster.environment = environment(&cluster.place)?;
                    return Ok(cluster);
                }
            }
        }
        Err(ClusterError::Failed {
            doing: format!("making the cluster {}", cluster.place.name()),
            said: "its holder ended".to_owned(),
        })
    }

    /// Lets the cluster outlive this process, until it is [put away](put_away).
    ///
    /// # Errors
    /// [`ClusterError::Io`] where the holder cannot be told.
    pub fn stay(mut self) -> Result<(), ClusterError> {
        if let Some(mut orders) = self.orders.take() {
            writeln!(orders, "{STAY}").map_err(io("telling the holder"))?;
        }
        self.stays = true;
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// `bootstrap.servers` of its Kafka, from this machine; in pods it is [`KAFKA`].
    #[must_use]
    pub fn kafka(&self) -> &str {
        self.value("TIDEWHEEL_KAFKA")
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

    fn value(&self, name: &str) -> &str {
        self.environment.get(name).map_or("", String::as_str)
    }

    /// `kubectl` as the cluster's administrator, without arguments yet.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.program("kubectl")
    }

    /// `helm` as the cluster's administrator, without arguments yet.
    #[must_use]
    pub fn helm(&self) -> Command {
        self.program("helm")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = self.programs.kubernetes(name);
        command.env("KUBECONFIG", self.place.kubeconfig());
        command
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

impl Drop for Cluster {
    fn drop(&mut self) {
        self.orders = None;
        if !self.stays {
            let _ = self.holder.wait();
        }
    }
}

/// What is written down about a cluster that is there, by the names of variables.
///
/// # Errors
/// [`ClusterError::Io`] where there is none.
pub fn environment(place: &Place) -> Result<BTreeMap<String, String>, ClusterError> {
    let path = place.environment();
    let text = std::fs::read_to_string(&path).map_err(io_at("reading", &path))?;
    let variables = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    Ok(variables
        .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
        .collect())
}
