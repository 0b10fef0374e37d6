//! Topics on a real broker.
use std::time::Duration;

use rdkafka::{
    ClientConfig,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
    },
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer},
};
use tidewheel_e2e::kafka::Kafka;
use tidewheel_kafka::Connection;
use tidewheel_planner::generations::{Allotment, KEY};
use tidewheel_planner::load::load_texts;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::topics::{Cleanup, Topic, of_plan_sources};
use tidewheel_planner::{judge, problem};
use tidewheel_provision::kafka::{Change, Found, TopicError, Topics};
use tokio::time::{sleep, timeout};

/// How long a broker may take to hear of what its controller has answered.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);

const PIPELINE: &str = "
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: clicks, namespace: shop}
spec:
  schema: {fields: [{name: ts, type: timestamp, required: true}, {name: page, type: text}]}
  eventTime: {field: ts}
  topic: {partitions: 2, retention: 3d}
  http: {}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: tables, namespace: shop}
spec: {postgres: {connection: {secretRef: {name: tables, key: url}}}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: kpis, namespace: shop}
spec:
  sources: [{name: clicks}]
  steps: [{name: pages, aggregate: {window: {tumbling: 1m}, sql: 'SELECT page, count(*) AS n FROM clicks GROUP BY page'}}]
  outputs: [{name: pages, from: pages, postgres: {sink: tables}}]
";

const TOLD: &str = "
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: told, namespace: dry}
spec: {kafka: {}}
";

struct Cluster {
    topics: Topics,
    admin: AdminClient<DefaultClientContext>,
    servers: String,
}

async fn cluster() -> Cluster {
    let kafka = tokio::task::spawn_blocking(|| Kafka::shared().map_err(ToString::to_string));
    let servers = kafka.await.unwrap().unwrap().bootstrap();
    let connection = Connection::new([("bootstrap.servers", servers)]).unwrap();
    Cluster {
        topics: Topics::new(&connection).unwrap(),
        admin: config(servers).create().unwrap(),
        servers: servers.to_owned(),
    }
}

fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

impl Cluster {
    async fn ensure(&self, topic: &Topic) -> Vec<String> {
        let done = self
            .topics
            .ensure(std::slice::from_ref(topic))
            .await
            .unwrap();
        done.iter().map(ToString::to_string).collect()
    }

    async fn setting(&self, topic: &str, name: &str) -> String {
        let topics = [ResourceSpecifier::Topic(topic)];
        let described = self.admin.describe_configs(&topics, &AdminOptions::new());
        let resource = described.await.unwrap().remove(0).unwrap();
        resource.get(name).unwrap().value.clone().unwrap()
    }

