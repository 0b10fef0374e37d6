//! Bodies and files cut into events.
use tidewheel_decode::body::{Form, split, split_first};
use tidewheel_decode::{array, ndjson};

fn text(events: &[&[u8]]) -> Vec<String> {
    events
        .iter()
        .map(|event| String::from_utf8_lossy(event).into_owned())
        .collect()
}

fn lines(input: &str) -> Vec<String> {
    text(&ndjson::lines(input.as_bytes()).collect::<Vec<_>>())
}

fn elements(input: &str) -> Result<Vec<String>, String> {
    array::elements(input.as_bytes())
        .map(|elements| text(&elements))
        .map_err(|error| error.to_string())
}

#[test]
fn lines_end_with_lf_or_crlf_and_blank_ones_are_no_events() {
    assert_eq!(lines(""), [""; 0]);
    assert_eq!(lines("\n\r\n \t\r\n"), [""; 0]);
    assert_eq!(lines("{1}\n{2}\r\n\n{3}"), ["{1}", "{2}", "{3}"]);
    assert_eq!(lines("\r\n {1} \r\n"), [" {1} "]);
}

#[test]
fn a_byte_order_mark_is_taken_off_once() {
    assert_eq!(
        ndjson::without_byte_order_mark("\u{feff}{}".as_bytes()),
        b"{}"
    );
    assert_eq!(ndjson::without_byte_order_mark(b"{}"), b"{}");
}

#[test]
fn a_bad_element_is_cut_out_alone() {
    assert_eq!(elements("[]"), Ok(vec![]));
    assert_eq!(elements(" [ ] "), Ok(vec![]));
    assert_eq!(
        elements(r#"[{"a":"],[\""}, 1 2,[1,{"b":2}],tru, "x" ]"#).unwrap(),
        [r#"{"a":"],[\""}"#, "1 2", r#"[1,{"b":2}]"#, "tru", r#""x""#]
    );
    assert_eq!(
        elements(r#"[{"a":1],{"b":2}]"#).unwrap(),
        [r#"{"a":1]"#, r#"{"b":2}"#]
    );
    let deep = format!("[{}{},1]", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(elements(&deep).unwrap().len(), 2);
}

#[test]
fn a_broken_array_says_where() {
    let broken = [
        "", "{}", "[", "[1", "[1,", "[1,]", "[,1]", "[1]x", r#"["a]"#, r#"["a\"#, "[{]",
    ];
    let report: Vec<String> = broken
        .iter()
        .map(|input| format!("{input:?}: {}", elements(input).unwrap_err()))
        .collect();
    insta::assert_snapshot!(report.join("\n"));
}

#[test]
fn the_form_of_a_body_is_told_from_its_bytes() {
    for (body, form, events) in [
        ("", Form::Lines, vec![]),
        (" \r\n", Form::Lines, vec![]),
        (r#" {"a":1} "#, Form::Object, vec![r#"{"a":1}"#]),
        (
            "{\n \"a\": {\n \"b\": 1}\n}\n",
            Form::Object,
            vec!["{\n \"a\": {\n \"b\": 1}\n}"],
        ),
        (
            "{\"a\":1}\n{\"a\":2}\r\n",
            Form::Lines,
            vec![r#"{"a":1}"#, r#"{"a":2}"#],
        ),
        (
            "{\"a\":1}\nnonsense\n",
            Form::Lines,
            vec![r#"{"a":1}"#, "nonsense"],
        ),
        (
            "{\"a\":\n{\"a\":2}\n",
            Form::Lines,
            vec![r#"{"a":"#, r#"{"a":2}"#],
        ),
        (
            "{\n \"a\": tru,\n \"b\":\n",
            Form::Object,
            vec!["{\n \"a\": tru,\n \"b\":"],
        ),
        (
            "nonsense\n{\"a\":2}\n",
            Form::Lines,
            vec!["nonsense", r#"{"a":2}"#],
        ),
        ("\u{feff}{\"a\":1}", Form::Object, vec![r#"{"a":1}"#]),
        (
            "\u{feff}[{\"a\":1},2]",
            Form::Array,
            vec![r#"{"a":1}"#, "2"],
        ),
        ("[]", Form::Array, vec![]),
    ] {
        let split = split(body.as_bytes()).unwrap();
        assert_eq!(split.form, form, "{body:?}");
        assert_eq!(text(&split.events), events, "{body:?}");
    }
    assert_eq!(split(b"[1").unwrap_err().code, "Malformed");
}

#[test]
fn no_more_events_are_cut_out_than_asked_for() {
    // What follows the limit is not looked at, so the missing bracket goes unnoticed until it is reached.
    let array = split_first(b"[1,2,3,4", 2).unwrap();
    assert_eq!(text(&array.events), ["1", "2"]);
    assert!(split_first(b"[1,2,3,4", 4).is_err());
    let lines = split_first(b"{}\n{}\n{}\n", 2).unwrap();
    assert_eq!(text(&lines.events), ["{}", "{}"]);
    assert_eq!(split_first(b"{}", 2).unwrap().events.len(), 1);
}
