use tidewheel_log::partition_of;

use crate::support::{Answer, GOOD, PARTITIONS, Server, gzip};

const TWO: [&str; 2] = [
    r#"{"id":"00000000-0000-0000-0000-000000000001","user":"a"}"#,
    r#"{"id":"00000000-0000-0000-0000-000000000002","user":"b"}"#,
];

#[tokio::test]
async fn an_object_is_stored_byte_for_byte_and_answered_202() {
    let server = Server::start().await;
    let event =
        r#"{ "user":"\u0041", "id":"00000000-0000-0000-0000-000000000001","x" : [1.0e0, "ü"] }"#;
    let answer = server.send(format!("\n {event} \r\n")).await;
    assert_eq!((answer.status, answer.accepted()), (202, 1));
    assert_eq!(
        answer.json.to_string(),
        r#"{"accepted":1,"refused":[],"refusedTotal":0,"generated":[]}"#
    );
    assert_eq!(server.values().await, [event]);
}

#[tokio::test]
async fn an_array_is_stored_event_by_event() {
    let server = Server::start().await;
    let answer = server.send(format!(" [{} ,\n{}]", TWO[0], TWO[1])).await;
    assert_eq!((answer.status, answer.accepted()), (202, 2));
    assert_eq!(server.values().await, TWO);
}

#[tokio::test]
async fn lines_are_stored_whatever_their_ends_and_a_byte_order_mark() {
    let server = Server::start().await;
    let body = format!("\u{feff}{}\r\n\r\n\n{}", TWO[0], TWO[1]);
    let request = server
        .post("/v1/events")
        .header("content-type", "application/x-ndjson")
        .body(body);
    assert_eq!(Answer::of(request).await.status, 202);
    assert_eq!(server.values().await, TWO);
}

#[tokio::test]
async fn gzip_is_taken_in_one_member_or_several() {
    let server = Server::start().await;
    let mut body = gzip(TWO[0].as_bytes());
    body.extend(gzip(format!("\n{}", TWO[1]).as_bytes()));
    let request = server
        .post("/v1/events")
        .header("content-encoding", "gzip")
        .body(body);
    assert_eq!(Answer::of(request).await.status, 202);
    assert_eq!(server.values().await, TWO);
}

#[tokio::test]
async fn a_content_type_is_not_needed() {
    let server = Server::start().await;
    let request = server
        .client
        .post(format!("{}/v1/events", server.url))
        .body(GOOD);
    assert_eq!(Answer::of(request).await.status, 202);
}

#[tokio::test]
async fn an_event_has_the_key_and_the_partition_of_its_key_columns() {
    let server = Server::start().await;
    let body: String = (0..50)
        .map(|n| format!("{{\"user\":\"u{n}\"}}\n"))
        .collect();
    assert_eq!(server.send(body).await.accepted(), 50);
    let stored = server.stored().await;
    assert_eq!(stored.len(), 50);
    for (partition, record) in stored {
        let key = record.key.unwrap();
        let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        assert!(
            value.contains(&format!(
                "\"user\":\"{}\"",
                std::str::from_utf8(&key).unwrap()
            )),
            "{value}"
        );
        assert_eq!(partition, partition_of(&key, PARTITIONS));
    }
}

#[tokio::test]
async fn an_id_that_is_absent_is_made_stored_and_returned() {
    let server = Server::start().await;
    let answer = server.send(format!("[{GOOD},{{\"user\":\"u2\"}}]")).await;
    assert_eq!((answer.status, answer.accepted()), (202, 2));
    let generated = answer.json["generated"].as_array().unwrap();
    assert_eq!(generated.len(), 1);
    assert_eq!(
        (&generated[0]["index"], &generated[0]["field"]),
        (&1.into(), &"id".into())
    );
    let id = generated[0]["value"].as_str().unwrap();
    let mut expected = vec![
        GOOD.to_owned(),
        format!("{{\"id\":\"{id}\",\"user\":\"u2\"}}"),
    ];
    expected.sort();
    assert_eq!(server.values().await, expected);
}

#[tokio::test]
async fn an_id_that_was_sent_is_kept_and_one_that_is_null_is_made() {
    let server = Server::start().await;
    let answer = server
        .send(format!(
            "{GOOD}\n{{\"id\":null,\"user\":\"a\"}}\n{{\"user\":7}}"
        ))
        .await;
    assert_eq!(answer.status, 207);
    assert_eq!(answer.refused(), [(2, "user", "WrongType")]);
    let generated = answer.json["generated"].as_array().unwrap();
    assert_eq!((generated.len(), &generated[0]["index"]), (1, &1.into()));
    let id = generated[0]["value"].as_str().unwrap();
    let mut expected = vec![
        GOOD.to_owned(),
        format!("{{\"id\":\"{id}\",\"user\":\"a\"}}"),
    ];
    expected.sort();
    assert_eq!(server.values().await, expected);
}

#[tokio::test]
async fn a_request_keeps_its_id_if_logs_can_show_it() {
    let server = Server::start().await;
    let id = async |sent: &str| {
        let answer = Answer::of(
            server
                .post("/v1/events")
                .header("x-request-id", sent)
                .body(GOOD),
        )
        .await;
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(id("trace-1:a/b").await, "trace-1:a/b");
    for strange in ["a b", "\"quoted\"", &"x".repeat(129)] {
        assert_eq!(id(strange).await.len(), 36, "{strange}");
    }
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = Server::start().await;
    for _ in 0..20 {
        assert_eq!(server.send(GOOD).await.status, 202);
    }
    assert_eq!(server.stored().await.len(), 20);
    assert_eq!(server.gauge("tidewheel_ingest_connections"), 1.0);
}
