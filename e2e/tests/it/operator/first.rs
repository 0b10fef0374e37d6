//! Three files and a Secret: events become rows.
use std::{fs, time::Instant};

use super::shop::{Said, Shop};
use crate::charts::path;

fn said(status: &str, reason: &str) -> Said {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn three_files_are_applied_and_events_become_rows() {
    let shop = Shop::new("first");
    let began = Instant::now();
    shop.apply_all();
    for what in [
        "eventsource/clicks",
        "sink/warehouse",
        "pipeline/web-analytics",
    ] {
        shop.wait_for(what, "Ready");
    }
    shop.measured("three files are applied and ready", began);
    let began = Instant::now();
    shop.send_example();
    shop.until_example_is_there();
    shop.measured("6,060 events are posted and all are rows", began);

    for (what, conditions) in [
        (
            "eventsource/clicks",
            &[
                ("TopicsReady", "TopicsAsDeclared"),
                ("WorkloadsAvailable", "Available"),
            ][..],
        ),
        ("sink/warehouse", &[("SchemasReady", "Connected")][..]),
        (
            "pipeline/web-analytics",
            &[
                ("SourcesReady", "Found"),
                ("TopicsReady", "TopicsAsDeclared"),
                ("SchemasReady", "TablesAsPlanned"),
                ("WorkloadsAvailable", "Available"),
                ("DataFlowing", "Flowing"),
                ("ScalingActive", "FollowsLag"),
            ][..],
        ),
    ] {
        // Pods may be added for the load that has just been.
        for (type_, reason) in conditions {
            shop.until_reason(what, type_, reason);
            let is = said("True", reason);
            assert_eq!(shop.condition(what, type_), is, "{what} {type_}");
        }
        shop.until_reason(what, "Reconciling", "Settled");
        for (type_, is) in [
            ("Ready", said("True", "AllReady")),
            ("Reconciling", said("False", "Settled")),
            ("Stalled", said("False", "NothingInTheWay")),
        ] {
            assert_eq!(shop.condition(what, type_), is, "{what} {type_}");
        }
    }
    assert_eq!(
        shop.condition("pipeline/web-analytics", "Suspended"),
        said("False", "Running")
    );
    let events = shop.kubectl(&["get", "events", "--output=jsonpath={.items[*].reason}"]);
    for reason in ["TopicChanged", "TableChanged", "AllReady"] {
        assert!(events.contains(reason), "{reason} in {events}");
    }

    // What a newcomer is told to send is taken.
    let event = event_of("install.md");
    let answer = shop.posted("Content-Type: application/json\r\n", event.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 202"), "{event}: {answer}");
}

/// The event that a page of the documentation sends.
fn event_of(page: &str) -> String {
    let text = fs::read_to_string(path("docs").join(page)).unwrap();
    let (_, event) = text
        .split_once("/v1/events -H 'Content-Type: application/json' -d '")
        .unwrap();
    event.split_once('\'').unwrap().0.to_owned()
}
