//! How old events are when their rows are committed, at a rate that is easy for everybody.
use super::entrant::Entrant;
use super::{Job, deploy};
use crate::Failure;
use crate::figures::{Column, Comparison, Row, mib};
use crate::latency::{PER_SECOND, Passed};
use crate::stack::Stack;

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
        columns: columns.map(Column::from).into(),
        rows,
    })
}

async fn measure(stack: &mut Stack, entrant: Entrant) -> Result<[f64; 7], Failure> {
    let job = Job::RowsAndWindows;
    deploy(stack, job)?;
    let mut entry = entrant.enter(stack, job).await?;
    entry.start(stack)?;
    let events = MEASURED * PER_SECOND;
    let passed = Passed::measure(stack, entry.id(), entry.database(), events).await?;
    entry.still_runs()?;
    let peak_mib = mib(entry.peak_bytes());
    entry.leave(stack).await?;
    let Passed {
        p50_ms,
        p99_ms,
        longest_ms,
        cpu: [own, kafka, postgres],
        ..
    } = passed;
    Ok([p50_ms, p99_ms, longest_ms, own, kafka, postgres, peak_mib])
}
