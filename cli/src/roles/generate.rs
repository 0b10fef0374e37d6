//! `tidewheel generate`: the events of an EventSource that makes them up.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};
use tidewheel_crds::event_source::EventSourceSpec;
use tidewheel_generate::{Ended, Runner, RunnerError};
use tidewheel_ingest::{Check, LogProbe, Readiness};
use tidewheel_log::SystemClock;
use tidewheel_log_kafka::KafkaLog;
use tidewheel_planner::names::generator_positions;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::metrics::Declared;
use crate::roles::args::GenerateArgs;
use crate::roles::operations::Operations;
use crate::roles::specs::RoleSpecs;
use crate::roles::{open_log, readiness, run_until_told};

/// The longest pause between attempts to begin.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const MADE: Declared = Declared {
    name: "tidewheel_generate_events_total",
    help: "Events that the generator of a source (namespace/name) has made since ever, by all its processes.",
    kind: MetricType::COUNTER,
    labels: &["source"],
};

/// Makes events until SIGTERM, or with `--until-made` until all are made.
pub(crate) fn run(args: GenerateArgs) -> Result<Exit, Failure> {
    let specs = RoleSpecs::read(&args.specs.specs, &args.specs.secrets)?;
    let (spec, source) = specs.generated_source(args.source.as_deref())?;
    if args.until_made
        && spec
            .generator
            .as_ref()
            .is_some_and(|made| made.count.is_none())
    {
        return Err(Failure::usage(
            format!(
                "--until-made: the generator of {}/{} has no end",
                source.namespace, source.name
            ),
            "give it a `count`, or leave --until-made out",
        ));
    }
    run_until_told(args.operations.grace, |stop| {
        make(&args, spec, source, stop)
    })
}

async fn make(
    args: &GenerateArgs,
    spec: &EventSourceSpec,
    source: tidewheel_ingest::Source,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let log = open_log(&args.kafka.kafka)?;
    let (made, seen) = watch::channel(0);
    let registry = Registry::new();
    let name = source.full_name();
    registry.register(Box::new(GeneratorMetrics::new(name.clone(), seen)?))?;
    let readiness = Arc::new(GeneratorReadiness {
        log: LogProbe::new(Arc::new(log.clone())),
        topic: source.topic.clone(),
    });
    let operations = Operations::start(
        args.operations.operations,
        registry,
        Some(&log),
        vec![readiness],
    )?;
    let Some(runner) = open(&log, spec, &source, &stop).await? else {
        operations.stop().await;
        return Ok(());
    };
    let ended = follow(runner, made, stop.clone()).await;
    let ended = ended.map_err(|error| Failure::Run(format!("the generator of {name}: {error}")))?;
    if ended == Ended::Finished {
        tracing::info!(source = name, "all declared events are made");
        if !args.until_made {
            // Whoever watches this process would begin it anew if it ended.
            stop.cancelled().await;
        }
    }
    operations.stop().await;
    Ok(())
}

/// Runs the generator, and tells how many events were made.
async fn follow(
    runner: Runner,
    made: watch::Sender<u64>,
    stop: CancellationToken,
) -> Result<Ended, RunnerError> {
    let mut counted = runner.made();
    let telling = async {
        loop {
            made.send_replace(*counted.borrow_and_update());
            if counted.changed().await.is_err() {
                // The runner has ended.
                return std::future::pending::<()>().await;
            }
        }
    };
    let last = runner.made();
    let ended = tokio::select! {
        ended = runner.run(stop) => ended,
        () = telling => Ok(Ended::Stopped),
    };
    made.send_replace(*last.borrow());
    ended
}

/// A generator whose topics are there; none where it was told to stop before they were.
async fn open(
    log: &KafkaLog,
    spec: &EventSourceSpec,
    source: &tidewheel_ingest::Source,
    stop: &CancellationToken,
) -> Result<Option<Runner>, Failure> {
    let positions = generator_positions(&source.namespace, &source.name);
    let mut pause = Duration::from_millis(200);
    loop {
        let log = Arc::new(log.clone());
        let opening = Runner::open(log, Arc::new(SystemClock), spec, source, &positions);
        let opened = tokio::select! {
            opened = opening => opened,
            () = stop.cancelled() => return Ok(None),
        };
        match opened {
            Ok(runner) => return Ok(Some(runner)),
            Err(error) if error.is_transient() || error.is_missing_topic() => {
                tracing::warn!(%error, "events cannot be made yet");
            }
            Err(error) => return Err(Failure::Run(error.to_string())),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return Ok(None),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What a generator has made.
struct GeneratorMetrics {
    source: String,
    made: watch::Receiver<u64>,
    desc: Desc,
}

impl GeneratorMetrics {
    /// `source` is `<namespace>/<name>` of the EventSource.
    fn new(source: String, made: watch::Receiver<u64>) -> prometheus::Result<Self> {
        Ok(Self {
            source,
            made,
            desc: MADE.desc()?,
        })
    }
}

impl Collector for GeneratorMetrics {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let made = *self.made.borrow() as f64;
        vec![MADE.family(vec![MADE.value(&[&self.source], made)])]
    }
}

/// Whether a generator can work: the log answers, and has the topic.
struct GeneratorReadiness {
    log: LogProbe,
    topic: String,
}

#[async_trait]
impl Readiness for GeneratorReadiness {
    async fn check(&self) -> Vec<Check> {
        vec![readiness::log(&self.log, &self.topic).await]
    }
}
