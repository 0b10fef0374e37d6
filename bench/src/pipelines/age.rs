//! How old events are when their rows are committed, at a rate that is easy for everybody.
use super::deploy;
use super::entrant::Entrant;
use super::{Job, Stack};
use crate::Failure;
use crate::figures::{Column, Comparison, Row, mib};
use crate::latency::{Ages, PER_SECOND, WARM_UP, await_rows, produce};
use crate::stack::Meter;

/// For how long is measured, seconds.
const MEASURED: usize = 30;

/// One after the other; each has a topic and tables of its own, and is warm when the measurement begins.
pub(super) async fn compare(stack: &mut Stack) -> Result<Comparison, Failure> {
    let mut rows = Vec::new();
    for entrant in Entrant::ALL {
        let values = measure(stack, entrant).await?;
        eprintln!("pipelines: rows of {}: {values:.0?}", entrant.name());
        rows.push(Row {
            name: entrant.name().to_owned(),
            values: values.map(Some).into(),
        });
    }
    let columns = [
        ("p50", "ms"),
        ("p99", "ms"),
        ("longest", "ms"),
        ("own CPU", "s per million"),
        ("Kafka's CPU with the producer's requests", "s per million"),
        ("PostgreSQL's CPU", "s per million"),
        ("peak of memory", "MiB"),
    ];
    Ok(Comparison {
        name: format!(
            "age of rows when they are committed, {PER_SECOND} events a second, rows and windows"
        ),
        columns: columns.map(|(name, unit)| Column::new(name, unit)).into(),
        rows,
    })
}

async fn measure(stack: &mut Stack, entrant: Entrant) -> Result<[f64; 7], Failure> {
    let job = Job::RowsAndWindows;
    deploy(stack, job)?;
    let mut entry = entrant.enter(stack, job).await?;
    entry.start(stack)?;
    let (warm, all) = (WARM_UP * PER_SECOND, (WARM_UP + MEASURED) * PER_SECOND);
    produce(stack, 0..warm)?;
    let begin = Meter::read(stack, entry.id());
    produce(stack, warm..all)?;
    let spent = begin.until(&Meter::read(stack, entry.id()));
    entry.still_runs()?;
    await_rows(entry.database(), all as i64).await?;
    let peak_bytes = entry.peak_bytes();
    let Ages {
        p50, p99, longest, ..
    } = Ages::read(entry.database()).await?;
    entry.leave(stack).await?;
    let million = (MEASURED * PER_SECOND) as f64 / 1e6;
    let [own, kafka, postgres] =
        [spent.contender, spent.kafka, spent.postgres].map(|cpu| cpu.as_secs_f64() / million);
    Ok([p50, p99, longest, own, kafka, postgres, mib(peak_bytes)])
}
