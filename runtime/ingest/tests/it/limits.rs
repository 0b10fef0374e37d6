use tidewheel_ingest::{Ingest, IngestError, IngestSettings, Source};

use crate::support::{Answer, GOOD, Server, Weather, eventually, keys, source};

fn limited() -> Source {
    // So slow that no test waits long enough for the next event.
    Source {
        events_per_second_per_key: Some(1),
        api_keys: keys(&["a", "b"]),
        ..source("clicks")
    }
}

async fn send(server: &Server, key: &str, body: &str) -> Answer {
    Answer::of(
        server
            .post("/v1/events")
            .header("x-api-key", key)
            .body(body.to_owned()),
    )
    .await
}

#[tokio::test]
async fn a_key_beyond_its_rate_is_answered_429_and_told_when_to_come_back() {
    let server = Server::with(IngestSettings::default(), vec![limited()]).await;
    let batch = format!("{GOOD}\n").repeat(1000);
    let first = send(&server, "a", &batch).await;
    assert_eq!(
        (first.status, first.accepted()),
        (202, 1000),
        "a batch larger than the rate passes once"
    );
    let second = send(&server, "a", GOOD).await;
    assert_eq!((second.status, second.error()), (429, "RateLimited"));
    assert!(
        (900..=1000).contains(&second.retry_after_s()),
        "{}",
        second.retry_after_s()
    );
    assert_eq!(
        send(&server, "b", GOOD).await.status,
        202,
        "other keys have their own rate"
    );
    assert_eq!(server.stored().await.len(), 1001);
}

#[tokio::test]
async fn a_rate_that_was_spent_stays_spent_when_sources_are_replaced() {
    let server = Server::with(IngestSettings::default(), vec![limited()]).await;
    assert_eq!(
        send(&server, "a", &format!("{GOOD}\n").repeat(1000))
            .await
            .status,
        202
    );
    server
        .ingest
        .replace(vec![Source {
            api_keys: keys(&["0", "a"]),
            ..limited()
        }])
        .unwrap();
    assert_eq!(send(&server, "a", GOOD).await.status, 429);
    assert_eq!(send(&server, "0", GOOD).await.status, 202);
}

#[tokio::test]
async fn senders_without_keys_share_one_rate() {
    let server = Server::with(
        IngestSettings::default(),
        vec![Source {
            api_keys: None,
            ..limited()
        }],
    )
    .await;
    assert_eq!(
        server.send(format!("{GOOD}\n").repeat(1000)).await.status,
        202
    );
    assert_eq!(server.send(GOOD).await.status, 429);
}

/// Room for little more than one of the largest requests.
fn tight() -> IngestSettings {
    IngestSettings {
        max_body_bytes: 100_000,
        max_decompressed_bytes: 100_000,
        max_events_per_request: 10,
        max_in_flight_bytes: 210_000,
        ..IngestSettings::default()
    }
}

#[tokio::test]
async fn requests_beyond_the_memory_bound_are_answered_503_and_room_is_given_back() {
    let server = Server::with(tight(), vec![source("clicks")]).await;
    let large = format!("{GOOD}{}", " ".repeat(80_000));
    server.weather.send(Weather::Hanging).unwrap();
    let held = tokio::spawn(Answer::of(server.post("/v1/events").body(large.clone())));
    eventually("the first request waits for the log", async || {
        server.gauge("tidewheel_ingest_in_flight_bytes") > 160_000.0
    })
    .await;

    let refused = server.send(large.clone()).await;
    assert_eq!(
        (refused.status, refused.error(), refused.retry_after_s()),
        (503, "Overloaded", 1)
    );

    server.weather.send(Weather::Fair).unwrap();
    assert_eq!(held.await.unwrap().status, 202);
    eventually("what was held is given back", async || {
        server.gauge("tidewheel_ingest_in_flight_bytes") == 0.0
    })
    .await;
    assert_eq!(server.send(large).await.status, 202);
}

#[tokio::test]
async fn limits_under_which_no_request_could_pass_are_refused() {
    let settings = IngestSettings {
        max_in_flight_bytes: 200_000,
        ..tight()
    };
    let server = Server::start().await;
    let log = std::sync::Arc::new(server.log.clone());
    let refused = Ingest::new(settings, log, &prometheus::Registry::new())
        .err()
        .unwrap();
    assert!(
        matches!(
            refused,
            IngestError::InFlightTooSmall {
                needed_bytes: 200_001..,
                ..
            }
        ),
        "{refused}"
    );
}
