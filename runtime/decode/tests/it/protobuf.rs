//! Protobuf as JSON: every type, those that come with Protobuf, files that import others, and what no serializer has written.
use std::sync::Arc;

use tidewheel_decode::framed::{Encoding, FramedValues};
use tidewheel_decode::protobuf::{Import, ProtobufSchema};
use tidewheel_decode::writer_schema::WriterSchema;
use tidewheel_decode::{Decoder, EventFormat, EventSchema, Field, FieldType, Part, UnknownFields};

use crate::fixture::refused;
use crate::framed::{read, value};

fn import(name: &str, source: &str) -> Import {
    Import {
        name: name.to_owned(),
        source: source.to_owned(),
    }
}

fn parsed(source: &str, imports: &[Import]) -> WriterSchema {
    let schema = ProtobufSchema::parse(source, imports);
    WriterSchema::Protobuf(schema.unwrap_or_else(|error| panic!("{source}: {error}")))
}

fn knowing(source: &str, imports: &[Import]) -> FramedValues {
    let mut values = FramedValues::new(Encoding::Protobuf);
    values.learn(7, &parsed(source, imports));
    values
}

/// What is read of a message of the file's first.
fn first(values: &mut FramedValues, message: &[u8]) -> Result<String, &'static str> {
    read(values, &value(7, &[&[0], message].concat()))
}

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

/// Field `number` with a whole number.
fn int(number: u64, of: i64) -> Vec<u8> {
    [varint(number << 3), varint(of.cast_unsigned())].concat()
}

/// Field `number` with text, bytes or a message.
fn bytes(number: u64, of: &[u8]) -> Vec<u8> {
    [&varint(number << 3 | 2)[..], &varint(of.len() as u64), of].concat()
}

fn double(number: u64, of: f64) -> Vec<u8> {
    [&varint(number << 3 | 1)[..], &of.to_le_bytes()].concat()
}

fn float(number: u64, of: f32) -> Vec<u8> {
    [&varint(number << 3 | 5)[..], &of.to_le_bytes()].concat()
}

