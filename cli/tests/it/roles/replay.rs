//! Windows of the past, computed once more beside a worker.
use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use crate::program::{Ended, Running, root, run};
use crate::roles::foreign::{Foreign, Out};
use crate::roles::ground::{Ground, Role};

/// Events of twenty minutes from midnight.
const EVENTS: usize = 2_400;
const MINUTES: usize = 20;
const FROM: &str = "2026-01-01T00:05:00Z";
const TO: &str = "2026-01-01T00:15:00Z";

/// What the tables have to hold by the rows of events: those that came too late are in no window.
const BY_KIND: &str =
    "SELECT date_trunc('minute', ts) AS window_start, kind, count(*) AS n, sum(value) AS total
    FROM visits_once WHERE id NOT LIKE 'late%' GROUP BY 1, 2";
const OF_FIVE: &str = "SELECT start AS window_start, count(*) AS n, max(value) AS high
    FROM visits_once, generate_series(date_trunc('minute', ts) - interval '4 min', ts, interval '1 min') AS start
    WHERE id NOT LIKE 'late%' GROUP BY 1";

/// Windows in which no event is that only closes others.
const SETTLED: &str = "(window_start < '2026-01-01T00:40:00Z'
    OR window_start BETWEEN '2026-01-01T01:50:00Z' AND '2026-01-01T02:40:00Z')";

struct Scene {
    namespace: &'static str,
    ground: Ground,
    foreign: Foreign,
}

impl Scene {
    /// With a worker that has read twenty minutes and closed all of their windows.
    async fn start(namespace: &'static str) -> (Self, Role) {
        let specs = root().join(Path::new("cli/tests/it/specs/replayed"));
        let own = format!("namespace: {namespace}");
        let topic = format!("topic: {namespace}.kinds-sent");
        let replaced = [
            ("namespace: web", own.as_str()),
            ("topic: web.kinds-sent", &topic),
        ];
        let ground = Ground::with(&specs, &replaced);
        let foreign = Foreign::at(ground.kafka.bootstrap());
        let scene = Self {
            namespace,
            ground,
            foreign,
        };
        let made = scene.ground.provision();
        assert_eq!(made.code, 0, "{}", made.stderr);
        scene.send(&minutes(0));
        scene.send(&ends("00:50:00", "end"));
        scene.send(&[out("late", "2026-01-01T00:07:00Z", Some("a"), 1_000, None)]);
        let worker = scene.ground.role("worker", &[]);
        scene.until_right().await;
        scene.until_closed().await;
        (scene, worker)
    }

