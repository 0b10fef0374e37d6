//! Specs to a typed plan, or errors that name the line and the fix.
//!
//! ```mermaid
//! flowchart LR
//!   files -- load --> set[ResourceSet] -- plan --> plans[Plan]
//!   files -- load --> problems[Problem]
//!   set -- plan --> problems
//! ```
//!
//! ```
//! use tidewheel_planner::{load, plan, problem};
//!
//! let pipeline = "
//! apiVersion: tidewheel.dev/v1alpha1
//! kind: Pipeline
//! metadata: {name: kpis}
//! spec:
//!   sources: [{name: clicks}]
//!   outputs: [{name: raw, from: clicks, postgres: {sink: warehouse}}]
//! ";
//! let loaded = load::load_texts([("kpis.yaml", pipeline)]);
//! let problems = plan(&loaded.set).expect_err("neither the source nor the sink is there");
//! assert!(problem::render(&problems).contains("there is no EventSource `clicks` in the namespace `default`"));
//! ```
//!
//! Planning is pure: the same resources give the same plan, whenever and wherever they are planned. Only [`load::load`] reads files.
mod explain;
mod fingerprint;
pub mod generations;
mod graph;
pub mod load;
pub mod names;
mod nearest;
mod output;
mod pipeline;
pub mod plan;
pub mod postgres;
pub mod problem;
mod relation;
pub mod resource;
mod shared_table;
mod shared_topic;
pub mod source;
mod sql;
mod steps;
pub mod topics;
pub mod window;

pub use fingerprint::STATE_FORMAT;
pub use problem::Problem;
pub use resource::ResourceSet;
pub use sql::types::TYPE_KEY;
pub use sql::windowed::{WINDOW_END, WINDOW_START};

use plan::Plan;

/// SQL nests as deep as its writer likes, and its planner with it.
const STACK_BYTES: usize = 64 << 20;

/// Plans all pipelines of a set.
///
/// # Errors
/// Everything that is wrong in any resource of the set, beyond what its schema says (that is found when it is loaded).
pub fn plan(set: &ResourceSet) -> Result<Vec<Plan>, Vec<Problem>> {
    std::thread::scope(|scope| {
        let planning = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || plan_all(set));
        match planning.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(planned)) => planned,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            // No thread to be had: as deep as this one goes.
            Err(_) => plan_all(set),
        }
    })
}

fn plan_all(set: &ResourceSet) -> Result<Vec<Plan>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut plans = Vec::new();
    for event_source in &set.event_sources {
        problems.extend(source::event_schema(event_source).err().unwrap_or_default());
    }
    for pipeline in &set.pipelines {
        match pipeline::plan(pipeline, set) {
            Ok(plan) => plans.push(plan),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(clashes(set));
    problems.retain(|problem| !set.is_violated(problem));
    // What was left out of a resource keeps it from running, though the rest of it was judged.
    let whole = set.broken.is_empty() && set.violated.is_empty();
    let complete = plans.len() == set.pipelines.len() && whole;
    if problems.is_empty() && complete {
        Ok(plans)
    } else {
        Err(problems)
    }
}

/// Every output of a set that would write where something else of the set does already, be it a table or a topic. Of two outputs the one of
/// the later Pipeline is to blame.
pub fn clashes(set: &ResourceSet) -> Vec<Problem> {
    [
        shared_table::shared_tables(set),
        shared_topic::shared_topics(set),
    ]
    .concat()
}

/// Reads and judges files and folders: the plans, if nothing is wrong, and all problems and warnings.
pub fn check(paths: &[std::path::PathBuf]) -> (ResourceSet, Vec<Plan>, Vec<Problem>) {
    judge(load::load(paths))
}

/// Judges what was loaded: the plans, if nothing is wrong, and all problems and warnings.
pub fn judge(loaded: load::Loaded) -> (ResourceSet, Vec<Plan>, Vec<Problem>) {
    let load::Loaded { set, mut problems } = loaded;
    let plans = match plan(&set) {
        Ok(plans) => plans,
        Err(found) => {
            problems.extend(found);
            Vec::new()
        }
    };
    let wrong = problems.iter().any(Problem::is_error);
    (set, if wrong { Vec::new() } else { plans }, problems)
}
