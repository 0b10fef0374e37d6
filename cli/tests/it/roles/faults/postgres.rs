//! What fails in PostgreSQL, or between it and a worker.
use std::thread::JoinHandle;
use std::time::Duration;

use tidewheel_e2e::disk::SmallDisk;

use crate::roles::faults::orders::{FIRST, SECOND};
use crate::roles::faults::scene::{Scene, ground};
use crate::roles::ground::Ground;

const BLOCKED: &str = "tidewheel_task_blocked";
const BLOCKED_BY_SINK: &str = "tidewheel_worker_blocked_by_sink";
const NEEDS_MENDING: &str = "tidewheel_task_needs_mending";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_was_dropped() {
    let mut scene = Scene::start("faults-dropped").await;
    scene.ground.sql(
        "CREATE TABLE copy (LIKE orders_once INCLUDING ALL); INSERT INTO copy SELECT * FROM orders_once; DROP TABLE orders_once",
    );
    scene.send(SECOND).await;
    let texts = [
        "until somebody mends it",
        "table `orders_once` was removed",
        "restore it",
    ];
    scene.said("tasks", &texts).await;
    scene.measured(BLOCKED).await;
    scene.measured(NEEDS_MENDING).await;
    scene.logged("table `orders_once` was removed");
    let refused = scene.ground.provision();
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("table `orders_once` was removed"),
        "{}",
        refused.stderr
    );
    scene.stop_one().await;
    scene.ground.sql("ALTER TABLE copy RENAME TO orders_once");
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_columns_type_was_changed() {
    let mut scene = Scene::start("faults-column").await;
    scene
        .ground
        .sql("ALTER TABLE orders_once ALTER amount TYPE text");
    scene.send(SECOND).await;
    let difference = "column `amount` of table `orders_once` holds text and would get bigint";
    scene
        .said("tasks", &["until somebody mends it", difference])
        .await;
    scene.measured(NEEDS_MENDING).await;
    scene.logged(difference);
    scene.stop_one().await;
    scene
        .ground
        .sql("ALTER TABLE orders_once ALTER amount TYPE bigint USING amount::bigint");
    scene.ends_well().await;
}

/// A role of PostgreSQL that owns the database of a test.
struct Writer {
    name: String,
    url: String,
}

