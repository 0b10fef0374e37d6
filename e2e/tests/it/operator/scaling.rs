//! Workers follow their lag.
use std::{
    cell::RefCell,
    fmt::Write as _,
    thread::sleep,
    time::{Duration, Instant},
};

use tidewheel_e2e::measured;

use super::{sender::Sender, shop::Shop};

/// Events have numbers, and a worker has much to do for each.
const SOURCE: &str = r#"
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: orders, namespace: web}
spec:
  schema:
    fields:
      - {name: number, type: bigint, required: true}
      - {name: ts, type: timestamp, required: true}
  eventTime: {field: ts}
  key: [number]
  topic: {partitions: 4}
  http: {replicas: {min: 1}}
"#;

const PIPELINE: &str = r#"
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: orders, namespace: web}
spec:
  sources:
    - {name: orders}
  steps:
    - name: unique_orders
      deduplicate: {from: orders, by: [number], within: 1h}
    - name: costly
      sql: >-
        SELECT number,
               length(regexp_replace(repeat(CAST(number AS text) || '-abc', WORK), '([0-9]+)-([a-c]+)', '\2\1', 'g')) AS effort
        FROM unique_orders
  outputs:
    - {name: orders, from: costly, postgres: {sink: warehouse}}
  scaling: {min: 1, max: 3, catchUpWithin: 10s}
  resources: {requests: {cpu: 20m}, limits: {cpu: 150m, memory: 1Gi}}
"#;

/// How much a worker has to do for an event.
const WORK: &str = "400";
/// How many events tell how many a worker gets done in a second, on this machine.
const PROBE: usize = 4_000;
/// The most events of a request.
const MOST: usize = 10_000;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Sends numbered events at a rate, and writes down what is seen meanwhile.
struct Load<'a> {
    shop: &'a Shop,
    sender: RefCell<Sender>,
    sent: RefCell<usize>,
    began: Instant,
    seen: RefCell<String>,
}

impl Load<'_> {
    /// Sends so many events in each second while something is not so yet.
    fn send_until(&self, what: &str, rate: usize, is_so: impl Fn(&Self) -> bool) {
        let mut began = Instant::now();
        while !is_so(self) {
            assert!(
                self.began.elapsed() < PATIENCE,
                "never: {what}\n{}\n{}",
                self.seen.borrow(),
                self.shop.everything()
            );
            let second = Duration::from_secs(1);
            sleep(second.saturating_sub(began.elapsed()));
            let seconds = began.elapsed().as_secs_f64().min(5.0);
            began = Instant::now();
            self.send(((rate as f64 * seconds) as usize).min(MOST));
            self.look();
        }
        self.say(what);
    }

    fn send(&self, count: usize) {
        let first = self.sent.replace_with(|sent| *sent + count);
        let event = |number| format!(r#"{{"number": {number}, "ts": "2026-01-01T00:00:00Z"}}"#);
        let events: Vec<String> = (first..first + count).map(event).collect();
        self.sender.borrow_mut().send(&events);
    }

    /// What people see of the Pipeline, where it is another than before.
    fn look(&self) {
        let paths = "{.status.replicas} workers, lag {.status.lag}, {.status.scaling.message}";
        let path = format!("--output=jsonpath={paths}");
        let now = self.shop.kubectl(&["get", "pipeline/orders", &path]);
        let mut seen = self.seen.borrow_mut();
        let is_news = seen.lines().last().is_none_or(|line| !line.ends_with(&now));
        if is_news {
            let _ = writeln!(seen, "{now}");
            drop(seen);
            self.say(&now);
        }
    }

    fn say(&self, what: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        measured(&format!("{}: {seconds:>5.1} s: {what}", self.shop.name));
    }

    fn replicas(&self) -> usize {
        let path = "--output=jsonpath={.spec.replicas}";
        let replicas = self
            .shop
            .kubectl(&["get", "deployment/orders-worker", path]);
        replicas.parse().unwrap()
    }

    fn lag(&self) -> Option<usize> {
        let path = "--output=jsonpath={.status.lag}";
        self.shop
            .kubectl(&["get", "pipeline/orders", path])
            .parse()
            .ok()
    }
}

