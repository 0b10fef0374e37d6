//! The holder of a cluster by kind: a process beside it that has it made, keeps Kafka and PostgreSQL for it, and puts it away.
//!
//! ```text
//!   maker ── pipe ──> holder ──> kind ──> the node, a container of the Docker engine
//!                       └──> Kafka, PostgreSQL <── pods, by the gateway of the node's network
//! ```
//!
//! The pipe ends with the maker, however that ends; then the holder puts the cluster away, unless it was told to stay. When the
//! holder is killed, so are Kafka and PostgreSQL; the node is left for the next who makes or puts away a cluster.
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use crate::{
    cluster::{
        claim::Claim,
        error::{ClusterError, io, io_at},
        hold::is_told_to_stay,
        kind,
        place::Place,
        programs::{built, client},
        run::{make_folder, printed, run},
        said::Said,
        servers::{self, KAFKA_PORT},
        sweep,
    },
    kafka::Kafka,
    postgres::Postgres,
};

/// Has kind make a cluster with the image in an archive, and holds it until it is told to put it away; says on standard output
/// what happens. `node_image` is what the node is made of, where it is not to be kind's own choice.
///
/// # Errors
/// [`ClusterError`] where the name is taken, or the cluster cannot be put away.
pub fn hold_kind(
    place: &Place,
    node_image: Option<String>,
    archive: PathBuf,
) -> Result<(), ClusterError> {
    let claim = Claim::new(place)?;
    let creation = Arc::new(Creation::default());
    let made = {
        let (place, creation) = (place.clone(), Arc::clone(&creation));
        thread::spawn(move || told(make(&place, node_image.as_deref(), &archive, &creation)))
    };
    if is_told_to_stay() {
        loop {
            // Until this process is killed, and the servers with it.
            thread::park();
        }
    }
    creation.end();
    let deleted = kind::remove(place);
    // Whatever was still being made has failed by now. The servers end here.
    drop(made.join());
    let removed = deleted.and_then(|()| sweep::remove(place));
    drop(claim);
    removed
}

/// Tells the maker that it is made, or why it is not.
fn told<T>(made: Result<T, ClusterError>) -> Option<T> {
    match made {
        Ok(made) => {
            Said::Ready.tell();
            Some(made)
        }
        Err(error) => {
            Said::Failed(error.to_string()).tell();
            None
        }
    }
}

/// Makes everything, until pods can run.
fn make(
    place: &Place,
    node_image: Option<&str>,
    archive: &Path,
    creation: &Creation,
) -> Result<(Kafka, Postgres), ClusterError> {
    let started = Instant::now();
    let step = |what: &str| {
        Said::Step(format!("{what} ({:.1} s)", started.elapsed().as_secs_f64())).tell();
    };
    make_folder(&place.temporary())?;
    let mark = kind::mark(place);
    std::fs::write(&mark, kind::engine()?).map_err(io_at("making", &mark))?;
    creation.run(kind::create(place, node_image))?;
    step("kind has made the node");
    let address = kind::gateway(place)?;
    let (loaded, kafka, postgres) = thread::scope(|scope| {
        let kafka =
            scope.spawn(|| servers::start_kafka(address, None).inspect(|_| step("Kafka answers")));
        let postgres = scope.spawn(|| {
            servers::start_postgres(address, None).inspect(|_| step("PostgreSQL answers"))
        });
        let loaded = kind::load(place, archive).inspect(|()| step("the node has the image"));
        (loaded, servers::joined(kafka), servers::joined(postgres))
    });
    loaded?;
    let (kafka, postgres) = (kafka?, postgres?);
    for port in [KAFKA_PORT, postgres.port()] {
        kind::check_way(place, address, port)?;
    }
    let kubectl = client("kubectl").unwrap_or_else(|| PathBuf::from("kubectl"));
    servers::publish(place, &kubectl, address, postgres.port())?;
    wait_until_ready(place, &kubectl)?;
    step("the node is ready");
    let helm = built("helm");
    let programs = helm.as_deref().and_then(Path::parent);
    servers::describe(place, programs, kind::TOOLBOX, &kafka, &postgres)?;
    Ok((kafka, postgres))
}

fn wait_until_ready(place: &Place, kubectl: &Path) -> Result<(), ClusterError> {
    let mut command = Command::new(kubectl);
    command
        .arg(format!("--kubeconfig={}", place.kubeconfig().display()))
        .args(["wait", "--for=condition=Ready", "--timeout=180s"])
        .args(["nodes", "--all"]);
    run(&mut command, "waiting for the node to be ready").map(drop)
}

/// The run of kind that makes the cluster, for the other thread to end.
#[derive(Default)]
struct Creation(Mutex<Run>);

#[derive(Default)]
struct Run {
    process: Option<u32>,
    /// Whether nothing is to be made any more.
    ended: bool,
}

impl Creation {
    /// Runs a command to its end, or until somebody [ends](Self::end) it.
    fn run(&self, mut command: Command) -> Result<(), ClusterError> {
        let doing = "kind create cluster";
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = {
            let mut run = self.lock();
            if run.ended {
                return Err(ClusterError::Failed {
                    doing: doing.to_owned(),
                    said: "nobody waits for it any more".to_owned(),
                });
            }
            let child = command.spawn().map_err(io(doing))?;
            run.process = Some(child.id());
            child
        };
        let output = child.wait_with_output().map_err(io(doing));
        self.lock().process = None;
        printed(output?, doing).map(drop)
    }

    /// Ends what runs, and lets nothing begin.
    fn end(&self) {
        let mut run = self.lock();
        run.ended = true;
        if let Some(process) = run.process {
            // It may have ended since.
            let _ = Command::new("kill")
                .args(["-KILL", &process.to_string()])
                .stderr(Stdio::null())
                .status();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Run> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
