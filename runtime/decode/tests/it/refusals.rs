//! Every refusal, word for word: field, code, and what to send instead.
use std::fmt::Write;

use tidewheel_decode::cloud_events::CloudEvents;
use tidewheel_decode::framed::{Encoding, FramedValues};
use tidewheel_decode::{Code, UnknownFields};

use crate::fixture::{clicks, decode_one, decoder};

const ID: &str = r#""event_id":"6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10""#;

/// An event that is good but for `rest`, which follows the required members.
fn with(rest: &str) -> Vec<u8> {
    format!(r#"{{{ID},"source":"web","timestamp":0,{rest}}}"#).into_bytes()
}

fn nested(levels: usize) -> Vec<u8> {
    with(&format!(
        r#""x":{}{}"#,
        "[".repeat(levels),
        "]".repeat(levels)
    ))
}

fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let whole = |text: &str| text.as_bytes().to_vec();
    vec![
        ("nothing", whole("")),
        ("white space", whole(" \r\n\t")),
        (
            "more than 1 MiB",
            with(&format!(r#""x":"{}""#, "x".repeat(1 << 20))),
        ),
        ("Latin-1", b"{\"source\":\"caf\xe9\"}".to_vec()),
        ("byte order mark", whole("\u{feff}{}")),
        ("an array", whole("[{}]")),
        ("a string", whole("\"hello\"")),
        ("a number", whole("12")),
        ("null", whole("null")),
        ("a word", whole("hello")),
        ("an escape character", whole("{\u{1b}}")),
        ("truncated after the brace", whole("{")),
        ("truncated in a name", whole(r#"{"sou"#)),
        ("truncated after a name", whole(r#"{"source""#)),
        ("truncated after a colon", whole(r#"{"source":"#)),
        ("truncated in a string", whole(r#"{"source":"we"#)),
        ("truncated in an escape", whole(r#"{"source":"we\"#)),
        ("truncated after a value", whole(r#"{"source":"web""#)),
        ("truncated in a skipped array", whole(r#"{"x":[1,2"#)),
        ("name without quotes", whole("{source:1}")),
        ("no colon", whole(r#"{"source" "web"}"#)),
        ("trailing comma", whole(r#"{"source":"web",}"#)),
        ("trailing comma in a skipped array", whole(r#"{"x":[1,]}"#)),
        ("wrong bracket", whole(r#"{"x":[1}}"#)),
        ("two events", whole("{} {}")),
        (
            "two good events",
            [with(r#""x":1"#), b" {}".to_vec()].concat(),
        ),
        ("NUL between tokens", b"{\0}".to_vec()),
        ("NUL in a string", b"{\"source\":\"a\0b\"}".to_vec()),
        ("raw newline in a string", whole("{\"source\":\"a\nb\"}")),
        ("unknown escape", whole(r#"{"source":"\x41"}"#)),
        ("short unicode escape", whole(r#"{"source":"\u12"}"#)),
        ("leading zero", with(r#""x":012"#)),
        ("lone minus", with(r#""x":-"#)),
        ("point without digits", with(r#""x":1."#)),
        ("exponent without digits", with(r#""x":1e"#)),
        ("NaN", with(r#""attributes":{"metric":NaN}"#)),
        ("65 levels", nested(64)),
        ("100 levels", nested(99)),
        (
            "too many members",
            with(&format!(r#""x":{{{}"y":1}}"#, r#""y":1,"#.repeat(10_000))),
        ),
        (
            "lone surrogate in a column",
            whole(r#"{"source":"\ud800"}"#),
        ),
        ("lone low surrogate", whole(r#"{"source":"\udc00"}"#)),
        (
            "surrogate and a plain escape",
            whole(r#"{"source":"\ud800\u0041"}"#),
        ),
        ("escaped NUL in a column", whole(r#"{"source":"a\u0000"}"#)),
        (
            "escaped NUL in a nested column",
            with(r#""attributes":{"user_id":"\u0000"}"#),
        ),
        (
            "escaped NUL in json",
            with(r#""attributes":{"geo":{"a":["\u0000"]}}"#),
        ),
        (
            "lone surrogate in an unknown member",
            with(r#""attributes":{"x":{"y":"\udfff"}}"#),
        ),
        ("lone surrogate in a name", with(r#""a\ud800b":1"#)),
        ("duplicate column", with(r#""source":"app""#)),
        ("duplicate column, escaped", with(r#""sourc\u0065":"app""#)),
        (
            "duplicate object",
            with(r#""attributes":{},"attributes":null"#),
        ),
        (
            "duplicate nested column",
            with(r#""attributes":{"code":1,"code":1}"#),
        ),
        ("duplicate unknown", with(r#""x":1,"y":2,"x":3"#)),
        (
            "duplicate nested unknown",
            with(r#""attributes":{"x":1,"x":1}"#),
        ),
        (
            "required and absent",
            whole(&format!(r#"{{{ID},"timestamp":0}}"#)),
        ),
        (
            "required, absent, with a path",
            whole(&format!(r#"{{{ID},"source":"web"}}"#)),
        ),
        ("required and null", whole(r#"{"source":null}"#)),
        ("null time", whole(r#"{"timestamp":null}"#)),
        ("text from a number", whole(r#"{"source":42}"#)),
        ("text from an object", whole(r#"{"source":{"a":1}}"#)),
        ("text from a broken object", whole(r#"{"source":{"a":}}"#)),
        (
            "bigint from a string",
            with(r#""attributes":{"code":"200"}"#),
        ),
        (
            "bigint with a fraction",
            with(r#""attributes":{"code":1.5}"#),
        ),
        (
            "bigint beyond 64 bits",
            with(r#""attributes":{"code":9223372036854775808}"#),
        ),
        ("bigint of 1e400", with(r#""attributes":{"code":1e400}"#)),
        (
            "double from a string",
            with(r#""attributes":{"metric":"1.5"}"#),
        ),
        ("double of 1e400", with(r#""attributes":{"metric":1e400}"#)),
        (
            "boolean from a string",
            with(r#""attributes":{"cached":"true"}"#),
        ),
        (
            "boolean from a number",
            with(r#""attributes":{"cached":1}"#),
        ),
        (
            "long value",
            with(&format!(r#""attributes":{{"code":"{}"}}"#, "é".repeat(100))),
        ),
        ("object that is a string", with(r#""attributes":"GET""#)),
        ("object that is an array", with(r#""attributes":[1]"#)),
        (
            "time without a zone",
            whole(r#"{"timestamp":"2026-01-31T12:00:00"}"#),
        ),
        ("date only", whole(r#"{"timestamp":"2026-01-31"}"#)),
        (
            "30 February",
            whole(r#"{"timestamp":"2026-02-30T12:00:00Z"}"#),
        ),
        ("year 0", whole(r#"{"timestamp":"0000-01-01T00:00:00Z"}"#)),
        (
            "year 10000 by its offset",
            whole(r#"{"timestamp":"9999-12-31T23:59:59-01:00"}"#),
        ),
        (
            "year 10000 in milliseconds",
            whole(r#"{"timestamp":253402300800000}"#),
        ),
        ("half a millisecond", whole(r#"{"timestamp":0.5}"#)),
        ("time from a boolean", whole(r#"{"timestamp":true}"#)),
        ("no UUID", whole(r#"{"event_id":"42"}"#)),
        (
            "UUID in braces",
            whole(r#"{"event_id":"{6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10}"}"#),
        ),
        ("UUID from a number", whole(r#"{"event_id":42}"#)),
    ]
}

fn report(unknown: UnknownFields, cases: &[(&str, Vec<u8>)]) -> String {
    let mut decoder = decoder(clicks(), unknown);
    let mut report = String::new();
    for (name, event) in cases {
        let error = decode_one(&mut decoder, event).expect_err(name);
        writeln!(report, "{name}\n  {}: {error}", error.code).unwrap();
    }
    report
}

#[test]
fn every_refusal_names_the_field_and_what_to_send() {
    insta::assert_snapshot!(report(UnknownFields::Keep, &cases()));
}

#[test]
fn an_undeclared_member_is_refused_with_the_nearest_declared_path() {
    let cases = [
        ("misspelt", with(r#""sourec":"web""#)),
        ("nested", with(r#""attributes":{"user-id":"7"}"#)),
        ("unlike any", with(r#""completely_different":1"#)),
        ("column name instead of its path", with(r#""metric":1"#)),
        ("escaped", with(r#""c\u006fde1":1"#)),
        ("far from any path", with(r#""attributes":{"agent":1}"#)),
        ("very long", with(&format!(r#""{}":1"#, "x".repeat(1000)))),
    ];
    insta::assert_snapshot!(report(UnknownFields::Reject, &cases));
}

#[test]
fn codes_are_the_words_that_are_documented() {
    let words: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let mut refused: Vec<&str> = cases()
        .iter()
        .map(|(name, event)| {
            let mut decoder = decoder(clicks(), UnknownFields::Drop);
            decode_one(&mut decoder, event).expect_err(name).code
        })
        .collect();
    refused.push(Code::UnknownField.as_str());
    refused.push(CloudEvents::check(b"{}").unwrap_err().code);
    for encoding in [Encoding::Avro, Encoding::Protobuf] {
        let unframed = FramedValues::new(encoding).read([&b"{}"[..]]).remove(0);
        refused.push(unframed.unwrap_err().code);
    }
    for word in &words {
        assert!(refused.contains(word), "nothing is refused as {word}");
    }
    assert!(refused.iter().all(|code| words.contains(code)));
    insta::assert_snapshot!(
        Code::ALL
            .iter()
            .map(|code| format!("{code}: {}\n", code.meaning()))
            .collect::<String>()
    );
}