fn writer(ground: &Ground, password: &str) -> Writer {
    let database = &ground.database;
    let name = format!("{database}_writer");
    ground.sql(&format!(
        "CREATE ROLE {name} LOGIN PASSWORD '{password}'; ALTER DATABASE {database} OWNER TO {name}"
    ));
    let port = ground.postgres.port();
    let url = format!("postgres://{name}:{password}@127.0.0.1:{port}/{database}");
    Writer { name, url }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_was_rotated() {
    let ground = ground("faults-password");
    let (first, second) = ("first-of-all", "second-to-none");
    let Writer { name, url } = writer(&ground, first);
    ground.set_url(&url);
    let mut scene = Scene::on(ground, "faults-password").await;
    scene.ground.sql(&format!(
        "ALTER ROLE {name} PASSWORD '{second}'; {}",
        disconnect(&name)
    ));
    scene.send(SECOND).await;
    let texts = [
        "0 of 1 answer",
        "faults-password/warehouse: password authentication failed",
        "check user and password in the connection URL",
    ];
    scene.said("sinks", &texts).await;
    scene.measured(BLOCKED_BY_SINK).await;
    scene.logged("password authentication failed");
    let (_, report) = scene.workers[0].get("/readyz").await;
    assert!(!report.contains(first), "{report}");
    scene.stop_one().await;
    // As the Secret that is mounted changes.
    scene.ground.set_url(&url.replace(first, second));
    scene.ends_well().await;
}

/// Ends whoever works as a role, as a failover or an impatient administrator does: the next connection is a new one.
fn disconnect(role: &str) -> String {
    format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")
}

/// A session of somebody else that keeps everybody from the table of rows.
struct Lock(JoinHandle<()>);

impl Lock {
    async fn hold(scene: &Scene) -> Self {
        let (postgres, database) = (scene.ground.postgres, scene.ground.database.clone());
        // Until it is ended.
        let holder = std::thread::spawn(move || {
            let sql =
                "BEGIN; LOCK TABLE orders_once IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3600)";
            postgres.sql(&database, sql).unwrap_err();
        });
        let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'orders_once'::regclass";
        scene.ground.until(held, "1").await;
        Self(holder)
    }

    fn release(self, scene: &Scene) {
        scene.ground.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK TABLE orders_once%' AND datname = current_database()");
        self.0.join().unwrap();
    }
}

async fn a_lock_is_held_for(namespace: &str, at_least: Duration) {
    let mut scene = Scene::start(namespace).await;
    let lock = Lock::hold(&scene).await;
    scene.send(SECOND).await;
    let texts = [
        "1 of 1 answer",
        "for faults-lock",
        "lock timeout (SQLSTATE 55P03): another session holds a lock on the table",
    ];
    tokio::time::sleep(at_least).await;
    scene.said("sinks", &texts).await;
    scene.measured(BLOCKED_BY_SINK).await;
    scene.logged("another session holds a lock on the table");
    scene.stop_one().await;
    lock.release(&scene);
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_held() {
    a_lock_is_held_for("faults-lock", Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: the same as `a_lock_is_held` for longer"]
async fn a_lock_is_held_for_a_minute() {
    a_lock_is_held_for("faults-lock-minute", Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_takes_too_long() {
    let ground = ground("faults-statement");
    let writer = writer(&ground, "for-statements");
    ground.set_url(&writer.url);
    let limit = |limit: &str| {
        format!(
            "ALTER ROLE {0} SET statement_timeout = '{limit}'; {1}",
            writer.name,
            disconnect(&writer.name)
        )
    };
    let postgres = ground.postgres;
    // Whoever makes tables keeps to the role's limit, and says so.
    ground.sql(&limit("1ms"));
    let refused = ground.provision();
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    let advice = "raise the role's statement_timeout";
    assert!(refused.stderr.contains(advice), "{}", refused.stderr);
    ground.sql(&limit("0"));
    let mut scene = Scene::on(ground, "faults-statement").await;
    // A limit for people, which holds up no worker: here each statement takes longer.
    scene.ground.sql(&limit("20ms"));
    let slow = |rows: &str, seconds: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep({seconds}); RETURN new; END';
             CREATE OR REPLACE TRIGGER slow BEFORE INSERT ON orders_once FOR EACH {rows} EXECUTE FUNCTION slow()"
        )
    };
    scene.ground.sql(&slow("STATEMENT", "0.1"));
    scene.send(FIRST.end..450).await;
    scene.has_rows(450).await;
    // Longer than a worker gives a statement.
    scene.ground.sql(&slow("ROW", "600"));
    scene.send(450..SECOND.end).await;
    scene
        .said("sinks", &["wait", "it has not answered for 5 s"])
        .await;
    scene.measured(BLOCKED_BY_SINK).await;
    // In the middle of a statement that nobody can wait for.
    scene.stop_one().await;
    let texts = [
        "wait",
        "statement timeout (SQLSTATE 57014): the statement took too long",
    ];
    scene.said("sinks", &texts).await;
    scene.logged("the statement took too long");
    let mended = format!(
        "DROP TRIGGER slow ON orders_once; ALTER ROLE {} RESET statement_timeout",
        writer.name
    );
    // Whoever sleeps in a trigger of the table holds it.
    postgres.sql("postgres", &disconnect(&writer.name)).unwrap();
    scene.ground.sql(&mended);
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_databases_disk_is_full() {
    let Some(mut disk) = SmallDisk::mount(32 << 20).unwrap() else {
        tidewheel_e2e::not_tried("the_databases_disk_is_full: nobody may mount a file system here");
        return;
    };
    let mut ground = ground("faults-disk");
    let folder = disk.folder("tables").unwrap();
    ground.postgres.hand_over(&folder).unwrap();
    let (database, space) = (format!("{}_small", ground.database), "small_disk");
    let make = format!("CREATE TABLESPACE {space} LOCATION '{}'", folder.display());
    ground.postgres.sql("postgres", &make).unwrap();
    let make = format!("CREATE DATABASE {database} TABLESPACE {space}");
    ground.postgres.sql("postgres", &make).unwrap();
    ground.database.clone_from(&database);
    ground.set_url(&ground.postgres.url(&database));
    let postgres = ground.postgres;

    let mut scene = Scene::on(ground, "faults-disk").await;
    scene.has_rows(FIRST.end).await;
    disk.fill().unwrap();
    scene.send(SECOND).await;
    let texts = [
        "for faults-disk/warehouse",
        "No space left on device (SQLSTATE 53100): make room on the disk of the database",
    ];
    scene.said("sinks", &texts).await;
    scene.measured(BLOCKED_BY_SINK).await;
    scene.logged("make room on the disk of the database");
    scene.stop_one().await;
    disk.make_room().unwrap();
    scene.ends_well().await;

    let drop = format!("DROP DATABASE {database} WITH (FORCE)");
    postgres.sql("postgres", &drop).unwrap();
    postgres
        .sql("postgres", &format!("DROP TABLESPACE {space}"))
        .unwrap();
}
