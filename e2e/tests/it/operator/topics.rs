//! Topics: settings that somebody changes, and partitions that are added.
use std::{collections::HashMap, time::Duration};

use futures::executor::block_on;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
    },
    client::DefaultClientContext,
};

use super::{flow::Flow, shop::Shop, turns::undisturbed};

const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody tells of topics: they are looked at every 30 seconds or so.
const PUT_BACK_WITHIN: Duration = Duration::from_secs(60);

/// The topics of a cluster.
pub(super) struct Topics(AdminClient<DefaultClientContext>);

impl Topics {
    pub(super) fn of(shop: &Shop) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", shop.cluster.kafka());
        Self(config.create().unwrap())
    }

    fn partitions(&self, topic: &str) -> usize {
        let found = self.0.inner().fetch_metadata(Some(topic), PATIENCE);
        found.unwrap().topics()[0].partitions().len()
    }

    fn setting(&self, topic: &str, name: &str) -> String {
        let topic = ResourceSpecifier::Topic(topic);
        let found = block_on(self.0.describe_configs([&topic], &AdminOptions::new())).unwrap();
        let found = found.into_iter().next().unwrap().unwrap();
        found.get(name).unwrap().value.clone().unwrap()
    }

    /// Makes one that is nobody's, with one partition.
    pub(super) fn make(&self, topic: &str) {
        let topic = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        let made = block_on(self.0.create_topics([&topic], &AdminOptions::new())).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Takes every record that is in it by now, as retention does.
    pub(super) fn empty(&self, topic: &str) {
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions(topic) {
            let partition = i32::try_from(partition).unwrap();
            all.add_partition_offset(topic, partition, Offset::End)
                .unwrap();
        }
        block_on(self.0.delete_records(&all, &AdminOptions::new())).unwrap();
    }

    fn delete(&self, topic: &str) {
        let done = block_on(self.0.delete_topics(&[topic], &AdminOptions::new())).unwrap();
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    }

    fn set(&self, topic: &str, name: &str, value: &str) {
        let change = AlterConfig {
            specifier: ResourceSpecifier::Topic(topic),
            entries: HashMap::from([(name, value)]),
        };
        let done = block_on(self.0.alter_configs([&change], &AdminOptions::new())).unwrap();
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    }
}

#[test]
fn a_setting_that_somebody_changes_is_put_back() {
    let shop = Shop::new("settings");
    shop.apply_all();
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    let topics = Topics::of(&shop);
    let _turn = undisturbed();
    for (topic, name) in [
        ("settings.clicks", "retention.ms"),
        ("settings.web-analytics.clicks.state", "cleanup.policy"),
    ] {
        let declared = topics.setting(topic, name);
        let changed = if name == "retention.ms" {
            "1000"
        } else {
            "delete"
        };
        topics.set(topic, name, changed);
        assert_eq!(topics.setting(topic, name), changed);
        let what = format!("{name} of {topic} is as declared");
        shop.until_within(PUT_BACK_WITHIN, &what, || {
            topics.setting(topic, name) == declared
        });
    }
}

#[test]
fn partitions_are_added_while_events_flow_and_are_never_taken_away() {
    let shop = Shop::new("partitions");
    shop.apply_all();
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    let topics = Topics::of(&shop);
    let before = topics.partitions("partitions.clicks");
    let flow = Flow::begin(&shop);
    flow.until_rows_grow_by(&shop, 200);

    let with = |partitions: usize| {
        let source = shop.example("source.yaml");
        let key = "  key: [event_id]\n";
        assert!(source.contains(key), "{source}");
        source
            .replace(
                key,
                &format!("{key}  topic: {{partitions: {partitions}}}\n"),
            )
            .replace("namespace: web", "namespace: partitions")
    };
    shop.apply(&with(before + 3));
    shop.until("the topic has more partitions", || {
        topics.partitions("partitions.clicks") == before + 3
    });
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    flow.until_rows_grow_by(&shop, 400);
    let refused = shop.cluster.apply(&with(before)).unwrap_err().to_string();
    assert!(refused.contains("partitions"), "{refused}");
    flow.end(&shop);
}

#[test]
fn a_topic_that_was_deleted_and_made_again_stops_the_pipeline_and_it_says_so() {
    let shop = Shop::new("recreated");
    shop.apply_all();
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    shop.send_example();
    let count = || shop.sql("SELECT count(*) FROM clicks_unique");
    shop.until("every event is in its table", || count() == "6060");
    Topics::of(&shop).delete("recreated.clicks");
    // Whoever sends does not have to wait for anybody; what was there before is gone, and nobody takes what comes for it.
    shop.until_reason("pipeline/web-analytics", "Stalled", "NeedsMending");
    assert_eq!(
        shop.condition("pipeline/web-analytics", "DataFlowing"),
        ("False".to_owned(), "NeedsMending".to_owned())
    );
    assert_eq!(count(), "6060");
}

#[test]
fn a_topic_that_says_how_far_a_pipeline_is_is_not_made_again_and_it_says_so() {
    let shop = Shop::new("stateless");
    shop.apply_all();
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    let state = "stateless.web-analytics.clicks.state";
    Topics::of(&shop).delete(state);
    shop.until_reason("pipeline/web-analytics", "TopicsReady", "NeedsMending");
    assert_eq!(
        shop.condition("pipeline/web-analytics", "Stalled").0,
        "True"
    );
    let message = shop.message("pipeline/web-analytics", "TopicsReady");
    assert!(message.contains(state), "{message}");
    let found = Topics::of(&shop)
        .0
        .inner()
        .fetch_metadata(Some(state), PATIENCE);
    assert!(found.unwrap().topics()[0].error().is_some(), "it is there");
}

#[test]
fn pods_stay_with_the_kafka_that_has_their_topics() {
    let shop = Shop::new("elsewhere");
    shop.apply_all();
    let all = ["eventsource/clicks", "pipeline/web-analytics"];
    for what in all {
        shop.wait_for(what, "Ready");
    }
    let uids = || {
        let path = "--output=jsonpath={.items[*].metadata.uid}";
        let mut uids: Vec<String> = shop
            .kubectl(&["get", "pods", path])
            .split(' ')
            .map(str::to_owned)
            .collect();
        uids.sort();
        uids
    };
    let flow = Flow::begin(&shop);
    flow.until_rows_grow_by(&shop, 100);
    let before = uids();
    // As if their topics were in another Kafka than the one that the namespace reaches.
    let cluster = |what: &str, id: &str| {
        let patch = format!("--patch={{\"status\": {{\"kafkaCluster\": {id}}}}}");
        shop.kubectl(&[
            "patch",
            what,
            "--subresource=status",
            "--type=merge",
            &patch,
        ]);
    };
    for what in all {
        cluster(what, "\"another-kafka\"");
        shop.until_reason(what, "TopicsReady", "KafkaChanged");
        assert_eq!(shop.condition(what, "Stalled").0, "True", "{what}");
    }
    let address = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: tidewheel-kafka, namespace: web}}\nstringData: {{bootstrap.servers: \"{}\"}}\n",
        shop.cluster.kafka_in_pods()
    );
    shop.apply(&address);
    flow.until_rows_grow_by(&shop, 100);
    assert_eq!(uids(), before, "no pod was replaced");
    for what in all {
        cluster(what, "null");
        shop.wait_for(what, "Ready");
    }
    shop.until("pods reach it as the Secret says", || {
        uids().iter().all(|uid| !before.contains(uid))
    });
    flow.end(&shop);
}
