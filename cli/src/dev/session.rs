//! A run from its first event to its last.
use std::time::Duration;

use prometheus::Registry;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::problem::Problem;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::args::DevArgs;
use crate::dev::changes;
use crate::dev::generators::Generators;
use crate::dev::kept::Kept;
use crate::dev::listen::{DEFAULT_ADDRESS, Listening};
use crate::dev::live::Live;
use crate::dev::pipelines::Pipelines;
use crate::dev::results::{self, Selection};
use crate::dev::send::{self, Sent, Target};
use crate::dev::specs::{GeneratedSource, Specs};
use crate::dev::store::Store;
use crate::dev::watch::Changes;
use crate::failure::{Exit, Failure};
use crate::metrics::{ProcessMetrics, WorkerMetrics};
use crate::{signals, view};

/// How often the view is told of the moment.
const SHOW_EVERY: Duration = Duration::from_millis(250);
/// How often old events are forgotten, and state is made smaller.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Everything that runs.
struct Session {
    args: DevArgs,
    specs: Specs,
    store: Store,
    pipelines: Pipelines,
    listening: Option<Listening>,
    generators: Generators,
    kept: Kept,
}

/// Runs what the files say.
pub(crate) async fn run(args: DevArgs, specs: Specs) -> Result<Exit, Failure> {
    let targets = Target::parse_all(&args.send, &specs.playable(args.kafka.is_some()))?;
    if args.until_idle {
        refuse_endless(&specs)?;
    }
    let stop = signals::stop()?;
    let mut session = Session::start(args, specs).await?;
    let outcome = if session.args.until_idle {
        session.play(&targets, &stop).await
    } else {
        session.serve(targets, &stop).await
    };
    session.end().await;
    outcome
}

fn refuse_endless(specs: &Specs) -> Result<(), Failure> {
    let is_endless = |source: &&GeneratedSource| {
        source
            .spec
            .generator
            .as_ref()
            .is_some_and(|generator| generator.count.is_none())
    };
    match specs.generated_sources.iter().find(is_endless) {
        None => Ok(()),
        Some(GeneratedSource { source, .. }) => Err(Failure::usage(
            format!(
                "--until-idle: the generator of {}/{} has no end",
                source.namespace, source.name
            ),
            "give it a `count`, or leave --until-idle out and end the run with Ctrl-C",
        )),
    }
}

fn refuse(problems: Vec<Problem>) -> Result<(), Failure> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Failure::Specs(problems))
    }
}

impl Session {
    async fn start(args: DevArgs, specs: Specs) -> Result<Self, Failure> {
        let mut kept = Kept::read(args.data.as_deref())?;
        refuse(changes::refused(&kept, &specs.set, &specs.plans))?;
        let mut store = Store::open(&args, &specs.set).await?;
        refuse(store.obstacles(&specs.set, &specs.plans).await?)?;
        store.prepare_existing(&specs.set, &specs.plans).await?;
        kept.update(&specs.set, &specs.plans)?;
        store.prepare_sources(&specs.set).await?;
        let address = args
            .listen
            .or((!args.until_idle && !specs.http_sources.is_empty()).then_some(DEFAULT_ADDRESS));
        let worker_metrics = WorkerMetrics::new()?;
        let listening = match address {
            Some(address) => {
                let registry = Registry::new();
                registry.register(Box::new(worker_metrics.clone()))?;
                registry.register(Box::new(ProcessMetrics::new()?))?;
                let sources = specs.http_sources.clone();
                Some(Listening::start(address, store.log(), sources, registry).await?)
            }
            None => None,
        };
        let mut session = Self {
            args,
            store,
            pipelines: Pipelines::new(worker_metrics),
            listening,
            generators: Generators::default(),
            kept,
            specs,
        };
        let plans = session.specs.plans.clone();
        for plan in &plans {
            session.store.prepare(plan).await?;
        }
        for plan in plans {
            session.start_pipeline(plan).await?;
        }
        session
            .generators
            .change_to(&session.store, &session.specs)
            .await?;
        Ok(session)
    }

    async fn start_pipeline(&mut self, mut plan: Plan) -> Result<(), Failure> {
        if self.args.until_idle {
            // The input has an end: what a partition's silence means is known then, and no verdict hangs on how fast this machine is.
            plan.sources
                .iter_mut()
                .for_each(|source| source.idle_after_ms = u64::MAX);
        }
        self.pipelines.start(&self.store, plan).await
    }

    /// Plays the input to its end and prints what came of it; told to stop, what there is by then.
    async fn play(
        &mut self,
        targets: &[Target],
        stop: &CancellationToken,
    ) -> Result<Exit, Failure> {
        let sent = tokio::select! {
            biased;
            sent = self.read_to_end(targets) => match sent {
                Ok(sent) => sent,
                Err(failure) => {
                    eprintln!("the end of the input was not reached: what is printed is what there is so far, without the windows that are open");
                    if let Err(error) = self.print(true).await {
                        tracing::warn!(%error, "what there is cannot be printed");
                    }
                    return Err(failure);
                }
            },
            () = stop.cancelled() => {
                eprintln!("stopped before the end of the input: what is printed is what there is so far, without the windows that are open");
                self.print(true).await?;
                return Ok(Exit::Stopped);
            }
        };
        let balanced = tokio::select! {
            biased;
            balanced = self.print(false) => balanced?,
            () = stop.cancelled() => {
                eprintln!("stopped while results were printed: they are not whole");
                return Ok(Exit::Stopped);
            }
        };
        sent?;
        send::forget_positions(self.store.log().as_ref(), targets).await?;
        Ok(if balanced { Exit::Good } else { Exit::Failed })
    }

