use tidewheel_decode::{DEFAULT_MAX_EVENT_BYTES, MAX_MEMBERS};
use tidewheel_ingest::IngestSettings;

use crate::support::{Answer, GOOD, Server, gzip, source};

#[tokio::test]
async fn bad_events_are_named_and_the_good_ones_beside_them_are_stored() {
    let server = Server::start().await;
    let answer = server.send(format!("[{{\"user\":1}},{GOOD},3,{{}}]")).await;
    assert_eq!((answer.status, answer.accepted()), (207, 1));
    assert_eq!(
        answer.refused(),
        [
            (0, "user", "WrongType"),
            (2, "", "NotAnObject"),
            (3, "user", "Missing")
        ]
    );
    assert_eq!(server.values().await, [GOOD]);
}

#[tokio::test]
async fn a_request_without_a_good_event_is_answered_400() {
    let server = Server::start().await;
    let answer = server.send("{\"user\":1}\n{\"user\":2}").await;
    assert_eq!(
        (answer.status, answer.accepted(), answer.refused().len()),
        (400, 0, 2)
    );
    assert!(server.values().await.is_empty());
}

#[tokio::test]
async fn hostile_events_are_refused_by_name_and_hold_nothing_up() {
    let server = Server::start().await;
    let deep = format!(
        "{{\"user\":\"a\",\"x\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let hostile: Vec<(Vec<u8>, &str)> = vec![
        (br#"{"user":"a","amount":1"#.to_vec(), "Malformed"),
        (br#"{"user":"a\u0000"}"#.to_vec(), "BadText"),
        (br#"{"user":"\ud800"}"#.to_vec(), "BadText"),
        (br#"{"user":"a","amount":1e400}"#.to_vec(), "OutOfRange"),
        (br#"{"user":"a","user":"b"}"#.to_vec(), "DuplicateField"),
        (b"{\"user\":\"\xff\"}".to_vec(), "InvalidUtf8"),
        (b"{\"user\":\"a\0\"}".to_vec(), "Malformed"),
        (deep.into_bytes(), "TooDeep"),
    ];
    let mut body = GOOD.as_bytes().to_vec();
    for (event, _) in &hostile {
        body.push(b'\n');
        body.extend(event);
    }
    let answer = server.send(body).await;
    assert_eq!((answer.status, answer.accepted()), (207, 1));
    let codes: Vec<_> = answer
        .refused()
        .into_iter()
        .map(|(index, _, code)| (index, code))
        .collect();
    let expected: Vec<_> = (1..).zip(hostile.iter().map(|(_, code)| *code)).collect();
    assert_eq!(codes, expected);
    assert_eq!(server.values().await, [GOOD]);
}

#[tokio::test]
async fn a_large_event_is_refused_alone() {
    let server = Server::start().await;
    let large = format!("{{\"user\":\"{}\"}}", "x".repeat(2 << 20));
    let answer = server.send(format!("{large}\n{GOOD}")).await;
    assert_eq!((answer.status, answer.accepted()), (207, 1));
    assert_eq!(answer.refused(), [(0, "", "TooLarge")]);
}

#[tokio::test]
async fn an_event_that_its_new_id_would_make_too_large_for_readers_is_refused() {
    let server = Server::start().await;
    let largest = |start: &str| {
        let room = DEFAULT_MAX_EVENT_BYTES - start.len() - 2;
        format!("{start}{}\"}}", "x".repeat(room))
    };
    let own_id = largest(r#"{"id":"7f3c1d3a-5a0e-4d6f-9f8e-0c1a2b3c4d5e","user":""#);
    let members: String = (0..MAX_MEMBERS - 1)
        .map(|n| format!(",\"m{n}\":1"))
        .collect();
    let without_id = [
        largest(r#"{"user":""#),
        format!("{{\"user\":\"a\"{members}}}"),
    ];
    let answer = server
        .send(format!("{own_id}\n{}", without_id.join("\n")))
        .await;
    assert_eq!((answer.status, answer.accepted()), (207, 1));
    assert_eq!(
        answer.refused(),
        [(1, "", "TooLarge"), (2, "", "TooManyMembers")]
    );
    assert_eq!(answer.json["generated"], serde_json::json!([]));
    assert_eq!(server.values().await, [own_id]);
}

#[tokio::test]
async fn many_refusals_are_counted_and_the_first_hundred_named() {
    let server = Server::start().await;
    let answer = server.send("{}\n".repeat(250)).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json["refusedTotal"], 250);
    assert_eq!(answer.refused().len(), 100);
    assert_eq!(answer.refused()[99].0, 99);
}

#[tokio::test]
async fn a_body_without_events_is_answered_400() {
    let server = Server::start().await;
    for empty in ["", " \r\n\n", "[]", "[ ]", "\u{feff}"] {
        let answer = server.send(empty).await;
        assert_eq!((answer.status, answer.error()), (400, "Empty"), "{empty:?}");
    }
}

#[tokio::test]
async fn an_array_that_is_broken_is_refused_whole() {
    let server = Server::start().await;
    for broken in [
        format!("[{GOOD}"),
        format!("[{GOOD},"),
        format!("[{GOOD}] x"),
        "[".to_owned(),
        "[".repeat(100_000),
    ] {
        let answer = server.send(broken).await;
        assert_eq!((answer.status, answer.error()), (400, "Unreadable"));
        assert!(
            answer.json["error"]["reason"]
                .as_str()
                .unwrap()
                .contains("byte"),
            "{}",
            answer.json
        );
    }
    assert!(server.values().await.is_empty());
}

#[tokio::test]
async fn gzip_that_is_damaged_or_cut_off_is_refused_whole() {
    let server = Server::start().await;
    let whole = gzip(format!("{GOOD}\n").repeat(100).as_bytes());
    let mut flipped = whole.clone();
    let crc = flipped.len() - 6;
    flipped[crc] ^= 1;
    let mut trailing = whole.clone();
    trailing.extend(b"trailing");
    let cuts = [
        0,
        1,
        9,
        10,
        whole.len() / 2,
        whole.len() - 8,
        whole.len() - 1,
    ];
    let mut bodies: Vec<_> = cuts.map(|end| whole[..end].to_vec()).into();
    bodies.extend([flipped, trailing, GOOD.as_bytes().to_vec()]);
    for (position, body) in bodies.into_iter().enumerate() {
        let answer = Answer::of(
            server
                .post("/v1/events")
                .header("content-encoding", "gzip")
                .body(body),
        )
        .await;
        assert_eq!(
            (answer.status, answer.error()),
            (400, "Gzip"),
            "body {position}"
        );
    }
    assert!(server.values().await.is_empty());
}

#[tokio::test]
async fn other_methods_are_answered_405() {
    let server = Server::start().await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let request = server
            .client
            .request(method.parse().unwrap(), format!("{}/v1/events", server.url));
        let answer = Answer::of(request).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, "POST"),
            "{method}"
        );
    }
}

#[tokio::test]
async fn other_types_and_encodings_are_answered_415() {
    let server = Server::start().await;
    for (name, value, code) in [
        ("content-type", "text/plain", "ContentType"),
        (
            "content-type",
            "application/x-www-form-urlencoded",
            "ContentType",
        ),
        (
            "content-type",
            "application/json; charset=iso-8859-1",
            "ContentType",
        ),
        ("content-encoding", "br", "ContentEncoding"),
        ("content-encoding", "gzip, gzip", "ContentEncoding"),
    ] {
        let request = server
            .client
            .post(format!("{}/v1/events", server.url))
            .header(name, value)
            .body(GOOD);
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, answer.error()), (415, code), "{value}");
    }
    assert!(server.values().await.is_empty());
}

fn small() -> IngestSettings {
    IngestSettings {
        max_body_bytes: 10_000,
        max_decompressed_bytes: 20_000,
        max_events_per_request: 50,
        ..IngestSettings::default()
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_answered_413_whether_it_says_so_or_not() {
    let server = Server::with(small(), vec![source("clicks")]).await;
    let body = format!("{GOOD}{}", " ".repeat(10_000));
    let declared = server.send(body.clone()).await;
    let chunks = futures::stream::iter(
        body.into_bytes()
            .chunks(700)
            .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
            .collect::<Vec<_>>(),
    );
    let chunked = server.send(reqwest::Body::wrap_stream(chunks)).await;
    for answer in [declared, chunked] {
        assert_eq!((answer.status, answer.error()), (413, "BodyTooLarge"));
    }
    assert!(server.values().await.is_empty());
}

#[tokio::test]
async fn a_gzip_bomb_is_answered_413_and_costs_no_more_than_the_limit() {
    let server = Server::with(small(), vec![source("clicks")]).await;
    let bomb = gzip(&vec![b' '; 5 << 20]);
    assert!(bomb.len() < 10_000);
    let answer = Answer::of(
        server
            .post("/v1/events")
            .header("content-encoding", "gzip")
            .body(bomb),
    )
    .await;
    assert_eq!((answer.status, answer.error()), (413, "BodyTooLarge"));
    assert_eq!(server.gauge("tidewheel_ingest_in_flight_bytes"), 0.0);
}

#[tokio::test]
async fn too_many_events_are_answered_413() {
    let server = Server::with(small(), vec![source("clicks")]).await;
    let events = |count: usize| vec![GOOD; count].join(",");
    assert_eq!(server.send(format!("[{}]", events(50))).await.status, 202);
    for body in [
        format!("[{}]", events(51)),
        format!("[{}1]", "1,".repeat(4000)),
        "{}\n".repeat(51),
    ] {
        let answer = server.send(body).await;
        assert_eq!((answer.status, answer.error()), (413, "TooManyEvents"));
    }
    assert_eq!(server.stored().await.len(), 50);
}
