//! Makes a real Kubernetes on this machine, and puts it away.
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};
use tidewheel_e2e::cluster::{
    self, Choice, Cluster, ClusterError, ClusterPorts, NAMESPACE, Options, Place, Way,
};

/// A real Kubernetes on this machine, with Kafka and PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "tidewheel-cluster", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "\
Examples:
  tidewheel-cluster up                make it, and say how to use it
  tidewheel-cluster up --with kind    have kind make it, in a container of Docker
  tidewheel-cluster down              put it away, in whatever state it is";

#[derive(Debug, Subcommand)]
enum What {
    /// Make a cluster that stays until it is put away
    ///
    /// Where TIDEWHEEL_KUBECONFIG gives one that is there, none is made: the charts are installed in that one.
    Up(Up),
    /// Put a cluster away, and what others have left behind
    Down {
        /// Its name
        #[arg(long, default_value = "local")]
        name: String,
    },
    /// Make the image of the program, and say where its archive is
    Image {
        /// The tidewheel program [default: the one beside this program]
        #[arg(long, value_name = "FILE")]
        tidewheel: Option<PathBuf>,
    },
    /// Hold a cluster for whoever has started this, and put it away when that ends
    #[command(hide = true)]
    Hold { name: String, images: Vec<PathBuf> },
    /// Have kind make a cluster for whoever has started this, hold it, and put it away when that ends
    #[command(hide = true)]
    HoldKind {
        name: String,
        image: PathBuf,
        #[arg(long)]
        node_image: Option<String>,
    },
    /// Make a cluster in the namespaces of this process
    #[command(hide = true)]
    Inside {
        name: String,
        api: u16,
        kafka: u16,
        postgres: u16,
        images: Vec<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct Up {
    /// Its name: one for each that runs at the same time
    #[arg(long, default_value = "local")]
    name: String,
    /// The tidewheel program that its image is made of [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    tidewheel: Option<PathBuf>,
    /// How to make it [default: from packages where all that needs is here, else by kind where Docker answers]
    #[arg(long, value_name = "WAY", env = "TIDEWHEEL_CLUSTER")]
    with: Option<Way>,
    /// What kind makes the node of [default: kind's own choice]
    #[arg(long, value_name = "IMAGE", env = "TIDEWHEEL_KIND_IMAGE")]
    kind_image: Option<String>,
    /// Install and build what packages lack first, as make cluster does
    #[arg(long)]
    prepare: bool,
}

fn main() -> ExitCode {
    match Arguments::parse().what {
        What::Up(options) => shown(up(options)),
        What::Down { name } => shown(down(&name)),
        What::Image { tidewheel } => shown(image(tidewheel)),
        What::Hold { name, images } => {
            cluster::telling(|| cluster::hold(&Place::new(&name)?, this_program()?, &images))
        }
        What::HoldKind {
            name,
            image,
            node_image,
        } => cluster::telling(|| cluster::hold_kind(&Place::new(&name)?, node_image, image)),
        What::Inside {
            name,
            api,
            kafka,
            postgres,
            images,
        } => cluster::telling(|| {
            let ports = ClusterPorts {
                api,
                kafka,
                postgres,
            };
            cluster::inside(&Place::new(&name)?, ports, &images)
        }),
    }
}

fn shown(result: Result<(), ClusterError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n  {error}\n");
            ExitCode::FAILURE
        }
    }
}

fn up(up: Up) -> Result<(), ClusterError> {
    if let Some(cluster) = Cluster::given()? {
        eprintln!("  the cluster of TIDEWHEEL_KUBECONFIG answers: none is made here");
        install(&cluster)?;
        println!("The operator is installed in the cluster of TIDEWHEEL_KUBECONFIG.");
        return Ok(());
    }
    let place = Place::new(&up.name)?;
    let choice = cluster::choose_way(up.with)?;
    let how = match choice.way {
        Way::Packages => "from packages",
        Way::Kind => "by kind",
    };
    eprintln!("  a cluster {how}: {}", choice.because);
    if up.prepare && choice.lacks {
        prepare()?;
    }
    let cluster = made(&up, &choice)?;
    install(&cluster)?;
    let (image, toolbox) = (
        cluster.image().to_owned(),
        cluster.toolbox_image().to_owned(),
    );
    cluster.stay()?;
    println!(
        "
The cluster is ready. To use it in this shell:

  . {environment}
  kubectl get pods --all-namespaces

Images are {image} and {toolbox}. Logs are in {logs}. To put it away: make cluster-down",
        environment = place.environment().display(),
        logs = place.logs(choice.way),
    );
    Ok(())
}

fn install(cluster: &Cluster) -> Result<(), ClusterError> {
    cluster.install_kinds()?;
    eprintln!("  the three kinds are known");
    cluster.install_operator("tidewheel", NAMESPACE, &[])?;
    eprintln!("  the operator is ready");
    Ok(())
}

fn made(up: &Up, choice: &Choice) -> Result<Cluster, ClusterError> {
    let holder = this_program()?;
    let beside = holder.with_file_name("tidewheel");
    let options = Options {
        name: up.name.clone(),
        tidewheel: up.tidewheel.clone().unwrap_or(beside),
        holder,
    };
    let progress = |step: &str| eprintln!("  {step}");
    match choice.way {
        Way::Packages => Cluster::start(&options, progress),
        Way::Kind => Cluster::start_with_kind(&options, up.kind_image.as_deref(), progress),
    }
}

/// Installs and builds what a cluster from packages is made of; the script says what it does.
fn prepare() -> Result<(), ClusterError> {
    let script = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../scripts/prerequisites.sh"
    ));
    let status = Command::new(script).arg("cluster").status();
    let doing = format!("{} cluster", script.display());
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(ClusterError::Failed {
            doing,
            said: format!("it ended with {status}; what it said is above"),
        }),
        Err(error) => Err(ClusterError::Io { doing, error }),
    }
}

fn image(tidewheel: Option<PathBuf>) -> Result<(), ClusterError> {
    let program = this_program()?.with_file_name("tidewheel");
    let archive = cluster::image(&tidewheel.unwrap_or(program))?;
    println!(
        "{} is in the OCI archive {}",
        cluster::TIDEWHEEL,
        archive.display()
    );
    Ok(())
}

fn down(name: &str) -> Result<(), ClusterError> {
    cluster::put_away(&Place::new(name)?)?;
    for name in cluster::put_away_abandoned()? {
        eprintln!("  put away {name}, which somebody left behind");
    }
    Ok(())
}

fn this_program() -> Result<PathBuf, ClusterError> {
    std::env::current_exe().map_err(|error| ClusterError::Io {
        doing: "finding this program".to_owned(),
        error,
    })
}
