//! A topic in Protobuf.
use serde_json::json;

use crate::roles::registered::{Scene, id, record, says, told};

/// 2026-01-01T00:00:00Z, seconds.
const T0: u64 = 1_767_225_600;

/// A file whose first message is an order, with what follows its `id` and `ts`, and what it imports besides.
fn schema(imports: &str, more: &str) -> String {
    format!(
        "syntax = 'proto3'; package shop; import 'google/protobuf/timestamp.proto'; {imports}
        message Order {{ string id = 1; google.protobuf.Timestamp ts = 2; {more} }}"
    )
}

/// The second version: a message of another file, an enum, and a member that is no column.
fn second() -> String {
    schema(
        "import 'shop/paid.proto';",
        "Paid paid = 3; Suit suit = 4; string day = 5; map<string, int64> points = 6; enum Suit { SPADES = 0; HEARTS = 1; }",
    )
}

const PAID: &str = "syntax = 'proto3'; package shop; message Paid { double amount = 1; }";

/// A whole number as Protobuf writes it.
fn varint(mut left: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while left > 0x7f {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

/// Field `number` with text or a message.
fn field(number: u64, of: &[u8]) -> Vec<u8> {
    [&varint(number << 3 | 2)[..], &varint(of.len() as u64), of].concat()
}

/// An order that names a schema and its first message, with what follows `id` and `ts`.
fn order(schema: u32, number: u32, more: &[u8]) -> Vec<u8> {
    let id = field(1, id(number).as_bytes());
    let nanos = varint(u64::from(number) * 1_000);
    let ts = field(2, &[vec![8], varint(T0), vec![0x10], nanos].concat());
    [&[0][..], &schema.to_be_bytes(), &[0], &id, &ts, more].concat()
}

fn old(number: u32) -> Vec<u8> {
    order(11, number, &[])
}

/// 12.34 paid, HEARTS, the second day of 1970, points.
fn new(number: u32) -> Vec<u8> {
    let paid = [&[9][..], &12.34f64.to_le_bytes()].concat();
    let points = [&field(1, b"a")[..], &[0x10, 7]].concat();
    let more = [
        field(3, &paid),
        vec![0x20, 1],
        field(5, b"1970-01-02"),
        field(6, &points),
    ];
    order(12, number, &more.concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_in_protobuf_are_read_by_the_schemas_that_they_name() {
    let scene = Scene::begin("roles-protobuf", "Protobuf").await;
    let registry = &scene.registry;
    let (version, first) = (("orders-value", 1), schema("", ""));
    registry.add(11, version, "PROTOBUF", &first, &[]);
    let avro =
        r#"{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}"#;
    registry.add(13, ("other", 1), "AVRO", avro, &[]);
    let odd_day = schema("", "int32 day = 5;");
    registry.add(14, ("odd", 1), "PROTOBUF", &odd_day, &[]);
    let worker = scene.ground.role("worker", &[]);
    let orders = (0..100).map(|number| record(number % 2, old(number as u32)));
    scene.send(&orders.collect::<Vec<_>>());
    scene.until_rows("100").await;

    // A second version comes between records of the first, which the registry does not give out yet.
    registry.add(21, ("paid", 4), "PROTOBUF", PAID, &[]);
    let paid = [("shop/paid.proto", "paid", 4)];
    registry.add(12, ("orders-value", 2), "PROTOBUF", &second(), &paid);
    registry.set_away(true);
    let orders = (100..140).map(|number| match number % 4 {
        0 => record(0, new(number)),
        2 => record(0, old(number)),
        _ => record(1, old(number)),
    });
    scene.send(&orders.collect::<Vec<_>>());
    says(&worker, &["answers 503", "/schemas/ids/12"]).await;
    assert_eq!(scene.letters(), []);
    registry.set_away(false);
    scene.until_rows("140").await;
    let rows = "SELECT suit, amount, day, _extra FROM found WHERE suit IS NOT NULL";
    let row = json!({"suit": "HEARTS", "amount": 12.34, "day": "1970-01-02", "_extra": {"points": {"a": 7}}});
    assert_eq!(scene.ground.rows(rows), vec![row; 10]);
    let once =
        "SELECT count(DISTINCT id), count(DISTINCT (_partition, _offset)), min(ts) FROM found";
    assert_eq!(scene.ground.sql(once), "140|140|2026-01-01 00:00:00+00");
    assert_eq!(scene.letters(), []);

    let odd = [
        order(13, 200, &[]),
        order(14, 201, &[0x28, 7]),
        br#"{"id": "json"}"#.to_vec(),
        [old(202), b"more".to_vec()].concat(),
    ];
    let odd = odd.map(|value| record(0, value));
    scene.send(&odd);
    scene.send(&[record(0, old(203))]);
    scene.until_rows("141").await;
    let letters = scene.letters();
    assert_eq!(
        told(&letters),
        [
            ("NotProtobuf", ""),
            ("WrongType", "day"),
            ("NotProtobuf", ""),
            ("NotProtobuf", "")
        ]
    );
    let values = letters.iter().map(|letter| letter.value.clone());
    let sent = odd.iter().map(|record| record.value.clone());
    assert_eq!(values.collect::<Vec<_>>(), sent.collect::<Vec<_>>());
    let message = letters[0].header("tidewheel-message").unwrap();
    assert_eq!(
        message,
        "the schema 13 that the value names is AVRO, not PROTOBUF"
    );
    assert_eq!(worker.stop(), 0);
}
