//! Everything that runs is killed, held, cut off or filled up at random while events flow: three brokers that keep everything three
//! times, a PostgreSQL, the operator, ingestion and workers, all of them pods.
mod blow;
mod load;
mod scene;
mod servers;
mod verdict;

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tidewheel_e2e::measured;

use self::{
    blow::{Blow, Kind},
    load::Load,
    scene::Scene,
};

/// How long it may take until events become rows again, beyond the time for which something was held.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it is looked whether they do.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What was sent until so long after a blow has become rows when the blow is over.
const SENT_UNTIL: Duration = Duration::from_millis(500);
/// The longest time between two blows, ms.
const PAUSE_MS: u64 = 3_000;

#[test]
fn nothing_is_lost_or_doubled_whatever_is_killed_held_cut_off_or_filled_up() {
    let count = number("TIDEWHEEL_CHAOS_KILLS").unwrap_or(Kind::ALL.len());
    let seed = number("TIDEWHEEL_CHAOS_SEED").unwrap_or(1);
    let mut random = StdRng::seed_from_u64(seed as u64);
    let scene = Scene::start();
    let load = Load::begin(scene.ingest_port());
    let began = Instant::now();
    let mut survived = Survived {
        scene: &scene,
        load: &load,
        rows: 0,
        took: BTreeMap::new(),
    };
    survived.wait_for_rows(load.in_time(SENT_UNTIL));
    scene.index_rows();
    for (index, kind) in drawn(count, &mut random).into_iter().enumerate() {
        sleep(Duration::from_millis(random.random_range(0..PAUSE_MS)));
        let took = survived.strike(kind, &mut random).as_secs_f64();
        let (number, at) = (index + 1, began.elapsed().as_secs());
        measured(&format!(
            "chaos: {number} of {count} at {at} s: {kind}: {took:.1} s"
        ));
    }
    survived.tell();
    let sent = load.end();
    measured(&format!(
        "chaos: seed {seed}: {} events sent in {} s; requests sent again: {}",
        sent.events,
        began.elapsed().as_secs(),
        sent.again
    ));
    verdict::pass(&scene, sent.events);
}

/// So many kinds, in rounds of all of them, each in an order of its own.
fn drawn(count: usize, random: &mut StdRng) -> Vec<Kind> {
    let mut drawn = Vec::new();
    while drawn.len() < count {
        let mut round = Kind::ALL;
        round.shuffle(random);
        drawn.extend(round);
    }
    drawn.truncate(count);
    drawn
}

/// What has been survived so far.
struct Survived<'a> {
    scene: &'a Scene,
    load: &'a Load,
    /// All events with lower numbers are rows.
    rows: u64,
    /// How long it took after each blow of a kind.
    took: BTreeMap<Kind, Vec<Duration>>,
}

impl Survived<'_> {
    /// Strikes, and returns how long it took until what was sent right after it had become rows.
    fn strike(&mut self, kind: Kind, random: &mut StdRng) -> Duration {
        let began = Instant::now();
        let mut blow = Blow::strike(self.scene, kind, random);
        let wanted = self.load.created() + self.load.in_time(SENT_UNTIL);
        let mut took = None;
        // What is held longer than the others needed is let go in its time.
        while took.is_none() || blow.is_on() {
            let elapsed = began.elapsed();
            if blow.is_on() && elapsed >= kind.lasts() {
                blow.end();
            }
            if took.is_none() && self.are_rows(wanted) {
                took = Some(elapsed);
            }
            assert!(
                elapsed < kind.lasts() + PATIENCE,
                "events do not become rows any more after: {kind}\n{}",
                self.scene.everything()
            );
            sleep(LOOK_EVERY);
        }
        self.scene.wait_until_ready();
        let took = took.unwrap_or_default();
        self.took.entry(kind).or_default().push(took);
        took
    }

    fn wait_for_rows(&mut self, wanted: u64) {
        let began = Instant::now();
        while !self.are_rows(wanted) {
            assert!(
                began.elapsed() < PATIENCE,
                "no event becomes a row\n{}",
                self.scene.everything()
            );
            sleep(LOOK_EVERY);
        }
    }

    /// Whether all events with lower numbers are rows.
    fn are_rows(&mut self, wanted: u64) -> bool {
        let are_rows = self.load.accepted() >= wanted
            && self.scene.rows(self.rows, wanted) == wanted - self.rows;
        if are_rows {
            self.rows = wanted;
        }
        are_rows
    }

    fn tell(&self) {
        for (kind, took) in &self.took {
            let mut took: Vec<f64> = took.iter().map(Duration::as_secs_f64).collect();
            took.sort_by(f64::total_cmp);
            let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
            measured(&format!(
                "chaos: rows again after {kind}: {median:.1} s (median of {}), {longest:.1} s (longest)",
                took.len()
            ));
        }
    }
}

fn number(variable: &str) -> Option<usize> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap())
}
