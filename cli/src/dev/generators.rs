//! The generators: a task for each EventSource that makes its events up.
use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_crds::event_source::EventSourceSpec;
use tidewheel_generate::{Ended, Runner, RunnerError};
use tidewheel_log::SystemClock;
use tidewheel_planner::names::generator_positions;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::dev::specs::{GeneratedSource, Specs};
use crate::dev::store::Store;
use crate::failure::Failure;

/// The generators at work, by the topic of their source.
#[derive(Default)]
pub(crate) struct Generators {
    by_topic: BTreeMap<String, Generator>,
}

struct Generator {
    name: String,
    spec: EventSourceSpec,
    made: watch::Receiver<u64>,
    stop: CancellationToken,
    running: JoinHandle<Result<Ended, RunnerError>>,
}

impl Generators {
    /// Runs the generators of `specs`, and no others; those that are as they were go on untouched.
    pub(crate) async fn change_to(&mut self, store: &Store, specs: &Specs) -> Result<(), Failure> {
        let same = |topic: &String, generator: &Generator| {
            specs
                .generated_sources
                .iter()
                .any(|source| source.source.topic == *topic && source.spec == generator.spec)
        };
        let (kept, ended) = std::mem::take(&mut self.by_topic)
            .into_iter()
            .partition(|(topic, generator)| same(topic, generator));
        self.by_topic = kept;
        stop_all(ended).await;
        for source in &specs.generated_sources {
            if !self.by_topic.contains_key(&source.source.topic) {
                self.by_topic
                    .insert(source.source.topic.clone(), start(store, source).await?);
            }
        }
        Ok(())
    }

    /// Waits until every generator has made its count.
    pub(crate) async fn finish(&mut self) -> Result<(), Failure> {
        for (topic, generator) in std::mem::take(&mut self.by_topic) {
            let ended = generator
                .running
                .await
                .map_err(|error| Failure::Run(format!("the generator of {topic}: {error}")))?;
            ended.map_err(|error| Failure::Run(format!("the generator of {topic}: {error}")))?;
        }
        Ok(())
    }

    /// Stops all; the events of each are in the log up to its position.
    pub(crate) async fn stop(&mut self) {
        stop_all(std::mem::take(&mut self.by_topic)).await;
    }

    /// How many events each has made since ever, by `<namespace>/<name>` of its source.
    pub(crate) fn made(&self) -> impl Iterator<Item = (String, u64)> {
        self.by_topic
            .values()
            .map(|generator| (generator.name.clone(), *generator.made.borrow()))
    }
}

async fn start(store: &Store, source: &GeneratedSource) -> Result<Generator, Failure> {
    let log = store.log();
    let positions = generator_positions(&source.source.namespace, &source.source.name);
    let topic = source.source.topic.clone();
    let runner = Runner::open(
        log,
        Arc::new(SystemClock),
        &source.spec,
        &source.source,
        &positions,
    )
    .await
    .map_err(|error| Failure::Run(format!("the generator of {topic}: {error}")))?;
    let (made, stop) = (runner.made(), CancellationToken::new());
    let told = stop.clone();
    let running = tokio::spawn(async move {
        let ended = runner.run(told).await;
        if let Err(error) = &ended {
            tracing::error!(topic, %error, "the generator has stopped");
        }
        ended
    });
    let name = source.source.full_name();
    Ok(Generator {
        name,
        spec: source.spec.clone(),
        made,
        stop,
        running,
    })
}

async fn stop_all(generators: BTreeMap<String, Generator>) {
    for generator in generators.into_values() {
        generator.stop.cancel();
        // What went wrong was logged where it did.
        let _ = generator.running.await;
    }
}
