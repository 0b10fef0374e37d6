use std::time::Duration;

use tidewheel_ingest::IngestSettings;

use crate::support::{GOOD, Server, Weather, eventually, head, source};

#[tokio::test]
async fn while_the_log_is_down_nothing_is_claimed_and_afterwards_all_goes_on() {
    let server = Server::start().await;
    server.weather.send(Weather::Down).unwrap();
    let answer = server
        .send(format!("{GOOD}\n{{\"user\":\"a\"}}\n{{\"user\":1}}"))
        .await;
    assert_eq!(
        (answer.status, answer.accepted(), answer.error()),
        (503, 0, "LogUnavailable")
    );
    assert!(answer.retry_after_s() > 0);
    assert_eq!(
        answer.refused(),
        [(2, "user", "WrongType")],
        "what would be refused again is named"
    );
    assert_eq!(
        answer.json["generated"][0]["index"], 1,
        "ids that make sending again safe are named"
    );
    assert!(server.values().await.is_empty());
    let said = r#""name":"appends","ready":false,"required":false"#;
    let (_, body) = server.get("/readyz").await;
    assert!(
        body.contains(said) && body.contains("no broker answers"),
        "{body}"
    );

    server.weather.send(Weather::Fair).unwrap();
    assert_eq!(server.send(GOOD).await.status, 202);
    assert_eq!(server.values().await, [GOOD]);
    let (_, body) = server.get("/readyz").await;
    assert!(body.contains("the log takes events"), "{body}");
}

#[tokio::test]
async fn a_request_that_holds_nothing_good_is_answered_400_even_then() {
    let server = Server::start().await;
    server.weather.send(Weather::Down).unwrap();
    assert_eq!(server.send("{}").await.status, 400);
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_not_waited_for_for_ever() {
    let settings = IngestSettings {
        append_timeout: Duration::from_millis(50),
        ..IngestSettings::default()
    };
    let server = Server::with(settings, vec![source("clicks")]).await;
    server.weather.send(Weather::Hanging).unwrap();
    let answer = server.send(GOOD).await;
    assert_eq!(
        (answer.status, answer.accepted(), answer.error()),
        (503, 0, "LogUnavailable")
    );
    let held = server.gauge("tidewheel_ingest_in_flight_bytes");
    assert!(held > 0.0, "what the log still holds is accounted for");
    server.weather.send(Weather::Fair).unwrap();
    eventually("the rest is given back", async || {
        server.gauge("tidewheel_ingest_in_flight_bytes") == 0.0
    })
    .await;
}

#[tokio::test]
async fn an_append_that_was_begun_is_not_torn_by_a_client_that_leaves() {
    let server = Server::start().await;
    server.weather.send(Weather::Hanging).unwrap();
    let mut client = server.raw().await;
    client
        .write(head(&format!("content-length: {}\r\n", GOOD.len())))
        .await;
    client.write(GOOD).await;
    eventually("the request waits for the log", async || {
        server.gauge("tidewheel_ingest_in_flight_bytes") > 0.0
    })
    .await;
    drop(client);
    eventually("the connection is gone", async || {
        server.gauge("tidewheel_ingest_connections") == 0.0
    })
    .await;
    server.weather.send(Weather::Fair).unwrap();
    eventually("the event is stored", async || {
        server.values().await == [GOOD]
    })
    .await;
    eventually("all is given back", async || {
        server.gauge("tidewheel_ingest_in_flight_bytes") == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_is_missing_is_an_outage_and_not_a_loss() {
    let server = Server::start().await;
    server.log.delete_topic("shop.clicks").unwrap();
    let answer = server.send(GOOD).await;
    assert_eq!((answer.status, answer.accepted()), (503, 0));
}
