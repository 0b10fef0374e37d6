//! Decoding and windows in the engine, against bare arrow-json.
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow_json::ReaderBuilder;
use bytes::Bytes;
use tidewheel_log::Record;
use tidewheel_planner::plan::Plan;

use crate::Failure;
use crate::engine::Engine;
use crate::events::{Events, START_MS};
use crate::figures::Report;
use crate::pipeline::{BY_METHOD, BY_USER, WINDOWS, plan};

const EVENTS: usize = 1_000_000;
/// What a worker takes at once.
const BATCH: usize = 8_192;
const ROUNDS: usize = 5;
const KEYS: u64 = 100_000;
const PER_SECOND: u64 = 5_000;

/// A micro-batch: its lines as one buffer, and its events as records.
struct Batch {
    lines: Bytes,
    records: Vec<Record>,
}

pub(crate) fn measure(events: Option<usize>) -> Result<Report, Failure> {
    let events = events.unwrap_or(EVENTS);
    eprintln!("decode: making {events} events");
    let batches = batches(events);
    let bytes: usize = batches.iter().map(|batch| batch.lines.len()).sum();
    let (dropping, keeping) = (
        plan("Drop", 1, BY_METHOD, &[WINDOWS])?,
        plan("Keep", 1, BY_METHOD, &[WINDOWS])?,
    );
    let demanding = plan("Drop", 1, BY_USER, &[WINDOWS])?;
    let schema = declared_schema();
    // By turns, so that whatever else the machine does hits all alike.
    let mut seconds = [const { Vec::new() }; 6];
    for round in 0..=ROUNDS {
        let taken = [
            timed(|| arrow_json(&schema, &batches, events))?,
            timed(|| engine(&dropping, &batches))?,
            timed(|| engine(&keeping, &batches))?,
            timed(|| engine(&demanding, &batches))?,
            timed(|| decoder(&dropping, &batches))?,
            timed(|| decoder(&keeping, &batches))?,
        ];
        eprintln!("decode: round {round} of {ROUNDS}");
        // The first round warms caches and allocator.
        if round > 0 {
            seconds
                .iter_mut()
                .zip(taken)
                .for_each(|(all, one)| all.push(one));
        }
    }
    let [bare, dropped, kept, by_user, decoded, decoded_kept] = seconds;
    let mut report = Report::new(
        "decode",
        format!(
            "{events} events of {} bytes in micro-batches of {BATCH}, one thread; medians of {ROUNDS} rounds",
            bytes / events.max(1)
        ),
        events,
    );
    for (name, seconds) in [
        ("engine, both stages, unknown fields dropped", &dropped),
        ("engine, both stages, unknown fields kept", &kept),
        (
            "engine, deduplication and windows by user, dropped",
            &by_user,
        ),
        ("our decoder alone, dropped", &decoded),
        ("our decoder alone, kept", &decoded_kept),
    ] {
        report.add_ratio(&format!("{name} / arrow-json"), &bare, seconds);
        report.add_rate(name, events, seconds);
    }
    report.add_rate("arrow-json, decoding only", events, &bare);
    Ok(report)
}

fn batches(events: usize) -> Vec<Batch> {
    let mut source = Events::new(1, KEYS, PER_SECOND);
    let mut batches = Vec::new();
    for first in (0..events).step_by(BATCH) {
        let (lines, records) = source.records(first, BATCH.min(events - first));
        batches.push(Batch { lines, records });
    }
    batches
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64())
}

/// The same columns, for arrow-json: it knows no paths, so the nested ones come as a struct.
fn declared_schema() -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let attributes = Fields::from(vec![
        Field::new("user_id", DataType::Utf8, true),
        Field::new("metric", DataType::Float64, true),
        Field::new("method", DataType::Utf8, true),
        Field::new("code", DataType::Int64, true),
    ]);
    Arc::new(Schema::new(vec![
        Field::new("event_id", DataType::Utf8, false),
        Field::new("source", DataType::Utf8, false),
        Field::new("timestamp", utc, false),
        Field::new("attributes", DataType::Struct(attributes), true),
    ]))
}

fn arrow_json(schema: &SchemaRef, batches: &[Batch], events: usize) -> Result<(), Failure> {
    let mut decoder = ReaderBuilder::new(schema.clone())
        .with_batch_size(BATCH)
        .build_decoder()?;
    let mut rows = 0;
    for batch in batches {
        let mut rest = batch.lines.as_ref();
        while !rest.is_empty() {
            let read = decoder.decode(rest)?;
            rest = &rest[read..];
            if read == 0 {
                break;
            }
        }
        rows += decoder.flush()?.map_or(0, |batch| batch.num_rows());
    }
    expect(rows, events)
}

fn engine(plan: &Arc<Plan>, batches: &[Batch]) -> Result<(), Failure> {
    let mut engine = Engine::new(plan)?;
    for batch in batches {
        engine.take(&batch.records)?;
    }
    engine.close(START_MS)?;
    if engine.rows == 0 {
        return Err("no window was emitted".into());
    }
    Ok(())
}

fn decoder(plan: &Arc<Plan>, batches: &[Batch]) -> Result<(), Failure> {
    let mut decoder = tidewheel_decode::Decoder::new(plan.sources[0].events.clone());
    let mut rows = 0;
    for batch in batches {
        rows += decoder
            .decode(
                batch
                    .records
                    .iter()
                    .filter_map(|record| record.value.as_deref()),
            )
            .rows
            .len();
    }
    expect(rows, batches.iter().map(|batch| batch.records.len()).sum())
}

fn expect(found: usize, wanted: usize) -> Result<(), Failure> {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{found} rows of {wanted}").into())
    }
}
