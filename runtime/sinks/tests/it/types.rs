//! Every type goes in and comes out.
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use serde_json::{Value, json};
use tidewheel_planner::plan::{ColumnType, Table, TableKind};
use tidewheel_sinks::{Change, SinkError};

use crate::fixture::{Fixture, batch, column, commit, integers, on_both, row_table, texts};

on_both!(
    bigints_keep_all_64_bits,
    doubles_keep_every_bit_and_their_infinities,
    booleans_come_back_as_booleans,
    timestamps_keep_their_microseconds,
    dates_come_back_as_dates,
    numerics_are_exact_to_38_digits,
    texts_and_uuids_keep_every_character,
    sql_sorts_and_compares_timestamps_of_any_precision,
    every_type_may_be_part_of_a_key,
    a_batch_of_other_types_is_refused_whole,
);

async fn round_trip(fixture: &Fixture, data_type: ColumnType, values: ArrayRef) -> Vec<Value> {
    let table = row_table("t", vec![column("v", data_type)]);
    let mut writer = fixture.writer(&table).await;
    let len = values.len() as i64;
    let zeros = || integers((0..len).map(|_| 0));
    let arrays = vec![values, zeros(), zeros(), integers(0..len), zeros()];
    let committed = commit(
        &mut writer,
        &Change::Append(batch(&table, arrays)),
        None,
        len,
    )
    .await
    .unwrap();
    assert_eq!(committed.refused, []);
    fixture
        .rows(&table)
        .await
        .into_iter()
        .map(|row| row["v"].clone())
        .collect()
}

async fn bigints_keep_all_64_bits(fixture: Fixture) {
    let values = Int64Array::from(vec![
        Some(i64::MIN),
        Some(-1),
        Some(9_007_199_254_740_993),
        Some(i64::MAX),
        None,
    ]);
    assert_eq!(
        json!(round_trip(&fixture, ColumnType::Bigint, Arc::new(values)).await),
        json!([i64::MIN, -1, 9_007_199_254_740_993_i64, i64::MAX, null])
    );
}

async fn doubles_keep_every_bit_and_their_infinities(fixture: Fixture) {
    let finite = [
        0.1,
        -0.0,
        5e-324,
        f64::MAX,
        f64::MIN,
        2_f64.powi(53) + 2.0,
        1.0,
    ];
    let back = round_trip(
        &fixture,
        ColumnType::Double,
        Arc::new(Float64Array::from(finite.to_vec())),
    )
    .await;
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let back: Vec<_> = back.iter().map(|value| value.as_f64().unwrap()).collect();
    // SQLite stores a whole REAL as an integer, which has no negative zero.
    let whole = |v: &f64| {
        if fixture.is_embedded() && *v == 0.0 {
            0.0
        } else {
            *v
        }
    };
    let stored: Vec<_> = finite.iter().map(whole).collect();
    assert_eq!(bits(&back), bits(&stored));
    let nan = if fixture.is_embedded() {
        json!(null)
    } else {
        json!("NaN")
    };
    let special = Float64Array::from(vec![
        Some(f64::INFINITY),
        Some(f64::NEG_INFINITY),
        Some(f64::NAN),
        None,
    ]);
    assert_eq!(
        json!(
            round_trip(
                &fixture.another().await,
                ColumnType::Double,
                Arc::new(special)
            )
            .await
        ),
        json!(["Infinity", "-Infinity", nan, null])
    );
}

async fn booleans_come_back_as_booleans(fixture: Fixture) {
    let values = BooleanArray::from(vec![Some(true), Some(false), None]);
    assert_eq!(
        json!(round_trip(&fixture, ColumnType::Boolean, Arc::new(values)).await),
        json!([true, false, null])
    );
}

async fn timestamps_keep_their_microseconds(fixture: Fixture) {
    let values = vec![
        Some(-62_135_596_800_000_000),
        Some(-1),
        Some(1_431_856_800_000_000),
        Some(1_431_856_800_250_000),
        Some(1_431_856_800_000_001),
        Some(253_402_300_799_999_999),
        None,
    ];
    let values = TimestampMicrosecondArray::from(values).with_timezone("+00:00");
    assert_eq!(
        json!(round_trip(&fixture, ColumnType::Timestamp, Arc::new(values)).await),
        json!([
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "2015-05-17T10:00:00Z",
            "2015-05-17T10:00:00.250Z",
            "2015-05-17T10:00:00.000001Z",
            "9999-12-31T23:59:59.999999Z",
            null
        ])
    );
}

async fn dates_come_back_as_dates(fixture: Fixture) {
    let values = Date32Array::from(vec![
        Some(-719_162),
        Some(-1),
        Some(0),
        Some(16_572),
        Some(2_932_896),
        None,
    ]);
    assert_eq!(
        json!(round_trip(&fixture, ColumnType::Date, Arc::new(values)).await),
        json!([
            "0001-01-01",
            "1969-12-31",
            "1970-01-01",
            "2015-05-17",
            "9999-12-31",
            null
        ])
    );
}

async fn numerics_are_exact_to_38_digits(fixture: Fixture) {
    let most = 10_i128.pow(38) - 1;
    let values = Decimal128Array::from(vec![Some(most), Some(-most), Some(-1), Some(0), None])
        .with_precision_and_scale(38, 10)
        .unwrap();
    assert_eq!(
        json!(
            round_trip(
                &fixture,
                ColumnType::Numeric {
                    precision: 38,
                    scale: 10
                },
                Arc::new(values)
            )
            .await
        ),
        json!([
            "9999999999999999999999999999.9999999999",
            "-9999999999999999999999999999.9999999999",
            "-0.0000000001",
            "0.0000000000",
            null
        ])
    );
}

