//! Who may send events: keys in a Secret.
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    forwarded::Forwarded,
    shop::{AT_ONCE, Shop},
    turns::undisturbed,
};

const FIRST: &str = "first-key-1c8f2d6a";
const SECOND: &str = "second-key-5b9e0f73";

/// An event that the example's source takes.
const EVENT: &str = r#"{"timestamp": "2015-05-17T00:00:00Z", "attributes": {"method": "GET"}}"#;

/// What a sender is answered that shows this key; 0 where there is no answer.
fn answer(shop: &Shop, key: &str) -> u16 {
    let forwarded = Forwarded::open(shop.cluster, shop.name, "service/clicks-ingest", 8080);
    let headers = format!("Content-Type: application/json\r\nX-API-Key: {key}\r\n");
    let answer = forwarded
        .and_then(|forwarded| forwarded.post("/v1/events", &headers, EVENT.as_bytes()))
        .unwrap_or_default();
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or(0)
}

fn keys(shop: &Shop, keys: &[(&str, &str)]) {
    let keys: Vec<String> = keys
        .iter()
        .map(|(name, key)| format!("{name}: {}", STANDARD.encode(key)))
        .collect();
    // Not as `stringData`, of which `apply` takes nothing away.
    shop.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: clicks-keys, namespace: web}}\ndata: {{{}}}\n",
        keys.join(", ")
    ));
}

#[test]
fn keys_are_rotated_without_turning_anybody_away() {
    let shop = Shop::new("keys");
    let source = shop.example("source.yaml");
    let with_keys = source.replace(
        "http: {}",
        "http: {auth: {apiKeys: {secretRef: {name: clicks-keys}}}}",
    );
    assert_ne!(with_keys, source);
    shop.apply(&with_keys);
    shop.until_reason("eventsource/clicks", "Ready", "SecretMissing");
    assert_eq!(shop.found("deployment/clicks-ingest"), "");
    {
        let _turn = undisturbed();
        keys(&shop, &[("old", FIRST)]);
        shop.until_within(AT_ONCE, "there are pods that take events", || {
            !shop.found("deployment/clicks-ingest").is_empty()
        });
    }
    shop.wait_for("eventsource/clicks", "Ready");
    assert_eq!(answer(&shop, FIRST), 202);
    assert_eq!(answer(&shop, SECOND), 401);
    assert_eq!(answer(&shop, ""), 401);

    // Both, until all senders have the second one; then that alone.
    let before = shop.of_pods("ingest", ".metadata.uid");
    let until_replaced = |before: &[String]| {
        shop.until("every pod knows the keys", || {
            let now = shop.of_pods("ingest", ".metadata.uid");
            !now.iter().any(|uid| before.contains(uid))
        });
        shop.wait_for("eventsource/clicks", "Ready");
    };
    keys(&shop, &[("old", FIRST), ("new", SECOND)]);
    shop.until("the second key opens", || {
        assert_ne!(answer(&shop, FIRST), 401);
        answer(&shop, SECOND) == 202
    });
    until_replaced(&before);
    for key in [FIRST, SECOND] {
        assert_eq!(answer(&shop, key), 202);
    }

    let before = shop.of_pods("ingest", ".metadata.uid");
    keys(&shop, &[("new", SECOND)]);
    shop.until("the first key is refused", || {
        assert_ne!(answer(&shop, SECOND), 401);
        answer(&shop, FIRST) == 401
    });
    until_replaced(&before);
    assert_eq!(answer(&shop, FIRST), 401);
    assert_eq!(answer(&shop, SECOND), 202);
}
