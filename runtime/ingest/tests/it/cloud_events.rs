//! CloudEvents in all modes of the HTTP binding.
use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use tidewheel_decode::{EventFormat, EventSchema, Field, FieldType, Part, UnknownFields};
use tidewheel_ingest::{IngestSettings, Source};
use tidewheel_log::partition_of;

use crate::support::{Answer, PARTITIONS, Server, gzip, source};

fn clicks() -> Source {
    let field = |name: &str, path: &str, data_type, required| Field {
        name: name.into(),
        part: Part::Value,
        path: path.split('.').map(str::to_owned).collect(),
        data_type,
        required,
    };
    let schema = EventSchema {
        fields: vec![
            field("id", "id", FieldType::Text, true),
            field("time", "time", FieldType::Timestamp, true),
            field("sampledrate", "sampledrate", FieldType::Bigint, false),
            field("amount", "data.amount", FieldType::Double, false),
        ],
        unknown: UnknownFields::Keep,
        format: EventFormat::CloudEvents,
    };
    Source {
        schema: Arc::new(schema),
        generated: Vec::new(),
        key: vec![0],
        ..source("clicks")
    }
}

async fn server() -> Server {
    Server::with(IngestSettings::default(), vec![clicks()]).await
}

fn event(id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "order",
        "time": "2026-01-01T00:00:00Z", "data": {"amount": 1.5}
    })
}

fn typed(server: &Server, content_type: &str) -> reqwest::RequestBuilder {
    let url = format!("{}/v1/events", server.url);
    server.client.post(url).header("content-type", content_type)
}

/// The head of an event in binary mode.
fn binary(server: &Server, content_type: &str) -> reqwest::RequestBuilder {
    let attributes = [
        ("ce-specversion", "1.0"),
        ("ce-id", "7"),
        ("ce-source", "/shop%20one"),
        ("CE-Type", "order"),
        ("ce-time", "2026-01-01T00:00:00Z"),
    ];
    attributes
        .into_iter()
        .fold(typed(server, content_type), |request, (name, value)| {
            request.header(name, value)
        })
}

/// The stored values as JSON.
async fn stored(server: &Server) -> Vec<Value> {
    let values = server.values().await;
    values
        .iter()
        .map(|value| serde_json::from_str(value).unwrap())
        .collect()
}

#[tokio::test]
async fn structured_events_are_stored_as_they_came_one_or_a_batch() {
    let server = server().await;
    let one = event("1").to_string();
    let request = typed(&server, "application/cloudevents+json; charset=UTF-8").body(one.clone());
    let answer = Answer::of(request).await;
    assert_eq!((answer.status, answer.accepted()), (202, 1));
    assert_eq!(server.values().await, [one]);
    let batch = json!([event("2"), {"id": "3"}, event("4")]).to_string();
    let request = typed(&server, "application/cloudevents-batch+json")
        .header("content-encoding", "gzip")
        .body(gzip(batch.as_bytes()));
    let answer = Answer::of(request).await;
    assert_eq!((answer.status, answer.accepted()), (207, 2));
    assert_eq!(answer.refused(), [(1, "specversion", "NotCloudEvent")]);
    assert_eq!(
        stored(&server).await,
        ["1", "2", "4"].map(event),
        "nothing was changed"
    );
}

#[tokio::test]
async fn a_binary_event_is_stored_as_the_structured_one_that_it_stands_for() {
    let server = server().await;
    let request = binary(&server, "application/json")
        .header("ce-sampledrate", "30")
        .body(r#"{"amount": 1.5}"#);
    let answer = Answer::of(request).await;
    assert_eq!((answer.status, answer.accepted()), (202, 1));
    let mut expected = event("7");
    expected["source"] = "/shop one".into();
    expected["sampledrate"] = 30.into();
    expected["datacontenttype"] = "application/json".into();
    assert_eq!(stored(&server).await, [expected]);
    let (partition, record) = server.stored().await.remove(0);
    assert_eq!(record.key.as_deref(), Some(&b"7"[..]));
    assert_eq!(partition, partition_of(b"7", PARTITIONS));
}

#[tokio::test]
async fn a_binary_event_may_carry_anything() {
    let server = server().await;
    let picture = binary(&server, "image/png").body(&b"\x89PNG\0"[..]);
    let nothing = server.client.post(format!("{}/v1/events", server.url));
    let nothing = nothing
        .header("ce-specversion", "1.0")
        .header("ce-id", "8")
        .header("ce-source", "a")
        .header("ce-type", "b")
        .header("ce-time", "2026-01-01T00:00:00Z");
    for request in [picture, nothing] {
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, 202, "{}", answer.json);
    }
    let mut found: Vec<_> = stored(&server)
        .await
        .iter()
        .map(|event| (event["data"].clone(), event["data_base64"].clone()))
        .collect();
    found.sort_by_key(|(data, base64)| format!("{data}{base64}"));
    assert_eq!(
        found,
        [(Value::Null, json!("iVBORwA=")), (Value::Null, Value::Null),]
    );
    // A text is data, too, and has no members.
    let text = binary(&server, "text/plain").body("ü");
    let answer = Answer::of(text).await;
    assert_eq!(answer.refused(), [(0, "data", "WrongType")]);
}

#[tokio::test]
async fn what_is_no_cloud_event_is_refused() {
    let server = server().await;
    let plain = typed(&server, "application/json").body(r#"{"id": "1"}"#);
    let without_id = typed(&server, "application/json")
        .header("ce-specversion", "1.0")
        .body("{}");
    let not_json = binary(&server, "application/json").body("<a/>");
    for (request, field, code) in [
        (plain, "specversion", "NotCloudEvent"),
        (without_id, "id", "NotCloudEvent"),
        (not_json, "data", "Malformed"),
        (
            binary(&server, "application/json").body(r#"{"amount": "1"}"#),
            "amount",
            "WrongType",
        ),
    ] {
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, answer.error()), (400, ""), "{field}");
        assert_eq!(answer.refused(), [(0, field, code)]);
    }
    for content_type in ["application/cloudevents+avro", "text/plain"] {
        let request = typed(&server, content_type).body(event("1").to_string());
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, answer.error()), (415, "ContentType"));
    }
    assert_eq!(server.values().await, [""; 0]);
}

#[tokio::test]
async fn a_page_may_send_attributes() {
    let source = Source {
        cors_origins: vec!["https://shop.example".to_owned()],
        ..clicks()
    };
    let server = Server::with(IngestSettings::default(), vec![source]).await;
    let asked = server
        .client
        .request(Method::OPTIONS, format!("{}/v1/events", server.url))
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "ce-specversion,ce-tenant")
        .send()
        .await
        .unwrap();
    let allowed = asked.headers().get("access-control-allow-headers").unwrap();
    assert_eq!(allowed, "ce-specversion,ce-tenant");
}

#[tokio::test]
async fn a_source_of_json_takes_no_notice_of_attributes() {
    let server = Server::start().await;
    let good = crate::support::GOOD;
    let answer = Answer::of(server.post("/v1/events").header("ce-id", "7").body(good)).await;
    assert_eq!(answer.status, 202);
    assert_eq!(server.values().await, [good]);
}
