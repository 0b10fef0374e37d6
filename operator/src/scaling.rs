//! Workers follow their lag: they are looked at every few seconds, and there are soon more of them where they do not catch up in time.
//!
//! ```text
//!  pods ──▶ scrape ──▶ exposition ──▶ progress ──▶ decision ──▶ autoscaler ──▶ reconcile, which applies it
//!           /metrics   tasks          lag, rates   how many     when      └──▶ told: conditions, lag, status.scaling
//! ```
//! Only the first two arrows touch the network. `docs/scaling.md` says what users need to know of it.
mod autoscaler;
mod decision;
mod exposition;
mod look;
mod progress;
mod scrape;
mod told;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream;
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use self::autoscaler::Autoscaler;
pub(crate) use self::decision::Bounds;
use self::look::Look;
pub(crate) use self::progress::Inputs;
use self::progress::Progress;
use self::scrape::{Scraper, Worker};
use self::told::Teller;
pub(crate) use self::told::Told;
use crate::children::{ChildKind, Role};
use crate::context::{Context, owner};
use crate::report;
use crate::resource::{Declared, Pipeline};

/// How often workers are looked at: as often as they ask where their inputs end.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How many Pipelines are looked at together.
const AT_A_TIME: usize = 16;
/// How long workers that were added may take to be there before they count as missing.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);

/// What is known about the workers of each Pipeline, by its `uid`.
#[derive(Default)]
pub(crate) struct Scalings(Mutex<HashMap<String, Known>>);

/// What is known about the workers of a Pipeline.
#[derive(Default)]
struct Known {
    /// A digest of the plan that they run.
    plan: Option<String>,
    inputs: Option<Inputs>,
    /// Whether what was measured before this process began was taken.
    is_recalled: bool,
    progress: Progress,
    autoscaler: Autoscaler,
    teller: Teller,
}

impl Scalings {
    /// Workers run this plan, which has these inputs. What was measured of another says nothing.
    pub(crate) fn planned(&self, uid: &str, plan: &str, inputs: Inputs) {
        let mut scalings = self.0.lock();
        let known = scalings.entry(uid.to_owned()).or_default();
        if known.plan.as_deref().is_some_and(|before| before != plan) {
            known.progress.forget();
        }
        known.plan = Some(plan.to_owned());
        known.inputs = Some(inputs);
    }

    /// How many workers there should be: `found` where nothing was decided yet.
    pub(crate) fn replicas(&self, uid: &str, found: Option<u32>, bounds: &Bounds) -> u32 {
        let mut scalings = self.0.lock();
        let known = scalings.entry(uid.to_owned()).or_default();
        let partitions = known.partitions();
        known.autoscaler.replicas(found, bounds, partitions)
    }

    /// What is to be told; nothing where nobody has looked yet.
    pub(crate) fn told(&self, uid: &str) -> Told {
        let scalings = self.0.lock();
        let known = scalings.get(uid);
        known.map_or_else(Told::default, |known| known.teller.told.clone())
    }

    /// Whether workers were added a moment ago.
    pub(crate) fn is_settling(&self, uid: &str) -> bool {
        let scalings = self.0.lock();
        let known = scalings.get(uid);
        known.is_some_and(|known| known.autoscaler.is_settling(Instant::now(), SETTLES_WITHIN))
    }
}

impl Known {
    /// The partitions of the input that has most of them; 0 where that is not known.
    fn partitions(&self) -> u32 {
        let partitions = self.progress.partitions(self.inputs.as_ref());
        partitions.into_values().max().unwrap_or_default()
    }
}

/// Looks at the workers of all Pipelines again and again. Never ends.
pub(crate) async fn run(context: Arc<Context>) {
    let scraper = match Scraper::new() {
        Ok(scraper) => scraper,
        Err(error) => {
            tracing::error!(%error, "workers cannot be looked at: their number stays as it is");
            return;
        }
    };
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let pipelines = context.world.pipelines.state();
        let uids: HashSet<&str> = pipelines
            .iter()
            .filter_map(|pipeline| pipeline.metadata.uid.as_deref())
            .collect();
        context
            .scalings
            .0
            .lock()
            .retain(|uid, _| uids.contains(uid.as_str()));
        stream::iter(&pipelines)
            .for_each_concurrent(AT_A_TIME, |pipeline| look_at(pipeline, &context, &scraper))
            .await;
    }
}

/// Looks at the workers of a Pipeline that has some.
async fn look_at(pipeline: &Pipeline, context: &Context, scraper: &Scraper) {
    if pipeline.is_deleted() || deployed(pipeline, context).is_none() {
        return;
    }
    let seen = if pipeline.is_suspended() {
        context.scalings.see_suspended(pipeline)
    } else {
        let workers = workers(pipeline, context);
        let scraped = scraper.scrape(&full_name(pipeline), &workers).await;
        let look = Look {
            bounds: pipeline.bounds(),
            found: replicas_found(pipeline, context),
            measured: pipeline.status().scaling,
            ready: u32::try_from(workers.len()).unwrap_or(u32::MAX),
            scraped,
        };
        context.scalings.see(pipeline, &look)
    };
    if let Some(decided) = &seen.decided {
        tracing::info!(
            namespace = pipeline.namespace(),
            name = pipeline.name(),
            decided.message,
            "the number of workers changes"
        );
        let reason = if decided.is_up {
            "ScaledUp"
        } else {
            "ScaledDown"
        };
        report::event(pipeline, context, false, reason, "Scale", &decided.message).await;
    }
    if seen.is_news {
        context.bell.ring(pipeline);
    }
}

/// How many workers there were before this process decided anything: those that were decided last, or those that are there.
pub(crate) fn replicas_found(pipeline: &Pipeline, context: &Context) -> Option<u32> {
    let decided = pipeline.status().scaling.map(|scaling| scaling.replicas);
    let decided = decided.and_then(|replicas| u32::try_from(replicas).ok());
    let there = || deployed(pipeline, context).filter(|replicas| *replicas > 0);
    decided.filter(|replicas| *replicas > 0).or_else(there)
}

/// How many workers the Deployment asks for; none where there is no Deployment.
fn deployed(pipeline: &Pipeline, context: &Context) -> Option<u32> {
    let owner = owner(pipeline);
    let name = Role::Worker.workload(&owner.name);
    let deployment = context
        .world
        .child(ChildKind::Deployment, &owner.namespace, &name)?;
    let replicas = deployment.data.pointer("/spec/replicas")?.as_u64()?;
    u32::try_from(replicas).ok()
}

fn workers(pipeline: &Pipeline, context: &Context) -> Vec<Worker> {
    let owner = owner(pipeline);
    let deployment = Role::Worker.workload(&owner.name);
    let pods = context.world.pods_of(&owner.namespace, &deployment);
    pods.iter().filter_map(|pod| Worker::of(pod)).collect()
}

fn full_name(pipeline: &Pipeline) -> String {
    format!("{}/{}", pipeline.namespace(), pipeline.name())
}
