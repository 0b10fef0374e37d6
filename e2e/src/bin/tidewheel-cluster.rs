//! Makes a real Kubernetes on this machine, and puts it away.
use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tidewheel_e2e::cluster::{
    self, Cluster, ClusterError, ClusterPorts, NAMESPACE, Options, Place,
};

/// A real Kubernetes on this machine, with Kafka and PostgreSQL, in a network of its own without a way out.
#[derive(Debug, Parser)]
#[command(name = "tidewheel-cluster", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "\
Examples:
  tidewheel-cluster up          make it, and say how to use it
  tidewheel-cluster down        put it away, in whatever state it is";

#[derive(Debug, Subcommand)]
enum What {
    /// Make a cluster that stays until it is put away
    Up {
        /// Its name: one for each that runs at the same time
        #[arg(long, default_value = "local")]
        name: String,
        /// The tidewheel program that its image is made of [default: the one beside this program]
        #[arg(long, value_name = "FILE")]
        tidewheel: Option<PathBuf>,
    },
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

fn main() -> ExitCode {
    match Arguments::parse().what {
        What::Up { name, tidewheel } => shown(up(name, tidewheel)),
        What::Down { name } => shown(down(&name)),
        What::Image { tidewheel } => shown(image(tidewheel)),
        What::Hold { name, images } => {
            cluster::telling(|| cluster::hold(&Place::new(&name)?, this_program()?, &images))
        }
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

fn up(name: String, tidewheel: Option<PathBuf>) -> Result<(), ClusterError> {
    if Cluster::given()?.is_some() {
        println!("The cluster of TIDEWHEEL_KUBECONFIG answers. None is made here.");
        return Ok(());
    }
    let place = Place::new(&name)?;
    let holder = this_program()?;
    let options = Options {
        name,
        tidewheel: tidewheel.unwrap_or_else(|| holder.with_file_name("tidewheel")),
        holder,
    };
    let cluster = Cluster::start(&options, |step| eprintln!("  {step}"))?;
    cluster.install_kinds()?;
    eprintln!("  the three kinds are known");
    cluster.install_operator("tidewheel", NAMESPACE, &[])?;
    eprintln!("  the operator is ready");
    cluster.stay()?;
    println!(
        "
The cluster is ready. To use it in this shell:

  . {environment}
  kubectl get pods --all-namespaces

Images are {tidewheel} and {toolbox}. Logs are in {parts}. To put it away: make cluster-down",
        environment = place.environment().display(),
        tidewheel = cluster::TIDEWHEEL,
        toolbox = cluster::TOOLBOX,
        parts = place.part("*/server.log").display(),
    );
    Ok(())
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
