use tidewheel_ingest::{IngestSettings, Source};

use crate::support::{Answer, GOOD, Server, keys, source};

async fn locked() -> Server {
    let hashed = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"; // "secret"
    let source = Source {
        api_keys: keys(&["plain", hashed]),
        ..source("clicks")
    };
    Server::with(IngestSettings::default(), vec![source]).await
}

#[tokio::test]
async fn a_right_key_opens_in_either_header() {
    let server = locked().await;
    for (name, value) in [
        ("x-api-key", "plain"),
        ("x-api-key", "secret"),
        ("authorization", "Bearer plain"),
        ("authorization", "bearer secret"),
    ] {
        assert_eq!(
            Answer::of(server.post("/v1/events").header(name, value).body(GOOD))
                .await
                .status,
            202,
            "{name}: {value}"
        );
    }
    assert_eq!(server.stored().await.len(), 4);
}

#[tokio::test]
async fn without_a_right_key_nothing_is_stored() {
    let server = locked().await;
    for (name, value, code) in [
        ("x-other", "plain", "NoKey"),
        ("authorization", "Basic plain", "NoKey"),
        ("x-api-key", "Plain", "WrongKey"),
        ("x-api-key", "", "WrongKey"),
        ("authorization", "Bearer plain2", "WrongKey"),
        (
            "x-api-key",
            "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
            "WrongKey",
        ),
    ] {
        let answer = Answer::of(server.post("/v1/events").header(name, value).body(GOOD)).await;
        assert_eq!(
            (answer.status, answer.error()),
            (401, code),
            "{name}: {value}"
        );
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    assert!(server.values().await.is_empty());
}

#[tokio::test]
async fn a_source_whose_keys_are_gone_opens_to_nobody() {
    let source = Source {
        api_keys: keys(&[]),
        ..source("clicks")
    };
    let server = Server::with(IngestSettings::default(), vec![source]).await;
    let answer = Answer::of(
        server
            .post("/v1/events")
            .header("x-api-key", "plain")
            .body(GOOD),
    )
    .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn the_key_of_one_source_does_not_open_another() {
    let of = |name: &str, key: &str| Source {
        api_keys: keys(&[key]),
        ..source(name)
    };
    let server = Server::with(
        IngestSettings::default(),
        vec![of("clicks", "a"), of("orders", "b")],
    )
    .await;
    let send = async |name: &str, key: &str| {
        Answer::of(
            server
                .post(&format!("/v1/sources/shop/{name}/events"))
                .header("x-api-key", key)
                .body(GOOD),
        )
        .await
        .status
    };
    assert_eq!(send("clicks", "a").await, 202);
    assert_eq!(send("clicks", "b").await, 401);
    assert_eq!(send("orders", "b").await, 202);
}
