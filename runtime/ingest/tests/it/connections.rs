use std::time::Duration;

use futures::future::try_join_all;
use tidewheel_ingest::{IngestSettings, listen};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::{GOOD, PATIENCE, Raw, Server, Weather, eventually, head, source};

/// Deadlines that a test can wait for.
fn impatient() -> IngestSettings {
    IngestSettings {
        header_timeout: Duration::from_millis(200),
        body_idle_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(600),
        write_timeout: Duration::from_millis(200),
        max_connections: 2,
        ..IngestSettings::default()
    }
}

async fn impatient_server() -> Server {
    Server::with(impatient(), vec![source("clicks")]).await
}

#[tokio::test]
async fn a_body_that_pauses_is_answered_408() {
    let server = impatient_server().await;
    let mut client = server.raw().await;
    client.write(head("content-length: 1000\r\n")).await;
    client.write("{").await;
    let answer = client.read_to_end().await;
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("SlowBody"),
        "{answer}"
    );
    assert_eq!(server.gauge("tidewheel_ingest_in_flight_bytes"), 0.0);
}

#[tokio::test]
async fn a_body_that_trickles_is_answered_408() {
    let server = impatient_server().await;
    let Raw { stream } = {
        let mut client = server.raw().await;
        client.write(head("transfer-encoding: chunked\r\n")).await;
        client
    };
    let (mut reader, mut writer) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while writer.write_all(b"1\r\n \r\n").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = timeout(
        PATIENCE,
        tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer),
    )
    .await
    .unwrap();
    trickle.abort();
    assert!(
        answer.starts_with(b"HTTP/1.1 408"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test]
async fn heads_that_never_end_and_idle_connections_do_not_keep_others_out() {
    let server = impatient_server().await;
    let mut unfinished = server.raw().await;
    unfinished
        .write("POST /v1/events HTTP/1.1\r\nx-one: 1\r\n")
        .await;
    let mut silent = server.raw().await;
    eventually("both places are taken", async || {
        server.gauge("tidewheel_ingest_connections") == 2.0
    })
    .await;
    assert_eq!(server.send(GOOD).await.status, 202);
    unfinished.read_to_end().await;
    silent.read_to_end().await;
}

#[tokio::test]
async fn whoever_has_waited_longest_makes_room() {
    let settings = IngestSettings {
        max_connections: 2,
        ..IngestSettings::default()
    };
    let server = Server::with(settings, vec![source("clicks")]).await;
    let mut silent = server.raw().await;
    silent
        .write("POST /v1/events HTTP/1.1\r\nx-one: 1\r\n")
        .await;
    let mut slow = server.raw().await;
    eventually("both places are taken", async || {
        server.gauge("tidewheel_ingest_connections") == 2.0
    })
    .await;
    slow.write(head(&format!(
        "content-length: {}\r\nconnection: close\r\n",
        GOOD.len()
    )))
    .await;
    slow.write(&GOOD[..1]).await;
    assert_eq!(server.send(GOOD).await.status, 202);
    assert_eq!(silent.read_to_end().await, "");
    slow.write(&GOOD[1..]).await;
    assert!(slow.read_to_end().await.starts_with("HTTP/1.1 202"));
}

#[tokio::test]
async fn whoever_is_being_answered_does_not_make_room() {
    let settings = IngestSettings {
        max_connections: 1,
        ..IngestSettings::default()
    };
    let server = Server::with(settings, vec![source("clicks")]).await;
    server.weather.send(Weather::Hanging).unwrap();
    let mut first = server.raw().await;
    first
        .write(head(&format!(
            "content-length: {}\r\nconnection: close\r\n",
            GOOD.len()
        )))
        .await;
    first.write(GOOD).await;
    eventually("the request waits for the log", async || {
        server.gauge("tidewheel_ingest_in_flight_bytes") > 0.0
    })
    .await;
    let mut second = server.raw().await;
    second
        .write(head(&format!(
            "content-length: {}\r\nconnection: close\r\n",
            GOOD.len()
        )))
        .await;
    second.write(GOOD).await;
    server.weather.send(Weather::Fair).unwrap();
    assert!(first.read_to_end().await.starts_with("HTTP/1.1 202"));
    assert!(second.read_to_end().await.starts_with("HTTP/1.1 202"));
}

#[tokio::test]
async fn clients_that_never_read_do_not_keep_others_out() {
    let server = Server::with(
        IngestSettings {
            max_connections: 1,
            ..impatient()
        },
        vec![source("clicks")],
    )
    .await;
    let mut deaf = server.raw().await;
    let body = "{\"user\":\"a\"}\n".repeat(5000);
    let request = format!(
        "{}{body}",
        head(&format!("content-length: {}\r\n", body.len()))
    );
    // The answers name 5,000 ids each: soon neither side's buffers take more.
    let writing = async { while deaf.stream.write_all(request.as_bytes()).await.is_ok() {} };
    timeout(PATIENCE, writing)
        .await
        .expect("the server ends the connection");
    assert_eq!(server.send(GOOD).await.status, 202);
    eventually("its answers are given up", async || {
        server.gauge("tidewheel_ingest_in_flight_bytes") == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let settings = IngestSettings {
        max_body_bytes: 1000,
        ..IngestSettings::default()
    };
    let server = Server::with(settings, vec![source("clicks")]).await;
    let mut client = server.raw().await;
    client.write(head("content-length: 3000000\r\n")).await;
    client.write(vec![b' '; 3_000_000]).await;
    let answer = client.read_to_end().await;
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("BodyTooLarge"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_that_asks_first_is_refused_before_it_sends() {
    let server = Server::start().await;
    let mut client = server.raw().await;
    client
        .write(head("content-length: 99999999\r\nexpect: 100-continue\r\n"))
        .await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_client_that_asks_first_and_is_welcome_is_told_to_go_on() {
    let server = Server::start().await;
    let mut client = server.raw().await;
    client
        .write(head(&format!(
            "content-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n",
            GOOD.len()
        )))
        .await;
    let mut told = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut told)
        .await
        .unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write(GOOD).await;
    assert!(client.read_to_end().await.starts_with("HTTP/1.1 202"));
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    let server = Server::start().await;
    let mut client = server.raw().await;
    client.write(head("content-length: 1000\r\n")).await;
    client.write(format!("{GOOD}\n{GOOD}\n")).await;
    client.stream.shutdown().await.unwrap();
    client.read_to_end().await;
    eventually("the connection is gone", async || {
        server.gauge("tidewheel_ingest_connections") == 0.0
    })
    .await;
    assert!(server.values().await.is_empty());
    assert_eq!(server.gauge("tidewheel_ingest_in_flight_bytes"), 0.0);
}

#[tokio::test]
async fn what_is_not_http_ends_with_the_connection() {
    let server = Server::start().await;
    let large_head = head(&format!("x-large: {}\r\n", "x".repeat(100_000)));
    for (bytes, status) in [
        ("\0\u{1}\u{2} nonsense\r\n\r\n", "400"),
        (large_head.as_str(), "431"),
    ] {
        let mut client = server.raw().await;
        let _ = client.stream.write_all(bytes.as_bytes()).await;
        let answer = client.read_to_end().await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    assert_eq!(server.send(GOOD).await.status, 202);
}

/// Who finds no room in the queue asks again and again for two minutes, and fails then.
#[tokio::test]
async fn clients_that_connect_all_at_once_find_room_to_wait() {
    let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let clients = (0..300).map(|_| TcpStream::connect(address));
    assert_eq!(try_join_all(clients).await.unwrap().len(), 300);
}
