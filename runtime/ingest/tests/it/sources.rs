use tidewheel_ingest::{IngestSettings, Source, SourceError};

use crate::support::{Answer, GOOD, Server, keys, source};

#[tokio::test]
async fn a_single_source_is_served_by_both_paths() {
    let server = Server::start().await;
    for path in ["/v1/events", "/v1/sources/shop/clicks/events"] {
        assert_eq!(
            Answer::of(server.post(path).body(GOOD)).await.status,
            202,
            "{path}"
        );
    }
}

#[tokio::test]
async fn with_several_sources_the_path_must_name_one() {
    let server = Server::with(
        IngestSettings::default(),
        vec![source("clicks"), source("orders")],
    )
    .await;
    let answer = server.send(GOOD).await;
    assert_eq!((answer.status, answer.error()), (404, "SeveralSources"));
    assert_eq!(
        answer.json["error"]["reason"],
        "several sources take events here, so the path must name one: /v1/sources/NAMESPACE/NAME/events; \
         your key opens /v1/sources/shop/clicks/events, /v1/sources/shop/orders/events"
    );
    assert_eq!(
        Answer::of(server.post("/v1/sources/shop/clicks/events").body(GOOD))
            .await
            .status,
        202
    );
    assert_eq!(server.values().await, [GOOD]);
}

#[tokio::test]
async fn names_of_sources_are_told_only_to_those_whose_key_opens_them() {
    let locked = Source {
        api_keys: keys(&["k"]),
        ..source("clicks")
    };
    let other = Source {
        api_keys: keys(&["other"]),
        ..source("orders")
    };
    let server = Server::with(IngestSettings::default(), vec![locked, other]).await;
    for path in ["/v1/events", "/v1/sources/shop/nothing/events"] {
        let stranger = Answer::of(server.post(path).body(GOOD)).await;
        let friend = Answer::of(server.post(path).header("x-api-key", "k").body(GOOD)).await;
        assert_eq!((stranger.status, friend.status), (404, 404));
        let told = |answer: &Answer, name| {
            answer.json["error"]["reason"]
                .as_str()
                .unwrap()
                .contains(name)
        };
        assert!(!told(&stranger, "clicks") && !told(&stranger, "orders"));
        assert!(told(&friend, "shop/clicks") && !told(&friend, "orders"));
    }
}

#[tokio::test]
async fn what_does_not_exist_is_answered_404() {
    let server = Server::start().await;
    for (path, code) in [
        ("/v1/sources/shop/other/events", "UnknownSource"),
        ("/v1/sources/clicks/events", "UnknownPath"),
        ("/", "UnknownPath"),
        ("/v2/events", "UnknownPath"),
    ] {
        let answer = Answer::of(server.post(path).body(GOOD)).await;
        assert_eq!((answer.status, answer.error()), (404, code), "{path}");
    }
    server.ingest.replace(Vec::new()).unwrap();
    assert_eq!(server.send(GOOD).await.status, 404);
}

#[tokio::test]
async fn sources_are_replaced_while_serving() {
    let server = Server::start().await;
    let locked = Source {
        api_keys: keys(&["k"]),
        ..source("clicks")
    };
    server.ingest.replace(vec![locked]).unwrap();
    assert_eq!(server.send(GOOD).await.status, 401);
    server.ingest.replace(vec![source("clicks")]).unwrap();
    assert_eq!(server.send(GOOD).await.status, 202);
}

#[tokio::test]
async fn sources_that_cannot_be_served_change_nothing() {
    let server = Server::start().await;
    let refused = |source: Source| server.ingest.replace(vec![source]).unwrap_err();
    let origin = |origin: &str| Source {
        cors_origins: vec![origin.into()],
        ..source("x")
    };
    for bad in [
        "shop.example",
        "https://",
        "https://shop.example/",
        "https://*.shop.example",
        "https://a\nb",
    ] {
        assert!(
            matches!(refused(origin(bad)), SourceError::Origin { .. }),
            "{bad}"
        );
    }
    assert!(matches!(
        refused(Source {
            key: vec![3],
            ..source("x")
        }),
        SourceError::NoColumn { index: 3, .. }
    ));
    assert!(matches!(
        refused(Source {
            generated: vec![1],
            ..source("x")
        }),
        SourceError::NotGenerated { .. }
    ));
    let twice = server
        .ingest
        .replace(vec![source("x"), source("x")])
        .unwrap_err();
    assert_eq!(
        twice.to_string(),
        "source shop/x is there twice: give each a name of its own"
    );
    assert_eq!(server.send(GOOD).await.status, 202);
}
