use reqwest::{Method, Response};
use tidewheel_ingest::{IngestSettings, Source};

use crate::support::{Answer, GOOD, Server, keys, source};

async fn with_origins(origins: &[&str]) -> Server {
    let cors_origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let source = Source {
        cors_origins,
        api_keys: keys(&["k"]),
        ..source("clicks")
    };
    Server::with(IngestSettings::default(), vec![source]).await
}

async fn preflight(server: &Server, origin: &str) -> Response {
    server
        .client
        .request(Method::OPTIONS, format!("{}/v1/events", server.url))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-api-key")
        .send()
        .await
        .unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_ask_and_send() {
    let server = with_origins(&["https://shop.example", "http://localhost:3000"]).await;
    for origin in ["https://shop.example", "http://localhost:3000"] {
        let asked = preflight(&server, origin).await;
        assert_eq!(asked.status(), 200);
        assert_eq!(header(&asked, "access-control-allow-origin"), origin);
        assert_eq!(header(&asked, "access-control-allow-methods"), "POST");
        for name in [
            "content-type",
            "content-encoding",
            "x-api-key",
            "authorization",
        ] {
            assert!(
                header(&asked, "access-control-allow-headers").contains(name),
                "{name}"
            );
        }
        let sent = Answer::of(
            server
                .post("/v1/events")
                .header("origin", origin)
                .header("x-api-key", "k")
                .body(GOOD),
        )
        .await;
        assert_eq!(
            (sent.status, sent.header("access-control-allow-origin")),
            (202, origin)
        );
        assert!(
            sent.header("access-control-expose-headers")
                .contains("retry-after")
        );
    }
}

#[tokio::test]
async fn a_page_can_read_why_it_was_refused() {
    let server = with_origins(&["https://shop.example"]).await;
    let answer = Answer::of(
        server
            .post("/v1/events")
            .header("origin", "https://shop.example")
            .body(GOOD),
    )
    .await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (401, "https://shop.example")
    );
}

#[tokio::test]
async fn other_origins_are_not_allowed() {
    let server = with_origins(&["https://shop.example"]).await;
    for origin in [
        "https://evil.example",
        "http://shop.example",
        "https://shop.example.evil.example",
        "null",
    ] {
        assert_eq!(
            header(
                &preflight(&server, origin).await,
                "access-control-allow-origin"
            ),
            "",
            "{origin}"
        );
    }
}

#[tokio::test]
async fn a_star_allows_every_origin() {
    let server = with_origins(&["*"]).await;
    assert_eq!(
        header(
            &preflight(&server, "https://any.example").await,
            "access-control-allow-origin"
        ),
        "*"
    );
}

#[tokio::test]
async fn a_source_that_declares_none_answers_without_cors_headers() {
    let server = Server::start().await;
    let asked = preflight(&server, "https://shop.example").await;
    assert_eq!(asked.status(), 405);
    let sent = Answer::of(
        server
            .post("/v1/events")
            .header("origin", "https://shop.example")
            .body(GOOD),
    )
    .await;
    assert_eq!(sent.status, 202);
    for headers in [asked.headers(), &sent.headers] {
        assert!(
            headers
                .keys()
                .all(|name| !name.as_str().starts_with("access-control-"))
        );
    }
}