    /// Plays the input to its end and closes every window. What was sent, or why not all of it: what came before it counts either way.
    async fn read_to_end(&mut self, targets: &[Target]) -> Result<Result<Sent, Failure>, Failure> {
        let sent = send::send_all(self.store.log().as_ref(), targets, self.args.rate, true).await;
        if let Ok(sent) = &sent {
            report(*sent).iter().for_each(|text| eprintln!("{text}"));
        }
        self.generators.finish().await?;
        if let Some(listening) = self.listening.take() {
            listening.stop().await;
        }
        self.pipelines.close_windows().await?;
        Ok(sent)
    }

    /// Prints what there is. Whether every ledger balances.
    async fn print(&self, is_partial: bool) -> Result<bool, Failure> {
        let selection = Selection {
            only: self.args.only.clone(),
            rows: self.args.rows,
            is_partial,
        };
        results::print(
            &self.store,
            &self.pipelines,
            self.args.output_format,
            &selection,
        )
        .await
    }

    /// Runs until told to stop; what changes in the files is taken over.
    async fn serve(
        &mut self,
        targets: Vec<Target>,
        stop: &CancellationToken,
    ) -> Result<Exit, Failure> {
        let mut changes = Changes::watch(&self.args.paths)?;
        let mut live = Live::start(stop);
        live.serve(&self.specs, self.listening.as_ref());
        let outcome = self
            .serve_until(&mut changes, &mut live, targets, stop)
            .await;
        live.end().await;
        outcome
    }

    async fn serve_until(
        &mut self,
        changes: &mut Changes,
        live: &mut Live,
        targets: Vec<Target>,
        stop: &CancellationToken,
    ) -> Result<Exit, Failure> {
        let (log, rate) = (self.store.log(), self.args.rate);
        let mut sending =
            Box::pin(
                async move { send::send_all(log.as_ref(), &targets, rate, !view::draws()).await },
            );
        let mut is_sent = self.args.send.is_empty();
        let mut shows = tokio::time::interval(SHOW_EVERY);
        shows.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(Exit::Good),
                _ = shows.tick() => live.show(&self.store, &self.pipelines, self.listening.as_ref(), &self.generators).await,
                _ = upkeep.tick() => self.store.tidy(),
                () = changes.next() => self.take_changes(live).await,
                sent = &mut sending, if !is_sent => {
                    is_sent = true;
                    match sent {
                        Ok(sent) => {
                            live.notice(format!("{} events were sent", sent.events));
                            report(sent).into_iter().for_each(|text| live.notice(text));
                        }
                        Err(failure) => live.notice(failure.to_string()),
                    }
                }
            }
        }
    }

    /// Takes over what the files say now, or says why it does not.
    async fn take_changes(&mut self, live: &mut Live) {
        let outcome = match Specs::read(&self.args.paths) {
            Ok(new) => self.change_to(new).await,
            Err(problems) => Err(Failure::Specs(problems)),
        };
        match outcome {
            Ok(changed) => changed.into_iter().for_each(|text| live.notice(text)),
            Err(failure) => {
                live.notice(failure.to_string());
                live.notice(
                    "the files have changed, but what ran before goes on until this is mended",
                );
            }
        }
        live.serve(&self.specs, self.listening.as_ref());
    }

    /// What is new in words. Before anything is stopped, everything that can be refused is done.
    async fn change_to(&mut self, new: Specs) -> Result<Vec<String>, Failure> {
        refuse(changes::refused(&self.kept, &new.set, &new.plans))?;
        let changed: Vec<Plan> = new
            .plans
            .iter()
            .filter(|plan| new.meaning(plan) != self.specs.meaning(plan))
            .cloned()
            .collect();
        refuse(self.store.obstacles(&new.set, &changed).await?)?;
        self.store.prepare_existing(&new.set, &new.plans).await?;
        self.kept.update(&new.set, &new.plans)?;
        for plan in &changed {
            self.store.prepare(plan).await?;
        }
        // Sources last: the pipelines that run take up new partitions at once, and want their own topics to have as many.
        self.store.prepare_sources(&new.set).await?;
        if let Some(listening) = &self.listening {
            listening.replace(new.http_sources.clone())?;
        }
        let mut words: Vec<String> = new.warnings.iter().map(Problem::to_string).collect();
        let planned: Vec<String> = new.plans.iter().map(Plan::full_name).collect();
        for gone in self
            .pipelines
            .names()
            .into_iter()
            .filter(|name| !planned.contains(name))
        {
            self.pipelines.stop(&gone).await;
            words.push(format!("{gone} has stopped"));
        }
        let sources_changed = self.specs.sources_text() != new.sources_text();
        self.specs = new;
        for plan in changed {
            let name = plan.full_name();
            let verb = if self.pipelines.names().contains(&name) {
                "goes on"
            } else {
                "begins"
            };
            words.push(format!("{name} {verb} as the files say now"));
            self.start_pipeline(plan).await?;
        }
        self.generators.change_to(&self.store, &self.specs).await?;
        if words.is_empty() && sources_changed {
            words.push("the sources are served as the files say now".to_owned());
        }
        Ok(words)
    }

    async fn end(mut self) {
        if let Some(listening) = self.listening.take() {
            listening.stop().await;
        }
        self.generators.stop().await;
        self.pipelines.stop_all().await;
        self.store.close().await;
    }
}

/// What a person should know of what was sent.
fn report(sent: Sent) -> Vec<String> {
    let Sent {
        events,
        refused,
        before,
    } = sent;
    let mut texts = Vec::new();
    if refused > 0 {
        texts.push(format!("{refused} of {events} events are refused: they are dead letters of the pipelines that read them"));
    }
    if before > 0 {
        texts.push(format!(
            "{before} of {events} events were sent by an earlier run"
        ));
    }
    texts
}
