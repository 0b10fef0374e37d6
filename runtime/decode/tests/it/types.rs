//! What values of each type become.
use tidewheel_decode::FieldType;

use crate::fixture::{clicks, decode_one, decoder, field, one_column};

fn value(data_type: FieldType, json: &str) -> String {
    let event = format!(r#"{{"v":{json}}}"#);
    match decode_one(&mut one_column(data_type), event.as_bytes()) {
        Ok(values) => values[0].clone(),
        Err(error) => panic!("{json}: {error}"),
    }
}

fn code(data_type: FieldType, json: &str) -> &'static str {
    let event = format!(r#"{{"v":{json}}}"#);
    decode_one(&mut one_column(data_type), event.as_bytes())
        .expect_err(json)
        .code
}

#[test]
fn text_is_what_its_escapes_stand_for() {
    for (json, text) in [
        (r#""""#, ""),
        (r#""plain""#, "plain"),
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\u00e9\u20AC""#, "é€"),
        (r#""\ud83d\ude00!""#, "😀!"),
        (r#""a\\u0000b""#, "a\\u0000b"),
        (
            "\"grüße 😀 seventeen bytes and more\"",
            "grüße 😀 seventeen bytes and more",
        ),
        ("\"\u{7f}\"", "\u{7f}"),
    ] {
        assert_eq!(value(FieldType::Text, json), text);
    }
}

#[test]
fn strings_of_every_length_end_at_their_quote() {
    for length in 0..100 {
        for filler in ["x", "é", "\\n"] {
            let text = filler.repeat(length);
            let event = format!(r#"{{"u":"{text}","v":"{text}|"}}"#);
            let values = decode_one(&mut one_column(FieldType::Text), event.as_bytes()).unwrap();
            assert_eq!(values[0], format!("{text}|").replace("\\n", "\n"));
        }
    }
}

#[test]
fn a_bigint_is_whole_in_value_not_in_spelling() {
    for (json, number) in [
        ("0", "0"),
        ("-0", "0"),
        ("1.0", "1"),
        ("1e3", "1000"),
        ("1.5e1", "15"),
        ("-2.50E+2", "-250"),
        ("1000e-3", "1"),
        ("0.0000001e7", "1"),
        ("0e999999999999999999999", "0"),
        ("0.000e-99999999999999999999", "0"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775807.000", "9223372036854775807"),
        ("922337203685477580.7e1", "9223372036854775807"),
        ("9007199254740993", "9007199254740993"),
        ("10000000000000000000000e-4", "1000000000000000000"),
    ] {
        assert_eq!(value(FieldType::Bigint, json), number, "{json}");
    }
    for (json, expected) in [
        ("1.5", "WrongType"),
        ("1e-1", "WrongType"),
        ("1e-99999999999999999999", "WrongType"),
        ("9223372036854775807.5", "WrongType"),
        ("9223372036854775808", "OutOfRange"),
        ("-9223372036854775809", "OutOfRange"),
        ("18446744073709551616", "OutOfRange"),
        ("1e19", "OutOfRange"),
        ("1e99999999999999999999", "OutOfRange"),
        ("99999999999999999999999999", "OutOfRange"),
    ] {
        assert_eq!(code(FieldType::Bigint, json), expected, "{json}");
    }
}

#[test]
fn a_double_is_the_nearest_one() {
    for json in [
        "0",
        "-0",
        "-0.0",
        "0.1",
        "203023.0",
        "1e22",
        "1e23",
        "123456789012345678",
        "5e-324",
        "1e-400",
        "2.2250738585072011e-308",
        "1.7976931348623157e308",
        "9007199254740993",
        "9007199254740992e-22",
        "0.30000000000000004",
        "3.141592653589793238462643383279502884",
        "1.00000000000000011102230246251565404236316680908203125",
        "1E5",
        "18014398509481985e0",
    ] {
        let expected: f64 = json.parse().unwrap();
        assert_eq!(
            value(FieldType::Double, json),
            format!("{expected:?}"),
            "{json}"
        );
    }
    for json in ["1e400", "-1e400", "1.8e308", "1e99999999999999999999"] {
        assert_eq!(code(FieldType::Double, json), "OutOfRange");
    }
}

#[test]
fn booleans_are_words() {
    assert_eq!(value(FieldType::Boolean, "true"), "true");
    assert_eq!(value(FieldType::Boolean, "false"), "false");
    assert_eq!(code(FieldType::Boolean, "tru"), "Malformed");
    assert_eq!(code(FieldType::Boolean, "truely"), "Malformed");
}

#[test]
fn a_timestamp_is_rfc_3339_with_a_zone_or_milliseconds() {
    for (json, micros) in [
        (r#""1970-01-01T00:00:00Z""#, "0"),
        (r#""2015-05-17T10:05:03Z""#, "1431857103000000"),
        (r#""2015-05-17t10:05:03z""#, "1431857103000000"),
        (r#""2015-05-17 12:05:03+02:00""#, "1431857103000000"),
        (r#""2015-05-17T00:35:03-09:30""#, "1431857103000000"),
        (r#""2015-05-17T10:05:03-00:00""#, "1431857103000000"),
        (r#""2015-05-17T10:05:03.5Z""#, "1431857103500000"),
        (r#""2015-05-17T10:05:03.123456789Z""#, "1431857103123456"),
        (r#""2015-05-17T10:05:03\u005a""#, "1431857103000000"),
        (r#""1969-12-31T23:59:59.999999Z""#, "-1"),
        (r#""2000-02-29T00:00:00Z""#, "951782400000000"),
        (r#""2016-12-31T23:59:60Z""#, "1483228800000000"),
        (r#""2017-01-01T00:59:60.5+01:00""#, "1483228800500000"),
        (r#""0001-01-01T00:00:00Z""#, "-62135596800000000"),
        (r#""9999-12-31T23:59:59.999999Z""#, "253402300799999999"),
        ("1431857103123", "1431857103123000"),
        ("1431857103e3", "1431857103000000"),
        ("-1", "-1000"),
        ("253402300799999", "253402300799999000"),
        ("-62135596800000", "-62135596800000000"),
    ] {
        assert_eq!(value(FieldType::Timestamp, json), micros, "{json}");
    }
    for (json, expected) in [
        (r#""2015-05-17T10:05:03""#, "NoZone"),
        (r#""2015-05-17T10:05:03.25""#, "NoZone"),
        (r#""2015-05-17T10:05Z""#, "BadTimestamp"),
        (r#""2015-05-17T10:05:03.Z""#, "BadTimestamp"),
        (r#""2015-05-17T10:05:03.1234567890Z""#, "BadTimestamp"),
        (r#""2015-05-17T10:05:03ZZ""#, "BadTimestamp"),
        (r#""2015-05-17T10:05:03+0200""#, "BadTimestamp"),
        (r#""2015-05-17T10:05:03+24:00""#, "BadTimestamp"),
        (r#""2015-05-17T10:05:03+02:60""#, "BadTimestamp"),
        (r#""2015-05-17T24:00:00Z""#, "BadTimestamp"),
        (r#""2015-05-17T10:60:00Z""#, "BadTimestamp"),
        (r#""2015-05-17T10:05:60Z""#, "BadTimestamp"),
        (r#""2015-05-17T10:05:61Z""#, "BadTimestamp"),
        (r#""2015-13-17T10:05:03Z""#, "BadTimestamp"),
        (r#""2015-00-17T10:05:03Z""#, "BadTimestamp"),
        (r#""2015-04-31T10:05:03Z""#, "BadTimestamp"),
        (r#""2015-04-00T10:05:03Z""#, "BadTimestamp"),
        (r#""1900-02-29T00:00:00Z""#, "BadTimestamp"),
        (r#""15-05-17T10:05:03Z""#, "BadTimestamp"),
        (r#""２015-05-17T10:05:03Z""#, "BadTimestamp"),
        (r#""1431857103123""#, "BadTimestamp"),
        (r#""""#, "BadTimestamp"),
        (r#""0001-01-01T00:00:00+00:01""#, "OutOfRange"),
        ("253402300800000", "OutOfRange"),
        ("-62135596800001", "OutOfRange"),
        ("1e300", "OutOfRange"),
    ] {
        assert_eq!(code(FieldType::Timestamp, json), expected, "{json}");
    }
}

#[test]
fn a_uuid_is_stored_in_its_canonical_form() {
    let canonical = "6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10";
    for json in [
        r#""6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10""#,
        r#""6F1C2F5E-0B5A-4C39-9D55-2F7F4F3A1B10""#,
        r#""6f1c2f5e0b5a4c399d552f7f4f3a1b10""#,
        r#""\u0036f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10""#,
    ] {
        assert_eq!(value(FieldType::Uuid, json), canonical);
    }
    for json in [
        r#""6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b1""#,
        r#""6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b1g""#,
        r#""6f1c2f5e0-b5a-4c39-9d55-2f7f4f3a1b10""#,
        r#""6f1c2f5e-0b5a-4c39-9d5--2f7f4f3a1b10""#,
        r#""urn:uuid:6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10""#,
    ] {
        assert_eq!(code(FieldType::Uuid, json), "BadUuid");
    }
}

#[test]
fn json_is_kept_as_it_came() {
    for json in [
        "1e400",
        "\"a\\u00e9\"",
        "true",
        r#"{ "b" : [ 1, {"a":null} ] }"#,
        "[]",
        "{}",
        "-0.10",
        r#"{"a":1,"a":2}"#,
    ] {
        assert_eq!(value(FieldType::Json, &format!(" \t{json}\n ")), json);
    }
    assert_eq!(value(FieldType::Json, "null"), "NULL");
}

#[test]
fn absent_and_null_are_null_and_so_is_all_inside_an_absent_object() {
    let mut decoder = decoder(
        vec![
            field("a", "a", FieldType::Bigint),
            field("b", "o.b", FieldType::Text),
            field("c", "o.p.c", FieldType::Text),
        ],
        tidewheel_decode::UnknownFields::Drop,
    );
    for event in [
        "{}",
        r#"{"a":null}"#,
        r#"{"o":null}"#,
        r#"{"o":{}}"#,
        r#"{"o":{"p":null,"b":null},"a":null}"#,
        r#"{"o":{"p":{"c":null}}}"#,
    ] {
        let values = decode_one(&mut decoder, event.as_bytes()).unwrap();
        assert_eq!(values, ["NULL", "NULL", "NULL"], "{event}");
    }
    let values = decode_one(&mut decoder, br#"{"o":{"p":{"c":"x"},"b":"y"},"a":1}"#).unwrap();
    assert_eq!(values, ["1", "y", "x"]);
}

#[test]
fn members_may_come_in_any_order_with_any_white_space() {
    let mut decoder = decoder(clicks(), tidewheel_decode::UnknownFields::Drop);
    let orders = [
        r#"{"event_id":"6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10","source":"web","timestamp":1,"attributes":{"code":200,"metric":1.5}}"#,
        r#"{"attributes":{"metric":1.5,"code":200},"timestamp":1,"source":"web","event_id":"6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10"}"#,
        " {\r\n\t\"source\" : \"web\" , \"timestamp\" : 1 , \"attributes\" : { \"code\" : 200 , \"x\" : [ ] , \"metric\" : 1.5 } , \"event_id\" : \"6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10\" } \n",
        r#"{"s\u006furce":"web","t\u0069mestamp":1,"attributes":{"metric":1.5,"code":200},"event_id":"6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10"}"#,
    ];
    for _ in 0..2 {
        for event in orders {
            let values = decode_one(&mut decoder, event.as_bytes()).unwrap();
            assert_eq!(
                values,
                [
                    "6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10",
                    "web",
                    "1000",
                    "NULL",
                    "1.5",
                    "200",
                    "NULL",
                    "NULL"
                ]
            );
        }
    }
}