#[test]
fn workers_follow_a_load_that_rises_tenfold_and_falls_again() {
    let shop = Shop::new("scaling");
    shop.apply_example("sink.yaml");
    shop.secret(shop.cluster.postgres_in_pods());
    shop.apply(SOURCE);
    let pipeline = PIPELINE.replace("WORK", WORK);
    shop.apply(&pipeline.replace("max: 3", "max: 1"));
    for what in ["eventsource/orders", "pipeline/orders"] {
        shop.wait_for(what, "Ready");
    }
    shop.until_reason("pipeline/orders", "ScalingActive", "ReplicasFixed");
    let load = Load {
        sender: RefCell::new(Sender::to(&shop, "service/orders-ingest")),
        shop: &shop,
        sent: RefCell::new(0),
        began: Instant::now(),
        seen: RefCell::default(),
    };
    // What is calm and what is busy depends on the machine.
    let probed = Instant::now();
    load.send(PROBE);
    shop.until("one worker has done what it was given", || {
        shop.sql("SELECT count(*) FROM orders") == PROBE.to_string()
    });
    let by_one = PROBE as f64 / probed.elapsed().as_secs_f64();
    let calm = (by_one / 4.0).max(10.0) as usize;
    let busy = 10 * calm;
    load.say(&format!(
        "one worker gets {by_one:.0} events done in a second: {calm} are calm, {busy} are busy"
    ));
    shop.apply(&pipeline);
    shop.wait_for("pipeline/orders", "Ready");
    for (type_, reason) in [("DataFlowing", "Flowing"), ("ScalingActive", "FollowsLag")] {
        shop.until_reason("pipeline/orders", type_, reason);
    }

    let since = Instant::now();
    load.send_until("calm: one worker is enough", calm, |load| {
        assert_eq!(load.replicas(), 1);
        since.elapsed() > Duration::from_secs(15)
    });
    load.send_until("busy: there are more workers", busy, |load| {
        load.replicas() > 1
    });
    // Whoever scales by hand is put right.
    shop.kubectl(&["scale", "deployment/orders-worker", "--replicas=1"]);
    load.send_until(
        "there are more again, after somebody made them one",
        busy,
        |load| load.replicas() > 1,
    );
    load.send_until("calm: what waited is drained", calm, |load| {
        load.lag().is_some_and(|lag| lag < calm)
    });
    load.send_until("one worker is enough again", calm, |load| {
        load.replicas() == 1
    });

    let sent = *load.sent.borrow();
    let all = format!("{sent}|{sent}");
    shop.until("every event is a row, once", || {
        shop.sql("SELECT count(*), count(DISTINCT number) FROM orders") == all
    });
    let events = shop.kubectl(&[
        "get",
        "events",
        "--output=jsonpath={range .items[*]}{.reason}: {.note}{.message}{\"\\n\"}{end}",
    ]);
    for line in events.lines().filter(|line| line.starts_with("Scaled")) {
        measured(&format!("scaling: {line}"));
    }
    for reason in ["ScaledUp", "ScaledDown"] {
        assert!(events.contains(reason), "{reason} in {events}");
    }
    // Who says how many workers there are.
    let managers = ["get", "deployment/orders-worker", "--show-managed-fields"];
    let path =
        "--output=jsonpath={range .metadata.managedFields[*]}{.manager} {.fieldsV1}{\"\\n\"}{end}";
    let managers = shop.kubectl(&[&managers[..], &[path]].concat());
    let owners: Vec<&str> = managers
        .lines()
        .filter(|line| line.contains("f:replicas\":{}") && line.contains("f:spec"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(owners, ["tidewheel-scaling"], "{managers}");
}