    /// Waits until the broker has heard of a change: the controller answers before it has.
    async fn settles(&self, topic: &str, name: &str, value: &str) {
        let heard = async {
            while self.setting(topic, name).await != value {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(PATIENCE, heard).await.expect(name);
    }

    async fn make(&self, topic: &str, settings: &[(&str, &str)]) {
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        let new = settings
            .iter()
            .fold(new, |new, (name, value)| new.set(name, value));
        let made = self.admin.create_topics([&new], &AdminOptions::new()).await;
        made.unwrap()[0].as_ref().unwrap();
    }
}

fn topic(name: &str, partitions: u32) -> Topic {
    Topic {
        name: name.to_owned(),
        partitions,
        cleanup: Cleanup::After(60_000),
        is_internal: false,
        is_named: false,
    }
}

fn plan(yaml: &str) -> Plan {
    let (_, mut plans, problems) = judge(load_texts([("pipeline.yaml", yaml)]));
    assert!(!plans.is_empty(), "{}", problem::render(&problems));
    plans.remove(0)
}

/// What is done for a plan, its sources last.
async fn ensure_all(topics: &Topics, plan: &Plan) -> Vec<Change> {
    let mut changes = topics
        .ensure_plans(std::slice::from_ref(plan))
        .await
        .unwrap();
    changes.extend(topics.ensure(&of_plan_sources(plan)).await.unwrap());
    changes
}

fn said(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

/// What would be done for a plan.
async fn planned(topics: &Topics, plan: &Plan) -> Vec<String> {
    let changes = ensure_all(&topics.clone().dry_run(), plan).await;
    let planned = changes.iter().map(Change::planned);
    planned.map(|planned| planned.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_gets_its_topics_once_and_those_of_its_next_generation_when_it_changes() {
    let cluster = &cluster().await;
    let Cluster {
        topics, servers, ..
    } = cluster;
    let old = plan(PIPELINE);
    let made = ensure_all(topics, &old).await;
    assert_eq!(
        said(&made),
        [
            "topic shop.kpis.dead-letters was made with 1 partition",
            "topic shop.kpis.watermarks was made with 1 partition",
            "topic shop.kpis.generations was made with 1 partition",
            "topic shop.kpis.clicks.state was made with 2 partitions",
            "topic shop.kpis.pages.state was made with 2 partitions",
            "topic shop.kpis.pages.g1.partials was made with 2 partitions",
            "topic shop.clicks was made with 2 partitions",
        ]
    );
    assert_eq!(ensure_all(topics, &old).await, []);
    for (name, setting, value) in [
        ("shop.clicks", "message.timestamp.type", "LogAppendTime"),
        ("shop.clicks", "retention.ms", "259200000"),
        ("shop.kpis.clicks.state", "cleanup.policy", "compact"),
        ("shop.kpis.clicks.state", "segment.ms", "600000"),
        ("shop.kpis.pages.g1.partials", "retention.ms", "-1"),
        ("shop.kpis.dead-letters", "max.message.bytes", "8388608"),
        (
            "shop.kpis.watermarks",
            "unclean.leader.election.enable",
            "false",
        ),
        ("shop.kpis.watermarks", "min.insync.replicas", "1"),
    ] {
        cluster.settles(name, setting, value).await;
    }

    // A worker has run the plan; then its step changes.
    let allotment = Allotment::of(&old, None).unwrap().encode();
    let producer: BaseProducer = config(servers).create().unwrap();
    let record: BaseRecord<'_, str, [u8]> = BaseRecord::to("shop.kpis.generations")
        .key(KEY)
        .payload(&allotment);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
    assert_eq!(ensure_all(topics, &old).await, []);
    let new = plan(&PIPELINE.replace("tumbling: 1m", "tumbling: 2m"));
    assert_eq!(
        said(&ensure_all(topics, &new).await),
        ["topic shop.kpis.pages.g2.partials was made with 2 partitions"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let topics = &cluster().await.topics;
    let yaml = PIPELINE
        .replace("namespace: shop", "namespace: dry")
        .replace(
            "outputs: [",
            "outputs: [{name: told, from: clicks, kafka: {sink: told, topic: dry-told, partitions: 2}}, ",
        );
    let yaml = format!("{yaml}{TOLD}");
    let old = plan(&yaml);
    let all = [
        "topic dry-told would be made with 2 partitions",
        "topic dry.kpis.dead-letters would be made with 1 partition",
        "topic dry.kpis.watermarks would be made with 1 partition",
        "topic dry.kpis.generations would be made with 1 partition",
        "topic dry.kpis.clicks.state would be made with 2 partitions",
        "topic dry.kpis.pages.state would be made with 2 partitions",
        "topic dry.kpis.pages.g1.partials would be made with 2 partitions",
        "topic dry.clicks would be made with 2 partitions",
    ];
    assert_eq!(planned(topics, &old).await, all);
    assert_eq!(planned(topics, &old).await, all);
    assert_eq!(topics.find("dry.clicks").await.unwrap(), None);

    assert_eq!(ensure_all(topics, &old).await.len(), all.len());
    assert_eq!(planned(topics, &old).await, [""; 0]);
    let new = plan(&yaml.replace(
        "partitions: 2, retention: 3d",
        "partitions: 3, retention: 4d",
    ));
    let changed = planned(topics, &new).await;
    for change in [
        "topic dry.kpis.clicks.state would have 3 partitions, not 2",
        "topic dry.clicks would have 3 partitions, not 2",
        "topic dry.clicks would have retention.ms=345600000, not 259200000",
    ] {
        assert!(changed.iter().any(|found| found == change), "{changed:?}");
    }
    assert_eq!(planned(topics, &old).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declared_settings_are_corrected_and_others_left_alone() {
    let cluster = cluster().await;
    let drifting = topic("drifting", 1);
    cluster.ensure(&drifting).await;
    let altered = AlterConfig::new(ResourceSpecifier::Topic("drifting"))
        .set("retention.ms", "1")
        .set("message.timestamp.type", "LogAppendTime")
        .set("unclean.leader.election.enable", "false")
        .set("flush.messages", "7");
    let altered = cluster
        .admin
        .alter_configs([&altered], &AdminOptions::new());
    altered.await.unwrap()[0].as_ref().unwrap();
    cluster.settles("drifting", "retention.ms", "1").await;
    assert_eq!(
        cluster.ensure(&drifting).await,
        ["topic drifting now has retention.ms=60000, not 1"]
    );
    cluster.settles("drifting", "retention.ms", "60000").await;
    cluster.settles("drifting", "flush.messages", "7").await;
    assert_eq!(cluster.ensure(&drifting).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_added_and_never_taken() {
    let cluster = cluster().await;
    cluster.ensure(&topic("growing", 2)).await;
    assert_eq!(
        cluster.ensure(&topic("growing", 5)).await,
        ["topic growing now has 5 partitions, not 2"]
    );
    let grown = async {
        while (cluster.topics.find("growing").await.unwrap())
            .is_none_or(|found| found.partitions < 5)
        {
            sleep(LOOK_EVERY).await;
        }
    };
    timeout(PATIENCE, grown).await.expect("it grows");
    assert_eq!(cluster.ensure(&topic("growing", 3)).await, [""; 0]);
    let found = cluster.topics.find("growing").await.unwrap();
    let as_it_was = Found {
        partitions: 5,
        replicas: 1,
    };
    assert_eq!(found, Some(as_it_was));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_somebody_made_is_brought_in_line() {
    let cluster = cluster().await;
    let settings = [("compression.type", "zstd"), ("cleanup.policy", "compact")];
    cluster.make("adopted", &settings).await;
    let mut done = cluster.ensure(&topic("adopted", 2)).await;
    done.sort();
    assert_eq!(
        done,
        [
            "topic adopted now has 2 partitions, not 1",
            "topic adopted now has cleanup.policy=delete, not compact",
            "topic adopted now has message.timestamp.type=LogAppendTime, not CreateTime",
            "topic adopted now has retention.ms=60000, not 604800000",
        ]
    );
    cluster.settles("adopted", "compression.type", "zstd").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_somebody_else_is_not_taken_for_an_output() {
    let cluster = cluster().await;
    let named = |name: &str, partitions| Topic {
        is_named: true,
        ..topic(name, partitions)
    };
    cluster
        .make("theirs", &[("cleanup.policy", "compact")])
        .await;
    let refused = cluster
        .topics
        .ensure(&[named("theirs", 2)])
        .await
        .unwrap_err()
        .to_string();
    let dry = cluster.topics.clone().dry_run();
    let in_a_dry_run = dry.ensure(&[named("theirs", 2)]).await.unwrap_err();
    assert_eq!(in_a_dry_run.to_string(), refused);
    assert_eq!(
        refused,
        "topic theirs, which an output names, is there already with message.timestamp.type=CreateTime in place of LogAppendTime, \
         cleanup.policy=compact in place of delete, partitions=1 in place of 2: it is somebody else's, so it is not changed; \
         name another topic, or make it fit yourself where nobody else needs it as it is"
    );
    assert_eq!(cluster.setting("theirs", "cleanup.policy").await, "compact");
    assert_eq!(
        cluster
            .topics
            .find("theirs")
            .await
            .unwrap()
            .unwrap()
            .partitions,
        1
    );

    // One that was made for an output is brought in line as any other.
    cluster.topics.ensure(&[named("ours", 1)]).await.unwrap();
    let longer = Topic {
        cleanup: Cleanup::After(120_000),
        ..named("ours", 1)
    };
    assert_eq!(
        cluster.ensure(&longer).await,
        ["topic ours now has retention.ms=120000, not 60000"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_or_not_possible_is_said() {
    let cluster = cluster().await;
    assert_eq!(cluster.topics.find("nowhere").await.unwrap(), None);
    let refused = cluster
        .topics
        .ensure(&[topic("no spaces", 1)])
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, TopicError::Refused { topic, .. } if topic == "no spaces"),
        "{refused}"
    );
    let nobody = Connection::new([("bootstrap.servers", "127.0.0.1:1")]).unwrap();
    let nobody = Topics::new(&nobody).unwrap().find("a").await.unwrap_err();
    assert!(matches!(nobody, TopicError::Unavailable { .. }), "{nobody}");
}
