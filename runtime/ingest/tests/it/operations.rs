use tidewheel_log::{Cleanup, TopicSettings};

use crate::support::{GOOD, Server, Weather, keys, source};

#[tokio::test]
async fn a_process_that_runs_is_healthy_even_without_a_log() {
    let server = Server::start().await;
    server.weather.send(Weather::Down).unwrap();
    assert_eq!(server.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn it_is_ready_when_the_log_has_every_topic() {
    let server = Server::start().await;
    let (status, body) = server.get("/readyz").await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        r#"{"ready":true,"checks":[{"name":"ingest","ready":true,"required":true,"detail":"accepting events"},{"name":"log","ready":true,"required":true,"detail":"1 of 1 topics are there"},{"name":"appends","ready":true,"required":false,"detail":"the log takes events"}]}"#
    );

    server
        .ingest
        .replace(vec![source("clicks"), source("orders")])
        .unwrap();
    let (status, body) = server.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("1 of 2 topics are there"), "{body}");

    let topic = TopicSettings {
        name: "shop.orders".into(),
        partitions: 1,
        cleanup: Cleanup::Retention { ms: None },
    };
    server.log.create_topic(&topic).unwrap();
    assert_eq!(server.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn it_is_not_ready_while_the_log_is_down() {
    let server = Server::start().await;
    server.weather.send(Weather::Down).unwrap();
    let (status, body) = server.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        body.contains("the log is unavailable: no broker answers"),
        "{body}"
    );
}

/// Name and type of every metric.
async fn families(server: &Server) -> Vec<String> {
    let (_, text) = server.get("/metrics").await;
    let mut families: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            families.push(family.to_owned());
        }
    }
    families
}

#[tokio::test]
async fn the_metrics_are_the_documented_ones() {
    let server = Server::start().await;
    let before = families(&server).await;
    server.send(format!("{GOOD}\n{{}}\n{{\"user\":1}}")).await;
    server.send("").await;
    let after = families(&server).await;
    insta::assert_snapshot!(after.join("\n"), @r"
    tidewheel_ingest_append_duration_seconds histogram
    tidewheel_ingest_body_bytes_total counter
    tidewheel_ingest_connections gauge
    tidewheel_ingest_events_total counter
    tidewheel_ingest_in_flight_bytes gauge
    tidewheel_ingest_refused_events_total counter
    tidewheel_ingest_request_duration_seconds histogram
    tidewheel_ingest_requests_total counter
    ");
    let documented = include_str!("../../../../docs/http-api.md");
    for family in &after {
        let name = family.split(' ').next().unwrap();
        assert!(
            documented.contains(&format!("`{name}`")),
            "{name} is not documented"
        );
    }
    assert_eq!(before, after, "every metric is there from the start");
}

#[tokio::test]
async fn the_metrics_count_what_the_answers_said() {
    let server = Server::start().await;
    server.send(format!("{GOOD}\n{{}}\n{{\"user\":1}}")).await;
    server.send("").await;
    server.weather.send(Weather::Down).unwrap();
    server.send(GOOD).await;
    server.post("/nowhere").send().await.unwrap();
    let (_, text) = server.get("/metrics").await;
    for series in [
        r#"tidewheel_ingest_requests_total{code="202",source="shop/clicks"} 0"#,
        r#"tidewheel_ingest_requests_total{code="207",source="shop/clicks"} 1"#,
        r#"tidewheel_ingest_requests_total{code="400",source="shop/clicks"} 1"#,
        r#"tidewheel_ingest_requests_total{code="503",source="shop/clicks"} 1"#,
        r#"tidewheel_ingest_requests_total{code="404",source=""} 1"#,
        r#"tidewheel_ingest_events_total{outcome="accepted",source="shop/clicks"} 1"#,
        r#"tidewheel_ingest_events_total{outcome="refused",source="shop/clicks"} 2"#,
        r#"tidewheel_ingest_events_total{outcome="unacknowledged",source="shop/clicks"} 1"#,
        r#"tidewheel_ingest_refused_events_total{code="Missing",source="shop/clicks"} 1"#,
        r#"tidewheel_ingest_refused_events_total{code="WrongType",source="shop/clicks"} 1"#,
        r#"tidewheel_ingest_request_duration_seconds_count{source="shop/clicks"} 3"#,
        "tidewheel_ingest_append_duration_seconds_count 2",
        "tidewheel_ingest_in_flight_bytes 0",
    ] {
        assert!(
            text.lines().any(|line| line == series),
            "{series} is not in\n{text}"
        );
    }
}

#[tokio::test]
async fn probes_and_metrics_need_no_key_and_tell_no_names_but_labels() {
    let locked = tidewheel_ingest::Source {
        api_keys: keys(&["secret-key"]),
        ..source("clicks")
    };
    let server = Server::start().await;
    server.ingest.replace(vec![locked]).unwrap();
    for path in ["/healthz", "/readyz", "/metrics"] {
        let (status, body) = server.get(path).await;
        assert_eq!(status, 200);
        assert!(!body.contains("secret-key"));
    }
}
