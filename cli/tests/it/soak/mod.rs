//! Workers are killed, servers stopped and set back, while events flow in that are late, come twice, or are broken. In the end rows, windows,
//! dead letters and ledgers have to be those of a batch query over the source's topic.
//!
//! `make soak` kills a hundred workers. `TIDEWHEEL_SOAK_KILLS` and `TIDEWHEEL_SOAK_SEED` say how many are killed, and what happens when;
//! with `TIDEWHEEL_SOAK_ONLY=Kafka` only faults happen whose names hold that word.
mod batch_query;
mod events;
mod faults;
mod flow;
mod ledger;
mod progress;
mod recovery;
mod scene;
mod topic;
mod verdict;

use std::time::Duration;

use rand::seq::SliceRandom as _;

use self::faults::Fault;
use self::scene::Scene;

/// How many workers are killed unless it is said otherwise.
const KILLS: usize = 10;
const SEED: u64 = 7;

fn asked<T: std::str::FromStr>(variable: &str, otherwise: T) -> T {
    let said = std::env::var(variable).ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn whatever_fails_results_are_those_of_a_batch_query() {
    let seed = asked("TIDEWHEEL_SOAK_SEED", SEED);
    let kills = asked("TIDEWHEEL_SOAK_KILLS", KILLS);
    println!("seed {seed}, {kills} kills");
    let mut scene = Scene::set(seed);
    let only = asked("TIDEWHEEL_SOAK_ONLY", String::new());
    let is_asked = |fault: &Fault| format!("{fault:?}").contains(&only);
    let mut faults = Fault::all();
    faults.retain(is_asked);
    faults.shuffle(&mut scene.random);
    let mut befallen = 0;
    while scene.kills < kills || !faults.is_empty() {
        let fault = faults.pop().unwrap_or_else(|| Fault::draw(&mut scene));
        if !is_asked(&fault) {
            continue;
        }
        fault.befall(&mut scene);
        befallen += 1;
        scene.wait(Duration::from_secs(1));
    }
    let killed = scene.kills;
    let (compared, recoveries) = scene.end();
    println!("seed {seed}: {befallen} faults, {killed} workers killed\n{compared}\n{recoveries}");
}
