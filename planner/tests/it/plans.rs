//! Good resources become plans.
use tidewheel_planner::{load, plan, problem};

#[test]
fn x() {
    let text = include_str!("good/web-analytics.yaml");
    let loaded = load::load_texts([("web-analytics.yaml", text)]);
    println!("{}", problem::render(&loaded.problems));
    match plan(&loaded.set) {
        Ok(plans) => println!("{plans:#?}"),
        Err(problems) => panic!("{}", problem::render(&problems)),
    }
}
