//! What becomes of data when the resource is deleted that it belongs to.
use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};

use super::shop::Shop;

const ALL: [&str; 3] = [
    "pipeline/web-analytics",
    "sink/warehouse",
    "eventsource/clicks",
];

fn kafka(shop: &Shop) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", shop.cluster.kafka())
        .create()
        .unwrap()
}

/// Those of these names that are of a namespace.
fn of<'a>(shop: &Shop, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let prefix = format!("{}.", shop.name);
    names
        .filter(|name| name.starts_with(&prefix))
        .map(str::to_owned)
        .collect()
}

/// The topics of a namespace.
fn topics(shop: &Shop) -> Vec<String> {
    let found = kafka(shop).fetch_metadata(None, Duration::from_secs(30));
    of(
        shop,
        found.unwrap().topics().iter().map(|topic| topic.name()),
    )
}

/// The consumer groups of a namespace.
fn groups(shop: &Shop) -> Vec<String> {
    let found = kafka(shop).fetch_group_list(None, Duration::from_secs(30));
    of(
        shop,
        found.unwrap().groups().iter().map(|group| group.name()),
    )
}

fn tables(shop: &Shop) -> String {
    shop.sql(&format!(
        "SELECT tablename FROM pg_tables WHERE schemaname = '{}' AND tablename LIKE 'clicks%'",
        shop.schema()
    ))
}

#[test]
fn with_delete_topics_and_tables_go_with_their_resources() {
    let shop = Shop::new("deleted");
    shop.apply_all_to_be_deleted();
    for what in ALL {
        shop.wait_for(what, "Ready");
    }
    shop.send_example();
    shop.until_example_is_there();
    assert!(topics(&shop).len() > 4, "{:?}", topics(&shop));
    assert_eq!(groups(&shop).len(), 2, "{:?}", groups(&shop));
    assert_eq!(tables(&shop).lines().count(), 2);
    shop.delete(&ALL);
    shop.until("no topic is there", || topics(&shop).is_empty());
    assert_eq!(groups(&shop), [""; 0]);
    assert_eq!(tables(&shop), "");
    let events = shop.kubectl(&["get", "events", "--output=jsonpath={.items[*].reason}"]);
    assert!(
        events.contains("DataDeleted") && !events.contains("DataLeftBehind"),
        "{events}"
    );
}

#[test]
fn what_stays_is_gone_on_with_by_resources_that_are_made_again() {
    let shop = Shop::new("retained");
    shop.apply_all();
    for what in ALL {
        shop.wait_for(what, "Ready");
    }
    shop.send_example();
    shop.until_example_is_there();
    let count = || shop.sql("SELECT count(*), count(DISTINCT event_id) FROM clicks_unique");
    let before = topics(&shop);
    let adopted = |what: &str| shop.kubectl(&["get", what, "--output=jsonpath={.status.adopted}"]);
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        assert_eq!(adopted(what), "[]", "{what}");
    }
    shop.delete(&ALL);
    assert_eq!(topics(&shop), before);
    assert_eq!(count(), "6060|6060");

    shop.apply_all();
    for what in ALL {
        shop.wait_for(what, "Ready");
    }
    assert_eq!(adopted("eventsource/clicks"), "[\"topic retained.clicks\"]");
    let of_pipeline = adopted("pipeline/web-analytics");
    assert!(
        of_pipeline.contains("topic retained.web-analytics.clicks.state"),
        "{of_pipeline}"
    );
    shop.send_example();
    // The events of the example are the same ones, and those that close windows are new.
    shop.until("new events are in the table, and the old ones once", || {
        count() == "6120|6120"
    });
    assert_eq!(shop.windows(), Shop::expected_windows());
}

#[test]
fn a_database_that_does_not_answer_holds_up_a_deletion_for_a_minute_and_no_longer() {
    let shop = Shop::new("unanswered");
    shop.apply_all_to_be_deleted();
    for what in ALL {
        shop.wait_for(what, "Ready");
    }
    shop.secret("postgres://nobody:nothing@127.0.0.1:1/none");
    shop.until_reason("sink/warehouse", "Ready", "DatabaseUnavailable");
    let began = Instant::now();
    // Fails where it takes longer than it may.
    shop.delete(&ALL);
    assert!(began.elapsed() > Duration::from_secs(50), "it was tried");
    let events = shop.kubectl(&["get", "events", "--output=jsonpath={.items[*].message}"]);
    for said in [
        "data was left behind",
        "tables of the outputs clicks_unique, clicks_hourly in the Sink warehouse",
        "topic unanswered.web-analytics.clicks.state",
    ] {
        assert!(events.contains(said), "{said}: {events}");
    }
    assert_eq!(
        topics(&shop),
        [""; 0],
        "who answers does not wait for who does not"
    );
    assert_eq!(tables(&shop).lines().count(), 2);
}

#[test]
fn a_namespace_goes_with_all_that_is_in_it_also_where_nothing_answers() {
    let shop = Shop::new("leaving");
    shop.apply_all_to_be_deleted();
    for what in ALL {
        shop.wait_for(what, "Ready");
    }
    shop.secret("postgres://nobody:nothing@127.0.0.1:1/none");
    shop.apply(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: tidewheel-kafka, namespace: web}\nstringData: {bootstrap.servers: \"127.0.0.1:1\"}\n",
    );
    shop.until_reason("sink/warehouse", "Ready", "DatabaseUnavailable");
    shop.until_reason("eventsource/clicks", "TopicsReady", "KafkaUnavailable");
    let began = Instant::now();
    let delete = ["delete", "namespace", shop.name, "--timeout=150s"];
    if let Err(error) = shop.cluster.run_kubectl(&delete) {
        let left = ["get", "namespace", shop.name, "--output=yaml"];
        panic!(
            "{error}\n{}",
            shop.cluster.run_kubectl(&left).unwrap_or_default()
        );
    }
    shop.measured("the namespace is gone", began);
}
