use std::time::Duration;

use tidewheel_ingest::{Drained, IngestSettings};
use tokio::net::TcpStream;

use crate::support::{Answer, GOOD, Server, Weather, eventually, head, source};

#[tokio::test]
async fn a_shutdown_answers_what_was_begun_and_takes_nothing_new() {
    let mut server = Server::start().await;
    server.weather.send(Weather::Hanging).unwrap();
    let waiting = tokio::spawn(Answer::of(server.post("/v1/events").body(GOOD)));
    let mut uploading = server.raw().await;
    uploading
        .write(head(&format!("content-length: {}\r\n", GOOD.len())))
        .await;
    uploading.write(&GOOD[..10]).await;
    let mut idle = server.raw().await;
    eventually("all are there", async || {
        server.gauge("tidewheel_ingest_in_flight_bytes") > 0.0
            && server.gauge("tidewheel_ingest_connections") == 3.0
    })
    .await;

    server.stop.take().unwrap().send(()).unwrap();
    eventually("new connections are refused", async || {
        TcpStream::connect(server.address).await.is_err()
    })
    .await;
    assert_eq!(idle.read_to_end().await, "");
    uploading.write(&GOOD[10..]).await;
    server.weather.send(Weather::Fair).unwrap();

    assert_eq!(waiting.await.unwrap().status, 202);
    assert!(uploading.read_to_end().await.starts_with("HTTP/1.1 202"));
    assert_eq!((&mut server.serving).await.unwrap(), Drained { cut_off: 0 });
    assert_eq!(server.values().await, [GOOD, GOOD]);
}

#[tokio::test]
async fn a_shutdown_ends_at_its_deadline() {
    let settings = IngestSettings {
        shutdown_grace: Duration::from_millis(50),
        ..IngestSettings::default()
    };
    let mut server = Server::with(settings, vec![source("clicks")]).await;
    server.weather.send(Weather::Hanging).unwrap();
    let mut waiting = server.raw().await;
    waiting
        .write(head(&format!("content-length: {}\r\n", GOOD.len())))
        .await;
    waiting.write(GOOD).await;
    eventually("the request is there", async || {
        server.gauge("tidewheel_ingest_in_flight_bytes") > 0.0
    })
    .await;
    server.stop.take().unwrap().send(()).unwrap();
    assert_eq!((&mut server.serving).await.unwrap(), Drained { cut_off: 1 });
    assert_eq!(
        waiting.read_to_end().await,
        "",
        "nothing is claimed of what was not acknowledged"
    );
}
