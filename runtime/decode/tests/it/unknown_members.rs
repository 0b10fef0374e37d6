//! Members that no column takes.
use tidewheel_decode::{FieldType, UnknownFields};

use crate::fixture::{decode_one, decoder, field};

fn extra(event: &str) -> String {
    let fields = vec![
        field("a", "a", FieldType::Bigint),
        field("b", "o.b", FieldType::Bigint),
        field("c", "o.p.c", FieldType::Bigint),
    ];
    let values = decode_one(&mut decoder(fields, UnknownFields::Keep), event.as_bytes());
    values.unwrap().pop().unwrap()
}

#[test]
fn kept_members_keep_their_order_text_and_place() {
    for (event, kept) in [
        ("{}", "NULL"),
        (r#"{"a":1,"o":{"b":1,"p":{"c":1}}}"#, "NULL"),
        (r#"{"o":{}}"#, "NULL"),
        (r#"{"o":null}"#, "NULL"),
        (r#"{"x":null}"#, r#"{"x":null}"#),
        (r#"{"x":1,"a":2,"y":3}"#, r#"{"x":1,"y":3}"#),
        (
            r#"{"o":{"method":"GET"},"page":"/"}"#,
            r#"{"o":{"method":"GET"},"page":"/"}"#,
        ),
        (r#"{"x":1,"o":{"p":{}}}"#, r#"{"x":1}"#),
        (
            r#"{"o":{"p":{"y":1},"b":2},"x":3}"#,
            r#"{"o":{"p":{"y":1}},"x":3}"#,
        ),
        (
            r#"{"o":{"u":0,"p":{"c":1,"y":1,"z":2},"b":2,"v":4}}"#,
            r#"{"o":{"u":0,"p":{"y":1,"z":2},"v":4}}"#,
        ),
        (
            r#"{"x":[ 1e400 , "\u00e9" ],"y":{"k":1,"k":2}}"#,
            r#"{"x":[ 1e400 , "\u00e9" ],"y":{"k":1,"k":2}}"#,
        ),
        (r#"{"x\u0041":"{","y":"}"}"#, r#"{"x\u0041":"{","y":"}"}"#),
        (r#"{"b":1,"c":2}"#, r#"{"b":1,"c":2}"#),
    ] {
        assert_eq!(extra(event), kept, "{event}");
    }
}

#[test]
fn kept_members_are_one_json_object_however_the_event_was_spaced() {
    let kept = extra("{ \"x\" :\n1 , \"o\" : { \"y\" : [ 1 ,\t2 ] , \"b\" : 1 } }");
    let value: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(value, serde_json::json!({"x": 1, "o": {"y": [1, 2]}}));
}

#[test]
fn duplicates_among_many_unknown_names_are_found() {
    // More names than are learned, some too long to be learned, and the same name in two spellings.
    let names: Vec<String> = (0..200)
        .map(|index| format!("name{index}{}", "x".repeat(index)))
        .collect();
    let members: Vec<String> = names.iter().map(|name| format!(r#""{name}":0"#)).collect();
    let event = |extra: &str| format!("{{{}{extra}}}", members.join(","));
    for unknown in [UnknownFields::Keep, UnknownFields::Drop] {
        let mut decoder = decoder(vec![field("a", "a", FieldType::Bigint)], unknown);
        for _ in 0..3 {
            decode_one(&mut decoder, event("").as_bytes()).unwrap();
            for index in [0, 5, 63, 64, 65, 150, 199] {
                let name = &names[index];
                let escaped = format!(r"\u006e{}", &name[1..]);
                for spelling in [name, &escaped] {
                    let again = event(&format!(r#","{spelling}":1"#));
                    let error = decode_one(&mut decoder, again.as_bytes()).unwrap_err();
                    assert_eq!(error.code, "DuplicateField", "{spelling}");
                }
            }
        }
    }
}

#[test]
fn names_that_change_with_every_event_do_no_harm() {
    let mut decoder = decoder(
        vec![field("a", "a", FieldType::Bigint)],
        UnknownFields::Keep,
    );
    for index in 0..20_000 {
        let event = format!(r#"{{"n{index}":1,"a":{index},"m{index}":2}}"#);
        let values = decode_one(&mut decoder, event.as_bytes()).unwrap();
        assert_eq!(values[0], index.to_string());
        assert_eq!(values[1], format!(r#"{{"n{index}":1,"m{index}":2}}"#));
    }
}

#[test]
fn a_member_name_that_needs_escapes_can_be_declared() {
    let fields = vec![field("a", r#"x":1,"y"#, FieldType::Bigint)];
    let mut decoder = decoder(fields, UnknownFields::Keep);
    let values = decode_one(&mut decoder, br#"{"x":1,"y":2}"#).unwrap();
    assert_eq!(values, ["NULL", r#"{"x":1,"y":2}"#]);
    let values = decode_one(&mut decoder, br#"{"x\":1,\"y":2}"#).unwrap();
    assert_eq!(values, ["2", "NULL"]);
}
