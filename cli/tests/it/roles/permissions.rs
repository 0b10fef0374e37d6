//! Users who may do on Kafka what docs/kafka.md says that their role needs, and nothing else.
use serde_json::json;
use tidewheel_e2e::kafka::{
    Kafka,
    Operation::{self, *},
    Options, Resource,
};

use crate::program::root;
use crate::roles::ground::Ground;

const PIPELINE: &str = "permitted.kpis.";

/// A broker that asks everybody on its secure listener who they are, and lets them do what they were permitted.
fn strict_kafka() -> Kafka {
    let strict = [
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        // The broker itself, and the test on the other listener.
        ("super.users", "User:ANONYMOUS"),
    ];
    let kafka = Kafka::start(Options {
        secure: true,
        users: ["provision", "ingest", "generate", "worker"]
            .map(str::to_owned)
            .into(),
        properties: strict
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Options::default()
    });
    kafka.unwrap()
}

/// What the table of docs/kafka.md says, apart from transactional ids.
fn permit(kafka: &Kafka) {
    let allow = |user: &str, resource: Resource<'_>, operations: &[Operation]| {
        kafka.allow(user, resource, operations).unwrap();
    };
    let (clicks, made) = (
        Resource::Topic("permitted.clicks"),
        Resource::Topic("permitted.made"),
    );
    let position = Resource::Topic("permitted.made.generator");
    let (rows, windows) = (
        Resource::Topic("permitted.sent"),
        Resource::Topic("permitted.told"),
    );
    let own = Resource::TopicsOf(PIPELINE);
    allow("ingest", clicks, &[Write, Describe]);
    allow("generate", made, &[Write, Describe]);
    allow("generate", position, &[Read, Write, Describe]);
    for source in [clicks, made] {
        allow("worker", source, &[Read, Describe]);
    }
    allow("worker", own, &[Read, Write, Describe]);
    let partials = Resource::Topic("permitted.kpis.by_kind.g1.partials");
    allow("worker", partials, &[Delete]);
    allow("worker", rows, &[Write, Describe]);
    allow("worker", windows, &[Read, Write, Describe]);
    allow("worker", Resource::GroupsOf(PIPELINE), &[Read, Describe]);
    let readers = Resource::Group("tidewheel.readers");
    allow("worker", readers, &[Read, Describe]);
    let administration = [Create, Describe, Alter, DescribeConfigs, AlterConfigs];
    for topics in [clicks, made, position, rows, windows, own] {
        allow("provision", topics, &administration);
    }
    let generations = Resource::Topic("permitted.kpis.generations");
    allow("provision", generations, &[Read]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_need_what_the_documentation_says_and_name_what_they_lack() {
    let kafka = strict_kafka();
    permit(&kafka);
    let own = [
        ("namespace: web", "namespace: permitted"),
        ("topic: web.", "topic: permitted."),
    ];
    let mut ground = Ground::with(&root().join("cli/tests/it/specs/permitted"), &own);
    ground.use_broker(kafka.bootstrap());
    let secure = kafka.secure().unwrap();
    for (name, value) in [
        ("bootstrap.servers", secure.bootstrap.as_str()),
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.password", secure.password),
        ("ssl.ca.pem", &secure.certificate_pem),
    ] {
        ground.set_property(name, value);
    }
    // Properties are read when a role begins.
    let be = |user: &str| ground.set_property("sasl.username", user);

    // Somebody who may not is told what.
    be("ingest");
    let refused = ground.provision();
    assert_ne!(refused.code, 0);
    let said = &refused.stderr;
    let named = said.contains("topic permitted.") && said.contains("grant Create, Alter");
    assert!(named, "{said}");
    be("provision");
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    let again = ground.provision();
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (0, "everything is as it has to be\n")
    );

    be("ingest");
    let ingest = ground.role("ingest", &["--listen", "127.0.0.1:0"]);
    ingest.ready().await;
    let address = ingest.events();
    let event = |minute: usize| {
        let ts = format!("2026-01-01T{:02}:{:02}:00Z", minute / 60, minute % 60);
        json!({"id": minute.to_string(), "ts": ts, "kind": "a"}).to_string()
    };
    let post = async |minutes: std::ops::Range<usize>| {
        let events: Vec<String> = minutes.map(event).collect();
        let request = reqwest::Client::new()
            .post(format!("{address}/v1/events"))
            .header("Content-Type", "application/x-ndjson")
            .body(events.join("\n"));
        assert_eq!(request.send().await.unwrap().status(), 202);
    };
    post(0..30).await;

    be("generate");
    let generate = ground.role("generate", &[]);
    generate
        .running
        .says("the user may not write under the transactional id permitted.made");
    let ids = Resource::TransactionalIdsOf("permitted.made");
    kafka.allow("generate", ids, &[Write, Describe]).unwrap();
    generate.running.says("all declared events are made");

    be("worker");
    let worker = ground.role("worker", &[]);
    worker.running.says(
        "the user may not write under the transactional id permitted.kpis.generations: grant Write and Describe on it",
    );
    let ids = Resource::TransactionalIdsOf(PIPELINE);
    kafka.allow("worker", ids, &[Write, Describe]).unwrap();
    worker.ready().await;
    ground.until("SELECT count(*) FROM made_rows", "300").await;
    ground.until("SELECT count(*) FROM clicks_rows", "30").await;
    // The last one waits for an event that is later.
    ground
        .until("SELECT count(*) FROM clicks_by_kind", "29")
        .await;
    assert!(ground.end("permitted.sent", 0) >= 30);
    assert!(ground.end("permitted.told", 0) >= 29);
    // Records that two snapshots cover are deleted.
    for minute in 30.. {
        if ground.beginning("permitted.kpis.by_kind.g1.partials", 0) > 0 {
            break;
        }
        assert!(minute < 300, "partials are never deleted");
        post(minute..minute + 1).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!([ingest.stop(), generate.stop(), worker.stop()], [0; 3]);
}
