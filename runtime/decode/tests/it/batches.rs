//! Batches: order, indices, memory, bounds.
use arrow::array::Array;
use tidewheel_decode::{FieldType, MAX_BATCH_BYTES, UnknownFields};

use crate::fixture::{cell, clicks, decoder, field, required};

#[test]
fn an_empty_batch_has_the_schema_of_a_full_one() {
    let mut decoder = decoder(clicks(), UnknownFields::Keep);
    let schema = decoder.schema().arrow_schema();
    let decoded = decoder.decode([]);
    assert_eq!(decoded.batch.schema(), schema);
    assert_eq!(decoded.batch.num_rows(), 0);
}

#[test]
fn a_schema_without_columns_still_counts_rows() {
    let mut decoder = decoder(vec![], UnknownFields::Drop);
    let decoded = decoder.decode([&b"{}"[..], b"{", br#"{"a":1}"#]);
    assert_eq!(decoded.batch.num_rows(), 2);
    assert_eq!(decoded.rows, [0, 2]);
}

#[test]
fn a_batch_holds_nothing_of_the_ones_before() {
    let fields = vec![
        required("a", "a", FieldType::Text),
        field("b", "b", FieldType::Bigint),
    ];
    let mut decoder = decoder(fields, UnknownFields::Keep);
    decoder.decode([
        &br#"{"a":"first \n","b":1,"x":1}"#[..],
        br#"{"a":"bad","b":"1"}"#,
    ]);
    let decoded = decoder.decode([&br#"{"a":"second"}"#[..]]);
    let values: Vec<String> = decoded.batch.columns().iter().map(|c| cell(c, 0)).collect();
    assert_eq!(values, ["second", "NULL", "NULL"]);
    assert_eq!(decoded.rows, [0]);
    assert!(decoded.refused.is_empty());
}

#[test]
fn checking_an_event_says_what_decoding_would_and_leaves_no_row() {
    let mut decoder = decoder(
        vec![required("a", "a", FieldType::Bigint)],
        UnknownFields::Drop,
    );
    decoder.check_one(br#"{"a":1}"#).unwrap();
    let checked = decoder.check_one(br#"{"a":"1"}"#).unwrap_err();
    let decoded = decoder.decode([&br#"{"a":"1"}"#[..]]);
    assert_eq!(decoded.batch.num_rows(), 0);
    assert_eq!(decoded.refused, [(0, checked)]);
}

#[test]
fn the_size_of_an_event_is_bounded_as_set() {
    let mut decoder = decoder(vec![], UnknownFields::Drop).with_max_event_bytes(10);
    decoder.check_one(br#"{"a":"12"}"#).unwrap();
    assert_eq!(
        decoder.check_one(br#"{"a":"123"}"#).unwrap_err().code,
        "TooLarge"
    );
}

#[test]
fn a_batch_takes_no_more_than_its_bound_and_leaves_the_rest() {
    let event = format!(r#"{{"x":"{}"}}"#, "x".repeat((1 << 20) - 8));
    assert_eq!(event.len(), 1 << 20);
    let mut decoder = decoder(vec![field("a", "a", FieldType::Text)], UnknownFields::Drop);
    let decoded = decoder.decode(std::iter::repeat_n(event.as_bytes(), 2000));
    assert_eq!(decoded.rows.len(), MAX_BATCH_BYTES / event.len());
    assert!(decoded.refused.is_empty());
    assert_eq!(decoded.batch.column(0).null_count(), decoded.rows.len());
}
