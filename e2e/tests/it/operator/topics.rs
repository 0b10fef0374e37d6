//! Topics: settings that somebody changes, and partitions that are added.
use std::{collections::HashMap, time::Duration};

use futures::executor::block_on;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
};

use super::{flow::Flow, shop::Shop};

const PATIENCE: Duration = Duration::from_secs(30);

struct Topics(AdminClient<DefaultClientContext>);

impl Topics {
    fn of(shop: &Shop) -> Self {
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
        shop.until(&format!("{name} of {topic} is as declared"), || {
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
    println!("{refused}");
    flow.end(&shop);
}
