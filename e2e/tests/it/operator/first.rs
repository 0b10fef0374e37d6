//! Three files and a Secret: events become rows.
use std::time::Instant;

use super::shop::{Said, Shop};

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
    println!("ready after {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    shop.send_example();
    let expected = Shop::expected_windows();
    shop.until("every window is in its table", || {
        shop.windows().lines().count() == expected.lines().count()
    });
    println!("rows after {:.1} s", began.elapsed().as_secs_f64());
    let mut found: Vec<String> = shop.windows().lines().map(str::to_owned).collect();
    found.sort();
    assert_eq!(found.join("\n"), expected);
    assert_eq!(
        shop.sql("SELECT count(*), count(DISTINCT event_id) FROM clicks_unique"),
        "6060|6060"
    );

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
            ][..],
        ),
    ] {
        assert_eq!(
            shop.condition(what, "Ready"),
            said("True", "AllReady"),
            "{what}"
        );
        assert_eq!(
            shop.condition(what, "Reconciling"),
            said("False", "Settled"),
            "{what}"
        );
        assert_eq!(
            shop.condition(what, "Stalled"),
            said("False", "NothingInTheWay"),
            "{what}"
        );
        for (type_, reason) in conditions {
            assert_eq!(
                shop.condition(what, type_),
                said("True", reason),
                "{what} {type_}"
            );
        }
    }
    let events = shop.kubectl(&["get", "events", "--output=jsonpath={.items[*].reason}"]);
    for reason in ["TopicChanged", "TableChanged", "AllReady"] {
        assert!(events.contains(reason), "{reason} in {events}");
    }
}
