//! Specs to a typed plan, or errors that name the line and the fix.
//!
//! ```
//! let loaded = tidewheel_planner::load::load_texts([("empty.yaml", "")]);
//! let plans = tidewheel_planner::plan(&loaded.set).expect("nothing is wrong with nothing");
//! assert!(plans.is_empty());
//! ```
mod fingerprint;
mod graph;
pub mod load;
mod nearest;
mod output;
mod pipeline;
pub mod plan;
pub mod problem;
mod relation;
pub mod resource;
pub mod source;
mod sql;
mod steps;

pub use fingerprint::STATE_FORMAT;
pub use problem::Problem;
pub use resource::ResourceSet;

use plan::Plan;

/// Plans all pipelines of a set.
///
/// # Errors
/// Everything that is wrong in any resource of the set.
pub fn plan(set: &ResourceSet) -> Result<Vec<Plan>, Vec<Problem>> {
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
    if problems.is_empty() {
        Ok(plans)
    } else {
        Err(problems)
    }
}