async fn texts_and_uuids_keep_every_character(fixture: Fixture) {
    let long = "é".repeat(1_000_000);
    let values = [
        "",
        "'; DROP TABLE t; --",
        "\u{FEFF}\u{10FFFF}\r\n\t\"",
        "1",
        &long,
    ];
    let back = round_trip(&fixture, ColumnType::Text, texts(values.map(Some))).await;
    assert_eq!(back, values);
    let uuid = "958db779-c7c7-5840-9e58-7807b1216ff1";
    assert_eq!(
        json!(
            round_trip(
                &fixture.another().await,
                ColumnType::Uuid,
                texts([Some(uuid), None])
            )
            .await
        ),
        json!([uuid, null])
    );
}

#[tokio::test]
async fn embedded_json_keeps_its_text() {
    let fixture = Fixture::embedded().await;
    let texts = [
        Some(r#"{"b":[1,{"a":null}],"a":"é"}"#),
        Some(r#"{"k":1,"k":2}"#),
        Some("12345678901234567890123"),
        Some("0.1000"),
        Some("\"x\""),
        Some("null"),
        Some("[1e400]"),
        None,
    ];
    let values = Arc::new(StringArray::from(texts.to_vec()));
    let back = round_trip(&fixture, ColumnType::Json, values).await;
    assert_eq!(json!(back), json!(texts));
}

async fn sql_sorts_and_compares_timestamps_of_any_precision(fixture: Fixture) {
    let table = row_table("t", vec![column("at", ColumnType::Timestamp)]);
    let mut writer = fixture.writer(&table).await;
    let values = TimestampMicrosecondArray::from(vec![1_500_000, 1_000_000, 1_000_001, 0])
        .with_timezone("+00:00");
    let arrays = vec![
        Arc::new(values) as ArrayRef,
        integers([1; 4]),
        integers([0; 4]),
        integers(0..4),
        integers([0; 4]),
    ];
    commit(&mut writer, &Change::Append(batch(&table, arrays)), None, 4)
        .await
        .unwrap();
    let first = "SELECT _offset FROM t ORDER BY at LIMIT 1";
    assert_eq!(fixture.number(first).await, 3);
    let third = "SELECT _offset FROM t ORDER BY at LIMIT 1 OFFSET 2";
    assert_eq!(fixture.number(third).await, 2);
    let later = "SELECT count(*) FROM t WHERE at > '1970-01-01T00:00:01+00:00'";
    assert_eq!(fixture.number(later).await, 2);
}

async fn every_type_may_be_part_of_a_key(fixture: Fixture) {
    let types = [
        ("window_start", ColumnType::Timestamp),
        ("a", ColumnType::Double),
        ("b", ColumnType::Boolean),
        (
            "c",
            ColumnType::Numeric {
                precision: 10,
                scale: 2,
            },
        ),
        ("d", ColumnType::Date),
        ("e", ColumnType::Bigint),
    ];
    let mut columns: Vec<_> = types
        .iter()
        .map(|(name, data_type)| column(name, *data_type))
        .collect();
    columns.extend(
        ["_generation", "_partition", "_offset", "_revision"]
            .map(|name| column(name, ColumnType::Bigint)),
    );
    let key = types.iter().map(|(name, _)| (*name).to_owned()).collect();
    let table = Table {
        schema: "shop".to_owned(),
        name: "kpi".to_owned(),
        columns,
        kind: TableKind::Windows { key },
        retention_ms: None,
    };
    let rows = |offset: i64| {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(vec![0; 4]).with_timezone("+00:00")),
            Arc::new(Float64Array::from(vec![
                Some(1.5),
                Some(f64::NAN),
                None,
                Some(1.5),
            ])),
            Arc::new(BooleanArray::from(vec![true; 4])),
            Arc::new(
                Decimal128Array::from(vec![5; 4])
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
            Arc::new(Date32Array::from(vec![1, 1, 1, 2])),
            integers([7; 4]),
            integers([1; 4]),
            integers([0; 4]),
            integers([offset; 4]),
            integers([0; 4]),
        ];
        batch(&table, arrays)
    };
    let mut writer = fixture.writer(&table).await;
    let nothing = rows(0).slice(0, 0);
    commit(
        &mut writer,
        &Change::Windows {
            upserts: rows(1),
            deletes: nothing.clone(),
        },
        None,
        1,
    )
    .await
    .unwrap();
    commit(
        &mut writer,
        &Change::Windows {
            upserts: rows(2),
            deletes: nothing,
        },
        Some(1),
        2,
    )
    .await
    .unwrap();
    assert_eq!(
        fixture
            .number(&format!(
                "SELECT count(*) FROM {} WHERE _offset = 2",
                fixture.name(&table)
            ))
            .await,
        4
    );
    assert_eq!(fixture.count(&table).await, 4);
}

async fn a_batch_of_other_types_is_refused_whole(fixture: Fixture) {
    let table = row_table("t", vec![column("v", ColumnType::Text)]);
    let mut writer = fixture.writer(&table).await;
    let wrong = batch(
        &table,
        vec![
            integers([1]),
            integers([1]),
            integers([0]),
            integers([0]),
            integers([0]),
        ],
    );
    let outcome = commit(&mut writer, &Change::Append(wrong), None, 1).await;
    assert!(
        matches!(&outcome, Err(SinkError::Misfit { reason, .. }) if reason == "column `v` came as Int64 where Text is planned"),
        "{outcome:?}"
    );
}
