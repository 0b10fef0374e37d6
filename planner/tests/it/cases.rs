//! YAML files as cases: each is read together with `base.yaml`, which has a source `clicks` and a sink `warehouse`.
use std::path::{Path, PathBuf};

use tidewheel_planner::load::load_texts;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::{Problem, judge};

pub(crate) const BASE: &str = include_str!("base.yaml");

/// All cases of a folder, sorted: name and text.
pub(crate) fn cases(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it")
        .join(folder);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    paths
        .iter()
        .map(|path| (name(path), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// What comes of a file beside `base.yaml`.
pub(crate) fn judged(name: &str, text: &str) -> (Vec<Plan>, Vec<Problem>) {
    let file = format!("{name}.yaml");
    // A case with a `clicks` of its own stands by itself.
    let own = text.contains("{name: clicks, namespace: shop}")
        || text.contains("{name: web, namespace: shop}");
    let base = if own { "" } else { BASE };
    let (_, plans, problems) = judge(load_texts([("base.yaml", base), (file.as_str(), text)]));
    (plans, problems)
}

/// The plan of a pipeline over `clicks` with these steps, whose last is an output.
pub(crate) fn plan_of(steps: &str) -> Plan {
    let (mut plans, problems) = judged("inline", &pipeline(steps));
    assert!(
        problems.is_empty(),
        "{}",
        tidewheel_planner::problem::render(&problems)
    );
    plans.pop().unwrap()
}

/// A pipeline over `clicks` with these steps (one YAML flow mapping a line); the output reads the last.
pub(crate) fn pipeline(steps: &str) -> String {
    let last = steps.trim().lines().last().unwrap();
    let last = last
        .split("name: ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    let steps: String = steps
        .trim()
        .lines()
        .map(|line| format!("    - {}\n", line.trim()))
        .collect();
    format!(
        "apiVersion: tidewheel.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: kpis, namespace: shop}}\nspec:\n  \
         sources: [{{name: clicks}}]\n  steps:\n{steps}  outputs:\n    - {{name: rows, from: {last}, postgres: {{sink: warehouse}}}}\n"
    )
}