    /// Waits until it stands in the log, too, that no window in the range may change: tables are written before it.
    async fn until_closed(&self) {
        for _ in 0..200 {
            let dry = self.replay(FROM, TO, &["--dry-run"]);
            if dry.code == 3 {
                return;
            }
            assert_eq!(dry.code, 2, "{}", dry.stderr);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("windows stay open");
    }

    fn send(&self, events: &[Out]) {
        let topic = format!("{}.visits", self.namespace);
        self.foreign.producer(&[]).send(&topic, events);
    }

    /// Waits until all windows are those of the rows.
    async fn until_right(&self) {
        let rows = "SELECT count(*) FILTER (WHERE id = 'late'), count(*) FILTER (WHERE id LIKE 'end%') >= 2 FROM visits_once";
        self.ground.until(rows, "1|t").await;
        self.ground
            .until(&differing("visits_by_kind", BY_KIND, SETTLED), "0")
            .await;
        self.ground
            .until(&differing("visits_of_five", OF_FIVE, SETTLED), "0")
            .await;
        assert_ne!(self.ground.sql("SELECT count(*) FROM visits_by_kind"), "0");
    }

    fn args(&self, from: &str, to: &str, more: &[&str]) -> Vec<String> {
        let pipeline = format!("{}/kpis", self.namespace);
        self.ground.replay(&pipeline, (from, to), more)
    }

    fn replay(&self, from: &str, to: &str, more: &[&str]) -> Ended {
        let args = self.args(from, to, more);
        run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// All that the tables of windows hold, our columns included.
    fn tables(&self) -> String {
        ["visits_by_kind", "visits_of_five"]
            .map(|table| {
                self.ground.sql(&format!(
                    "SELECT * FROM {table} ORDER BY window_start, 3, 4"
                ))
            })
            .concat()
    }

    /// Damages windows in the middle of the range, and one of each kind before it.
    fn damage(&self) {
        self.ground.sql(
            "UPDATE visits_by_kind SET n = -1 WHERE window_start >= '2026-01-01T00:04:00Z' AND window_start < '2026-01-01T00:08:00Z';
             DELETE FROM visits_by_kind WHERE window_start = '2026-01-01T00:08:00Z';
             INSERT INTO visits_by_kind (window_start, window_end, kind, n, total, _generation, _partition, _offset, _revision)
                 VALUES ('2026-01-01T00:09:00Z', '2026-01-01T00:10:00Z', 'never', 1, 1, 1, 0, 1, 1);
             UPDATE visits_of_five SET high = -1 WHERE window_start >= '2026-01-01T00:04:00Z' AND window_start < '2026-01-01T00:08:00Z'",
        );
    }
}

/// How many rows of the table differ from those of the query, among those for which `condition` holds.
fn differing(table: &str, query: &str, condition: &str) -> String {
    let columns = match table {
        "visits_by_kind" => "window_start, kind, n, total",
        _ => "window_start, n, high",
    };
    let (name, schema) = (table, if table.contains('.') { "" } else { "public." });
    format!(
        "WITH found AS (SELECT {columns} FROM {schema}{name} WHERE {condition}),
              wanted AS (SELECT {columns} FROM ({query}) AS q WHERE {condition})
         SELECT count(*) FROM ((SELECT * FROM found EXCEPT ALL SELECT * FROM wanted)
             UNION ALL (SELECT * FROM wanted EXCEPT ALL SELECT * FROM found)) AS d"
    )
}

fn out(id: &str, ts: &str, kind: Option<&str>, value: i64, partition: Option<i32>) -> Out {
    let event = json!({"id": id, "ts": ts, "kind": kind, "value": value});
    Out {
        partition,
        key: Some(id.as_bytes().to_vec()),
        value: Some(event.to_string().into_bytes()),
        ..Out::default()
    }
}

/// Twenty minutes of events from an hour on: out of order by some seconds, some of them twice, some that do not count.
fn minutes(hour: usize) -> Vec<Out> {
    let mut events = Vec::new();
    for index in 0..EVENTS {
        // A disorder that stays below `maxOutOfOrder`.
        let second = (index * MINUTES * 60 / EVENTS + (index * 7_919) % 9).min(MINUTES * 60 - 1);
        let ts = format!(
            "2026-01-01T{hour:02}:{:02}:{:02}Z",
            second / 60,
            second % 60
        );
        let kind = [Some("a"), Some("b"), None, Some("noise")][index % 4];
        let event = out(
            &format!("{hour}-{index}"),
            &ts,
            kind,
            index as i64 % 97,
            None,
        );
        if index % 10 == 0 {
            events.push(event.clone());
        }
        events.push(event);
    }
    events
}

/// An event of each partition that closes what came before.
fn ends(time: &str, name: &str) -> Vec<Out> {
    let end = |partition: i32| {
        let ts = format!("2026-01-01T{time}Z");
        out(
            &format!("{name}-{partition}"),
            &ts,
            Some("end"),
            0,
            Some(partition),
        )
    };
    vec![end(0), end(1)]
}

/// Between the two times.
const INSIDE: &str =
    "window_start >= '2026-01-01T00:05:00Z' AND window_start < '2026-01-01T00:15:00Z'";
/// The windows of five minutes that lie there as a whole.
const INSIDE_OF_FIVE: &str =
    "window_start >= '2026-01-01T00:05:00Z' AND window_start <= '2026-01-01T00:10:00Z'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_windows_are_computed_again_beside_a_worker_that_goes_on() {
    let (scene, worker) = Scene::start("roles-replay").await;
    let ground = &scene.ground;
    let sent = ground.end("roles-replay.kinds-sent", 0);
    let rows = ground.sql("SELECT count(*), max(_offset) FROM visits_once");
    scene.damage();
    let damaged = scene.tables();

    let dry = scene.replay(FROM, TO, &["--dry-run"]);
    assert_eq!(dry.code, 3, "{}", dry.stderr);
    for text in [
        "visits_by_kind: 10 windows from 2026-01-01T00:05:00.000Z to 2026-01-01T00:15:00.000Z, for table `visits_by_kind` of Sink roles-replay/warehouse\n",
        "visits_of_five: 6 windows from 2026-01-01T00:05:00.000Z to 2026-01-01T00:15:00.000Z",
        "visits_once: left as it is, it has rows of events",
        "kinds_sent: left as it is, it goes to a topic",
        " records of 2 partitions are read\n",
    ] {
        assert!(dry.stdout.contains(text), "{}", dry.stdout);
    }
    assert_eq!(scene.tables(), damaged);

    let done = scene.replay(FROM, TO, &[]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let wrote =
        "visits_by_kind: wrote 10 windows with 30 rows, removed 1 row that no longer held\n";
    assert!(done.stdout.contains(wrote), "{}", done.stdout);
    let last = done.stderr.lines().last().unwrap();
    let counts: Vec<&str> = last
        .split(' ')
        .filter(|word| word.contains(|c: char| c.is_ascii_digit()))
        .collect();
    assert!(
        counts.len() == 2 && counts[0] == counts[1],
        "{}",
        done.stderr
    );
    for (table, query, inside) in [
        ("visits_by_kind", BY_KIND, INSIDE),
        ("visits_of_five", OF_FIVE, INSIDE_OF_FIVE),
    ] {
        assert_eq!(ground.sql(&differing(table, query, inside)), "0", "{table}");
        let outside = ground.sql(&differing(table, query, &format!("NOT ({inside})")));
        assert_ne!(outside, "0", "what lies outside is left as it is");
        // It moved forward, and not beyond what a task may still write.
        let moved = format!(
            "SELECT bool_and(_generation = 1 AND _revision > 1 AND _offset <=
                 (SELECT next_offset FROM _tidewheel_progress AS p WHERE p.output = '{table}' AND p.partition = t._partition))
             FROM {table} AS t WHERE {inside} AND window_start <> '2026-01-01T00:08:00Z'"
        );
        assert_eq!(ground.sql(&moved), "t", "{table}");
    }
    assert_eq!(ground.end("roles-replay.kinds-sent", 0), sent);
    assert_eq!(
        ground.sql("SELECT count(*), max(_offset) FROM visits_once"),
        rows
    );

    // A second time comes to the same, and with the windows before it nothing is left of the damage.
    let all = scene.replay("2026-01-01T00:00:00Z", "2026-01-01T00:30:00Z", &[]);
    assert_eq!(all.code, 0, "{}", all.stderr);
    scene.until_right().await;

    // The worker has noticed nothing: it goes on, and says so.
    scene.send(&minutes(2));
    scene.send(&ends("03:00:00", "end-again"));
    let later = "SELECT count(*) FROM visits_by_kind WHERE window_start >= '2026-01-01T02:00:00Z' AND window_start < '2026-01-01T02:20:00Z'";
    ground.until(later, "60").await;
    scene.until_right().await;
    let (code, said) = worker.running.stop_and_tell();
    assert_eq!(code, 0);
    let troubles = said
        .iter()
        .filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\""));
    assert_eq!(troubles.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_sql_is_taken_over_by_windows_of_the_past() {
    let (scene, worker) = Scene::start("roles-replay-changed").await;
    let ground = &scene.ground;
    let doubled = BY_KIND.replace("sum(value)", "2 * sum(value)");
    let before = scene.tables();
    ground.change_specs("sum(value) AS total", "2 * sum(value) AS total");

    // The workers run the old plan: its tables stay theirs.
    let refused = scene.replay(FROM, TO, &[]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(
        refused
            .stderr
            .contains("run other SQL for the step `per_kind`"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("--into SCHEMA"),
        "{}",
        refused.stderr
    );
    let own = scene.replay(FROM, TO, &["--into", "public"]);
    assert_eq!(own.code, 2, "{}", own.stdout);
    for _ in 0..2 {
        let aside = scene.replay(FROM, TO, &["--into", "again"]);
        assert_eq!(aside.code, 0, "{}{}", aside.stdout, aside.stderr);
        let differs = differing("again.visits_by_kind", &doubled, INSIDE);
        let differs = differs.replace("window_start, n, high", "window_start, kind, n, total");
        assert_eq!(ground.sql(&differs), "0");
        assert_eq!(
            ground.sql("SELECT count(*) FROM again.visits_by_kind"),
            "30"
        );
        assert_eq!(ground.sql("SELECT count(*) FROM again.visits_of_five"), "6");
    }
    assert_eq!(scene.tables(), before);
    assert_eq!(worker.stop(), 0);

    // The new plan computes what was open; what was final it leaves to a replay.
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    let worker = ground.role("worker", &[]);
    let end = "SELECT DISTINCT _generation FROM visits_by_kind WHERE window_start >= '2026-01-01T01:00:00Z' AND window_start < '2026-01-01T02:30:00Z'";
    scene.send(&minutes(2));
    scene.send(&ends("03:00:00", "end-again"));
    ground.until(end, "2").await;
    assert_eq!(
        ground.sql(&differing("visits_by_kind", BY_KIND, INSIDE)),
        "0"
    );
    let until_closed = "SELECT count(*) FROM visits_by_kind WHERE window_start >= '2026-01-01T02:00:00Z' AND window_start < '2026-01-01T02:20:00Z'";
    ground.until(until_closed, "60").await;
    let done = scene.replay(FROM, TO, &[]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(
        ground.sql(&differing("visits_by_kind", &doubled, INSIDE)),
        "0"
    );
    let generations = format!("SELECT DISTINCT _generation FROM visits_by_kind WHERE {INSIDE}");
    assert_eq!(ground.sql(&generations), "2");

    // Windows that the worker may still write are not for a replay.
    let open = scene.replay(FROM, "2026-01-01T04:00:00Z", &[]);
    assert_eq!(open.code, 2, "{}", open.stdout);
    assert!(open.stderr.contains("may still change"), "{}", open.stderr);
    assert!(
        open.stderr.contains("give --to 2026-01-01T0"),
        "{}",
        open.stderr
    );
    assert_eq!(worker.stop(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_was_killed_has_written_nothing_and_the_next_one_does() {
    let (scene, worker) = Scene::start("roles-replay-killed").await;
    assert_eq!(worker.stop(), 0);
    let ground = &scene.ground;
    scene.damage();
    let damaged = scene.tables();
    let args = scene.args(FROM, TO, &[]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (url, database) = (ground.postgres, ground.database.clone());
    // Somebody holds the table while the replay would write it.
    let held = std::thread::spawn(move || {
        url.sql(
            &database,
            "BEGIN; LOCK TABLE visits_by_kind IN EXCLUSIVE MODE; SELECT pg_sleep(600); COMMIT",
        )
    });
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'WITH written AS%' AND wait_event_type = 'Lock'";
    let replaying = Running::start(&args);
    ground.until(waits, "t").await;
    replaying.kill();
    ground.sql(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()",
    );
    held.join().unwrap().unwrap_err();
    ground.until(waits, "f").await;
    assert_eq!(scene.tables(), damaged);

    // At any other moment too.
    for wait_ms in [100, 400, 800] {
        let replaying = Running::start(&args);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        replaying.kill();
    }
    let done = run(&args);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(
        ground.sql(&differing("visits_by_kind", BY_KIND, INSIDE)),
        "0"
    );
    assert_eq!(
        ground.sql(&differing("visits_of_five", OF_FIVE, INSIDE_OF_FIVE)),
        "0"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_has_taken_is_not_made_up() {
    let (scene, worker) = Scene::start("roles-replay-gone").await;
    let ground = &scene.ground;
    scene.damage();
    let damaged = scene.tables();
    let topic = "roles-replay-gone.visits";
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", ground.kafka.bootstrap())
        .create()
        .unwrap();
    let mut below = TopicPartitionList::new();
    let place = below.add_partition_offset(topic, 0, Offset::Offset(1));
    place.unwrap();
    let deleted = admin.delete_records(&below, &AdminOptions::new());
    deleted.await.unwrap();
    assert_eq!(ground.beginning(topic, 0), 1);

    for more in [&[][..], &["--dry-run"], &["--into", "again"]] {
        let refused = scene.replay(FROM, TO, more);
        assert_eq!(refused.code, 2, "{}", refused.stdout);
        for text in [
            "retention has taken events that the first windows need: partition 0 of topic roles-replay-gone.visits begins at offset 1, and was read from 0",
            "the earliest windows that can be computed again start at 20",
        ] {
            assert!(refused.stderr.contains(text), "{}", refused.stderr);
        }
    }
    assert_eq!(scene.tables(), damaged);
    assert_eq!(
        ground.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'again'"),
        "0"
    );
    assert_eq!(worker.stop(), 0);
}
