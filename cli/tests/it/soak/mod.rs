//! Workers are killed, servers stopped and set back, while events flow in that are late, come twice, or are broken. In the end rows, windows,
//! dead letters and ledgers have to be those of a batch query over the source's topic.
//!
//! Where nothing is said, a few things happen once. `make soak` goes on until a hundred workers are killed. `TIDEWHEEL_SOAK_KILLS` and
//! `TIDEWHEEL_SOAK_SEED` say how many are killed, and what happens when; with `TIDEWHEEL_SOAK_ONLY=Kafka` only faults happen whose names
//! hold that word.
mod batch_query;
mod events;
mod faults;
mod flow;
mod ledger;
mod progress;
mod recovery;
mod scene;
pub(crate) mod topic;
mod verdict;

use std::time::Duration;

use rand::seq::SliceRandom as _;

use self::faults::Fault;
use self::scene::Scene;

const SEED: u64 = 7;

fn asked<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn whatever_fails_results_are_those_of_a_batch_query() {
    let seed = asked("TIDEWHEEL_SOAK_SEED").unwrap_or(SEED);
    let wanted: Option<usize> = asked("TIDEWHEEL_SOAK_KILLS");
    let kills = wanted.unwrap_or_default();
    println!("seed {seed}, {kills} kills");
    let mut scene = Scene::set(seed);
    let only: String = asked("TIDEWHEEL_SOAK_ONLY").unwrap_or_default();
    let is_asked = |fault: &Fault| format!("{fault:?}").contains(&only);
    let mut faults = wanted.map_or_else(Fault::brief, |_| Fault::all());
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
