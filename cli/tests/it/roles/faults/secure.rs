//! TLS and SASL/SCRAM to Kafka and TLS to PostgreSQL, through the command lines of the roles.
use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;
use tidewheel_e2e::kafka::{self, Kafka, Secure};
use tidewheel_e2e::postgres::{self, Postgres, Tls};

use crate::program::{root, run};
use crate::roles::faults::orders::SECOND;
use crate::roles::faults::scene::{Scene, ground};
use crate::roles::ground::{Ground, Role, check};

/// A broker with a listener that asks for a password over TLS, which tests share.
fn secure_kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| {
        Kafka::start(kafka::Options {
            secure: true,
            ..kafka::Options::default()
        })
        .unwrap()
    })
}

/// A PostgreSQL with a certificate for `localhost`, which tests share.
fn secure_postgres() -> &'static Postgres {
    static POSTGRES: OnceLock<Postgres> = OnceLock::new();
    POSTGRES.get_or_init(|| {
        Postgres::start(postgres::Options {
            tls: true,
            ..postgres::Options::default()
        })
        .unwrap()
    })
}

/// Has roles reach Kafka as Secrets say that the operator mounts.
fn use_secure_kafka(ground: &mut Ground) -> &'static Secure {
    let kafka = secure_kafka();
    let secure = kafka.secure().unwrap();
    // For the test's own questions.
    ground.use_broker(kafka.bootstrap());
    for (name, value) in [
        ("bootstrap.servers", secure.bootstrap.as_str()),
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", secure.user),
        ("sasl.password", secure.password),
        ("ssl.ca.pem", &secure.certificate_pem),
    ] {
        ground.set_property(name, value);
    }
    secure
}

/// Has roles reach PostgreSQL over TLS only, with the authority in the file that is returned.
fn use_secure_postgres(ground: &mut Ground) -> (String, &'static Tls) {
    let postgres = secure_postgres();
    let tls = postgres.tls().unwrap();
    let authority = ground.path("authority.crt");
    std::fs::copy(&tls.authority, &authority).unwrap();
    ground.postgres = postgres;
    ground.database = postgres.database().unwrap();
    let url = postgres.url_at("localhost", postgres.port(), &ground.database);
    ground.set_url(&format!(
        "{url}?sslmode=verify-full&sslrootcert={authority}"
    ));
    (authority, tls)
}

/// Waits until a role says why it does not reach Kafka.
async fn unreached(role: &Role, text: &str) -> Value {
    let is_right = |status, report: &Value| {
        let log = check(report, "log");
        status == 503 && log["detail"].as_str().unwrap().contains(text)
    };
    role.until("/readyz", is_right).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_works_over_tls_with_passwords() {
    let namespace = "secure-orders";
    let mut orders = ground(namespace);
    use_secure_kafka(&mut orders);
    use_secure_postgres(&mut orders);
    let mut scene = Scene::on(orders, namespace).await;
    let plain = format!(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE NOT ssl AND application_name = 'tidewheel' AND datname = '{}'",
        scene.ground.database
    );
    assert_eq!(scene.ground.sql(&plain), "0");
    scene.stop_one().await;
    scene.send(SECOND).await;
    scene.ends_well().await;

    let specs = root().join(Path::new("cli/tests/it/specs/generated"));
    let mut made = Ground::new(&specs, "secure-made");
    use_secure_kafka(&mut made);
    use_secure_postgres(&mut made);
    let provisioned = made.provision();
    assert_eq!(provisioned.code, 0, "{}", provisioned.stderr);
    let generate = made.role("generate", &[]);
    generate.ready().await;
    let worker = made.role("worker", &[]);
    made.until("SELECT count(*) FROM made_rows", "1500").await;
    assert_eq!((generate.stop(), worker.stop()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_databases_certificate_is_not_trusted() {
    let namespace = "secure-database";
    let mut ground = ground(namespace);
    let (authority, tls) = use_secure_postgres(&mut ground);
    std::fs::copy(&tls.other_authority, &authority).unwrap();
    let refused = ground.provision();
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);

    std::fs::copy(&tls.authority, &authority).unwrap();
    let mut scene = Scene::on(ground, namespace).await;
    std::fs::copy(&tls.other_authority, &authority).unwrap();
    scene.ground.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidewheel' AND datname = current_database()");
    scene.send(SECOND).await;
    let texts = ["0 of 1 answer; secure-database/warehouse: ", "certificate"];
    scene.said("sinks", &texts).await;
    scene.measured("tidewheel_worker_blocked_by_sink").await;
    scene.logged("certificate");
    scene.stop_one().await;
    // As the file of a mounted Secret changes.
    std::fs::copy(&tls.authority, &authority).unwrap();
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafkas_certificate_is_not_trusted() {
    let mut ground = ground("secure-kafka");
    use_secure_kafka(&mut ground);
    let tls = secure_postgres().tls().unwrap();
    let other = std::fs::read_to_string(&tls.other_authority).unwrap();
    ground.set_property("ssl.ca.pem", &other);
    let refused = ground.provision();
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);
    for (role, more) in [
        ("worker", &[][..]),
        ("ingest", &["--listen", "127.0.0.1:0"]),
    ] {
        let role = ground.role(role, more);
        unreached(&role, "certificate").await;
        assert_eq!(role.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_refuses_the_password() {
    let guess = "hunter2";
    let mut ground = ground("secure-password");
    let secure = use_secure_kafka(&mut ground);
    ground.set_property("sasl.password", guess);
    let refused = ground.provision();
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(
        refused.stderr.contains("uthentication") && !refused.stderr.contains(guess),
        "{}",
        refused.stderr
    );
    for (role, more) in [
        ("worker", &[][..]),
        ("ingest", &["--listen", "127.0.0.1:0"]),
    ] {
        let role = ground.role(role, more);
        let report = unreached(&role, "uthentication").await.to_string();
        assert!(!report.contains(guess), "{report}");
        let (code, said) = role.running.stop_and_tell();
        assert_eq!(code, 0);
        let leaked = said.iter().find(|line| line.contains(guess));
        assert_eq!(leaked, None);
    }
    // Properties are read when a role begins.
    ground.set_property("sasl.password", secure.password);
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    let worker = ground.role("worker", &[]);
    worker.ready().await;
    assert_eq!(worker.stop(), 0);
}

#[test]
fn a_property_that_nobody_knows_is_refused_by_name() {
    let ground = ground("secure-property");
    ground.set_property("sasl.passwort", "hunter2");
    let (specs, kafka) = (ground.path("specs"), ground.path("kafka"));
    let args = [
        "--specs",
        &specs,
        "--kafka",
        &kafka,
        "--operations",
        "127.0.0.1:0",
    ];
    let ended = run(&[&["ingest"], &args[..]].concat());
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("no Kafka property `sasl.passwort`")
            && !ended.stderr.contains("hunter2"),
        "{}",
        ended.stderr
    );
}

#[test]
fn properties_that_contradict_each_other_are_refused_by_name() {
    let ground = ground("secure-contradiction");
    // Longer than what Tidewheel gives `max.poll.interval.ms`.
    ground.set_property("session.timeout.ms", "40000");
    let ended = ground.refused("worker");
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    for name in ["`session.timeout.ms`", "`max.poll.interval.ms`"] {
        assert!(ended.stderr.contains(name), "{}", ended.stderr);
    }
}