#[test]
fn every_type_has_a_form_in_json() {
    let nanos = 1_000_000;
    let moment = [int(1, 1_767_225_600), int(2, nanos)].concat();
    let entry = |key: &[u8], value: &[u8]| bytes(1, &[key, value].concat());
    let a = bytes(1, b"a");
    for (of, message, json) in [
        ("bool", int(1, 1), "true"),
        ("bool", vec![], "false"),
        ("int32", int(1, -1), "-1"),
        ("int64", int(1, i64::MIN), "-9223372036854775808"),
        ("uint64", int(1, -1), "18446744073709551615"),
        ("sint32", int(1, 3), "-2"),
        (
            "fixed32",
            [&[0x0d][..], &u32::MAX.to_le_bytes()].concat(),
            "4294967295",
        ),
        (
            "sfixed64",
            [&[0x09][..], &(-5i64).to_le_bytes()].concat(),
            "-5",
        ),
        ("int64", vec![], "0"),
        ("float", float(1, 0.1), "0.1"),
        ("double", double(1, 1e300), "1e+300"),
        ("double", double(1, f64::NAN), r#""NaN""#),
        ("float", float(1, f32::NEG_INFINITY), r#""-Infinity""#),
        ("string", bytes(1, "ü\"".as_bytes()), r#""ü\"""#),
        ("string", vec![], r#""""#),
        ("bytes", bytes(1, b"\x00\xff"), r#""AP8=""#),
        ("Suit", int(1, 1), r#""HEARTS""#),
        ("Suit", vec![], r#""SPADES""#),
        // A number that came to the file later.
        ("Suit", int(1, 9), "9"),
        ("Inner", bytes(1, &int(1, 27)), r#"{"a":27}"#),
        (
            "Inner",
            bytes(1, &[int(1, 27), bytes(2, b"b")].concat()),
            r#"{"a":27,"b":"b"}"#,
        ),
        (
            "Inner",
            bytes(1, &[int(1, 27), bytes(2, b"")].concat()),
            r#"{"a":27,"b":""}"#,
        ),
        ("repeated int32", bytes(1, &[3, 27]), "[3,27]"),
        ("repeated int32", [int(1, 3), int(1, 27)].concat(), "[3,27]"),
        ("repeated int32", vec![], "[]"),
        (
            "repeated Inner",
            [bytes(1, &int(1, 1)), bytes(1, &[])].concat(),
            r#"[{"a":1},{"a":0}]"#,
        ),
        (
            "map<string, int64>",
            [
                entry(&bytes(1, b"b"), &int(2, 2)),
                entry(&bytes(1, b"a"), &int(2, 1)),
            ]
            .concat(),
            r#"{"a":1,"b":2}"#,
        ),
        (
            "map<int32, Suit>",
            [entry(&int(1, 10), &int(2, 1)), entry(&int(1, 9), &[])].concat(),
            r#"{"9":"SPADES","10":"HEARTS"}"#,
        ),
        (
            "map<bool, Inner>",
            entry(&int(1, 1), &bytes(2, &int(1, 1))),
            r#"{"true":{"a":1}}"#,
        ),
        (
            "google.protobuf.Timestamp",
            bytes(1, &moment),
            r#""2026-01-01T00:00:00.001Z""#,
        ),
        (
            "google.protobuf.Timestamp",
            bytes(1, &[]),
            r#""1970-01-01T00:00:00Z""#,
        ),
        (
            "google.protobuf.Timestamp",
            bytes(1, &[int(1, -1), int(2, 1)].concat()),
            r#""1969-12-31T23:59:59.000000001Z""#,
        ),
        (
            "google.protobuf.Duration",
            bytes(1, &[int(1, -1), int(2, -500_000_000)].concat()),
            r#""-1.500s""#,
        ),
        ("google.protobuf.StringValue", bytes(1, &a), r#""a""#),
        ("google.protobuf.Int64Value", bytes(1, &[]), "0"),
        (
            "google.protobuf.DoubleValue",
            bytes(1, &double(1, 0.5)),
            "0.5",
        ),
        ("google.protobuf.BytesValue", bytes(1, &a), r#""YQ==""#),
        (
            "repeated google.protobuf.BoolValue",
            [bytes(1, &int(1, 1)), bytes(1, &[])].concat(),
            "[true,false]",
        ),
        ("google.protobuf.Empty", bytes(1, &[]), "{}"),
        ("google.protobuf.NullValue", vec![], "null"),
        (
            "google.protobuf.FieldMask",
            bytes(1, &bytes(1, b"a_b")),
            r#"{"paths":["a_b"]}"#,
        ),
        (
            "google.protobuf.Any",
            bytes(
                1,
                &[bytes(1, b"type/shop.A"), bytes(2, b"\x08\x01")].concat(),
            ),
            r#"{"type_url":"type/shop.A","value":"CAE="}"#,
        ),
        // {"b": [null, 0.5, {}], "a": true}
        (
            "google.protobuf.Struct",
            bytes(
                1,
                &[
                    entry(
                        &bytes(1, b"b"),
                        &bytes(
                            2,
                            &bytes(
                                6,
                                &[
                                    bytes(1, &int(1, 0)),
                                    bytes(1, &double(2, 0.5)),
                                    bytes(1, &bytes(5, &[])),
                                ]
                                .concat(),
                            ),
                        ),
                    ),
                    entry(&bytes(1, b"a"), &bytes(2, &int(4, 1))),
                ]
                .concat(),
            ),
            r#"{"a":true,"b":[null,0.5,{}]}"#,
        ),
        ("google.protobuf.Value", bytes(1, &bytes(3, b"a")), r#""a""#),
        ("google.protobuf.Value", bytes(1, &[]), "null"),
    ] {
        let imports = [
            "any",
            "duration",
            "empty",
            "field_mask",
            "struct",
            "timestamp",
            "wrappers",
        ];
        let imports = imports.map(|name| format!("import 'google/protobuf/{name}.proto';"));
        let file = format!(
            "syntax = 'proto3'; package shop; {} message Event {{ {of} v = 1; }}
            message Inner {{ int64 a = 1; optional string b = 2; }} enum Suit {{ SPADES = 0; HEARTS = 1; }}",
            imports.concat()
        );
        let mut values = knowing(&file, &[]);
        let wanted = format!(r#"{{"v":{json}}}"#);
        assert_eq!(first(&mut values, &message), Ok(wanted), "{of}");
    }
}

#[test]
fn only_what_a_value_says_of_a_oneof_and_of_what_may_be_absent_is_there() {
    let proto3 =
        "syntax = 'proto3'; message E { string id = 1; optional int32 n = 2; Inner inner = 3;
        oneof paid { int64 cents = 4; string voucher_code = 5; } message Inner { int32 a = 1; } }";
    let mut values = knowing(proto3, &[]);
    assert_eq!(first(&mut values, &[]), Ok(r#"{"id":""}"#.to_owned()));
    let unknown = [int(99, 1), bytes(98, b"more"), bytes(1, b"a"), int(2, 0)].concat();
    assert_eq!(
        first(&mut values, &unknown),
        Ok(r#"{"id":"a","n":0}"#.to_owned()),
        "what the file does not have is left out"
    );
    // The last of a oneof counts.
    let both = [int(4, 1), bytes(5, b"x"), bytes(3, &[])].concat();
    assert_eq!(
        first(&mut values, &both),
        Ok(r#"{"id":"","inner":{"a":0},"voucher_code":"x"}"#.to_owned())
    );
    let proto2 =
        "syntax = 'proto2'; message E { required string id = 1; optional int32 n = 2 [default = 7];
        optional group Line = 3 { optional int32 a = 1; } extensions 100 to 200; }
        extend E { optional int32 more = 100; }";
    let mut values = knowing(proto2, &[]);
    assert_eq!(first(&mut values, &[]), Ok("{}".to_owned()));
    let group = [
        bytes(1, b"a"),
        vec![0x1b],
        int(1, 1),
        vec![0x1c],
        int(100, 5),
    ]
    .concat();
    assert_eq!(
        first(&mut values, &group),
        Ok(r#"{"id":"a","line":{"a":1}}"#.to_owned())
    );
}

#[test]
fn a_value_says_which_message_of_its_file_it_is() {
    let file = "syntax = 'proto3'; enum Not { A = 0; }
        message First { int32 first = 1; }
        message Second { map<string, int32> m = 1; message Inner { int32 inner = 1; } message Other {
            message Deep { int32 deep = 1; } } }";
    let mut values = knowing(file, &[]);
    let mut of = |indexes: &[u8]| read(&mut values, &value(7, &[indexes, &[8, 1]].concat()));
    assert_eq!(of(&[0]), Ok(r#"{"first":1}"#.to_owned()));
    assert_eq!(of(&[2, 0]), Ok(r#"{"first":1}"#.to_owned()));
    assert_eq!(of(&[4, 2, 0]), Ok(r#"{"inner":1}"#.to_owned()));
    assert_eq!(of(&[6, 2, 2, 0]), Ok(r#"{"deep":1}"#.to_owned()));
    for none in [
        &[2, 4][..],
        &[4, 2, 4],
        // Of a negative number there is nothing, nor of 33, nor of one without an end.
        &[1],
        &[2, 1],
        &[66],
        &[0xff; 20],
    ] {
        assert_eq!(of(none), Err("NotProtobuf"), "{none:?}");
    }
    let mut reason = |encoded: &[u8]| {
        let framed = value(7, encoded);
        values.read([&framed[..]]).remove(0).unwrap_err().reason
    };
    assert_eq!(
        reason(&[4, 2, 4]),
        "the value is not what its schema says: there is no message [1, 2]"
    );
    assert_eq!(
        reason(&[]),
        "the value is not what its schema says: it does not say which message it is"
    );
}

#[test]
fn files_import_others_by_name() {
    let money = import(
        "shop/money.proto",
        "syntax = 'proto3'; package shop.types; import public 'unit.proto'; message Money { int64 cents = 1; Unit unit = 2; }",
    );
    let unit = import(
        "unit.proto",
        "syntax = 'proto3'; package shop.types; enum Unit { EUR = 0; USD = 1; }",
    );
    let order = "syntax = 'proto3'; package shop; import 'shop/money.proto';
        message Order { types.Money paid = 1; shop.types.Unit unit = 2; }";
    let message = [bytes(1, &[int(1, 5), int(2, 1)].concat()), int(2, 1)].concat();
    for imports in [[unit.clone(), money.clone()], [money.clone(), unit.clone()]] {
        let mut values = knowing(order, &imports);
        assert_eq!(
            first(&mut values, &message),
            Ok(r#"{"paid":{"cents":5,"unit":"USD"},"unit":"USD"}"#.to_owned())
        );
    }
    let reason = |imports: &[Import]| {
        ProtobufSchema::parse(order, imports)
            .unwrap_err()
            .to_string()
    };
    let missing = reason(std::slice::from_ref(&money));
    assert!(missing.contains("'unit.proto'"), "{missing}");
    let other = import("unit.proto", "syntax = 'proto3';");
    assert_eq!(
        reason(&[unit.clone(), money.clone(), other]),
        "two files are imported as `unit.proto`"
    );
    // The same one twice, as two references of a schema may lead to it.
    assert!(ProtobufSchema::parse(order, &[unit.clone(), money, unit]).is_ok());
}

#[test]
fn schemas_that_values_cannot_be_read_with_say_why() {
    let reason = |source: &str| ProtobufSchema::parse(source, &[]).unwrap_err().to_string();
    assert_eq!(
        reason("syntax = 'proto3'; enum A { B = 0; }"),
        "it has no message, and an event is one"
    );
    let deep = format!("syntax = 'proto3'; {}", "message A {".repeat(100_000));
    assert_eq!(
        reason(&deep),
        "its brackets lie more than 64 deep in each other"
    );
    for (source, part) in [
        ("syntax = 'proto3'; message A { Missing b = 1; }", "Missing"),
        ("syntax = 'proto3'; message A {", "end of file"),
        (r#"{"type": "record"}"#, "expected"),
        (
            "syntax = 'proto3'; import 'schema.of-the-registry.proto'; message A {}",
            "import cycle",
        ),
    ] {
        let reason = reason(source);
        assert!(reason.contains(part), "{source}: {reason}");
    }
}

#[test]
fn what_no_serializer_has_written_is_refused() {
    let file = "syntax = 'proto3'; import 'google/protobuf/timestamp.proto'; import 'google/protobuf/duration.proto';
        message E { string s = 1; int32 n = 2; E next = 3; google.protobuf.Timestamp at = 4; google.protobuf.Duration took = 5; }";
    let mut values = knowing(file, &[]);
    let mut deep = Vec::new();
    for _ in 0..1_000 {
        deep = bytes(3, &deep);
    }
    for (index, message) in [
        // Not UTF-8, of another type, an end without a beginning, cut off, and a number that is none.
        bytes(1, b"\xff"),
        int(1, 1),
        vec![0x0c],
        vec![0x0a, 5, b'a'],
        [vec![0x10], vec![0xff; 11]].concat(),
        vec![0x00, 1],
        bytes(1 << 29, b"a"),
        deep,
        // Groups of no field, within each other.
        vec![0x7b; 10_000],
        bytes(4, &int(1, i64::MAX)),
        bytes(4, &int(2, -1)),
        bytes(4, &int(2, 1_000_000_000)),
        bytes(5, &int(1, i64::MIN)),
        bytes(5, &[int(1, 1), int(2, -1)].concat()),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(first(&mut values, message), Err("NotProtobuf"), "{index}");
    }
    assert!(first(&mut values, &bytes(1, b"good")).is_ok());
}

#[test]
fn a_value_may_not_become_larger_than_an_event() {
    let long = "a".repeat(2_000);
    let file = format!(
        "syntax = 'proto3'; message E {{ repeated Suit suits = 1; repeated Wide wide = 2; }}
        enum Suit {{ {long} = 0; }} message Wide {{ string a_member_with_a_name = 1; }}"
    );
    let mut values = knowing(&file, &[]);
    assert_eq!(first(&mut values, &bytes(1, &[0; 1_000])), Err("TooLarge"));
    let many = bytes(2, &[]).repeat(100_000);
    assert_eq!(first(&mut values, &many), Err("TooLarge"));
    assert!(first(&mut values, &bytes(1, &[0; 100])).is_ok());
}

#[test]
fn versions_of_a_schema_fill_the_same_columns_and_a_misfit_names_its_own() {
    let field = |name: &str, path: &str, data_type, required| Field {
        name: name.to_owned(),
        part: Part::Value,
        path: path.split('.').map(str::to_owned).collect(),
        data_type,
        required,
    };
    let mut decoder = Decoder::new(Arc::new(EventSchema {
        fields: vec![
            field("id", "order_id", FieldType::Uuid, true),
            field("ts", "ts", FieldType::Timestamp, true),
            field("amount", "paid.amount", FieldType::Double, false),
        ],
        unknown: UnknownFields::Keep,
        format: EventFormat::Protobuf,
    }));
    let version = |more: &str| {
        format!(
            "syntax = 'proto3'; import 'google/protobuf/timestamp.proto';
            message Order {{ string order_id = 1; google.protobuf.Timestamp ts = 2; {more} }}"
        )
    };
    let mut values = FramedValues::new(Encoding::Protobuf);
    values.learn(1, &parsed(&version(""), &[]));
    let second = "Paid paid = 3; message Paid { double amount = 1; } repeated uint64 points = 4;";
    values.learn(2, &parsed(&version(second), &[]));
    let third = "Paid paid = 3; message Paid { string amount = 1; }";
    values.learn(3, &parsed(&version(third), &[]));
    let order = |schema: u32, id: &str, more: &[u8]| {
        let common = [bytes(1, id.as_bytes()), bytes(2, &int(1, 1))];
        value(schema, &[&[0], &common.concat()[..], more].concat())
    };
    let good = "00000000-0000-0000-0000-000000000001";
    let points = bytes(4, &varint(u64::MAX));
    let sent = [
        order(1, good, &[]),
        order(2, good, &[bytes(3, &double(1, 1.5)), points].concat()),
        order(3, good, &bytes(3, &bytes(1, b"many"))),
        order(1, "one", &[]),
        value(1, &[&[0], &bytes(1, good.as_bytes())[..]].concat()),
        order(2, "", &[]),
    ];
    let events = values.read(sent.iter().map(Vec::as_slice));
    let events: Vec<Vec<u8>> = events.into_iter().map(Result::unwrap).collect();
    let decoded = decoder.decode(events.iter().map(Vec::as_slice));
    assert_eq!(decoded.rows, [0, 1]);
    assert_eq!(
        refused(&decoded.refused),
        [
            (2, Some("amount"), "WrongType"),
            (3, Some("id"), "BadUuid"),
            (4, Some("ts"), "Missing"),
            (5, Some("id"), "BadUuid"),
        ]
    );
    let extra = decoded.batch.column_by_name("_extra").unwrap();
    let extra = arrow::array::AsArray::as_string::<i32>(extra);
    assert_eq!(extra.value(1), r#"{"points":[18446744073709551615]}"#);
}

#[test]
fn messages_lie_no_deeper_in_each_other_than_an_event_may() {
    let file = "syntax = 'proto3'; message E { E next = 1; }";
    let mut values = knowing(file, &[]);
    let mut decoder = Decoder::new(Arc::new(EventSchema {
        fields: Vec::new(),
        unknown: UnknownFields::Keep,
        format: EventFormat::Protobuf,
    }));
    let mut verdict = |levels: usize| {
        let deep = (1..levels).fold(Vec::new(), |inner, _| bytes(1, &inner));
        let json = first(&mut values, &deep)?;
        let refused = decoder.decode([json.as_bytes()]).refused;
        refused.first().map_or(Ok(()), |(_, error)| Err(error.code))
    };
    assert_eq!(verdict(64), Ok(()));
    assert_eq!(verdict(65), Err("TooDeep"));
    assert_eq!(verdict(200), Err("NotProtobuf"));
}
