//! Pipelines from Kafka to PostgreSQL, by a worker and by what people use today: the same events, the same servers, by turns.
mod age;
mod entrant;
mod truth;

use std::time::{Duration, Instant};

use bytes::Bytes;

use self::entrant::{Entrant, Entry};
use self::truth::Truth;
use crate::Failure;
use crate::contest::{Contender, Round, Spent, comparison};
use crate::events::Events;
use crate::figures::{Column, Comparison, Report, Row};
use crate::latency::PER_SECOND;
use crate::pipeline::{BY_METHOD_SHORT, EVENTS as EVERY_EVENT, SHORT_WINDOWS, resources};
use crate::stack::{Meter, Stack, Topic};

const EVENTS: usize = 3_000_000;
const PARTITIONS: u32 = 6;
/// The share of the events after which is measured: programs have started, and tables and indexes are no longer empty.
const WARM_UP: f64 = 0.25;
/// Who is not done after this much more is stopped there, and measured so far.
const LONGEST: Duration = Duration::from_secs(30);
/// Who has nothing new for this long has come to its end, whatever is missing. Longer than it takes to notice that somebody is gone.
const QUIET: Duration = Duration::from_secs(25);
/// How long it may take until there are results.
const BEGINS_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many events there are at most for those who are killed: they all go on to the end, which takes the slowest of them long.
const KILLED_WITH: usize = 4_000_000;
/// What was under way when somebody was killed is committed by then, and nobody is back sooner.
const UNDER_WAY: Duration = Duration::from_millis(500);
/// How far who is killed has come.
const KILLED_AFTER: f64 = 0.4;
const HOUR_MS: i64 = 3_600_000;

/// What is made of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Windows,
    RowsAndWindows,
}

/// How far an entrant came.
struct Caught {
    /// Events.
    events: f64,
    spent: Spent,
    /// Whether there was nothing more to come.
    ended: bool,
}

impl Job {
    fn name(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::RowsAndWindows => "rows and windows",
        }
    }

    /// What peers are told.
    fn argument(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::RowsAndWindows => "rows",
        }
    }

    fn outputs(self) -> &'static [&'static str] {
        match self {
            Self::Windows => &[SHORT_WINDOWS],
            Self::RowsAndWindows => &[SHORT_WINDOWS, EVERY_EVENT],
        }
    }
}

pub(crate) fn measure(events: Option<usize>, rounds: usize) -> Result<Report, Failure> {
    let events = events.unwrap_or(EVENTS);
    let runtime = crate::runtime()?;
    runtime.block_on(run(events, rounds))
}

async fn run(events: usize, rounds: usize) -> Result<Report, Failure> {
    let (lines, truth) = make(events)?;
    let mut stack = Stack::start()?;
    let mut report = Report::of_rounds(
        "pipelines",
        format!(
            "from a topic of {PARTITIONS} partitions that is full to PostgreSQL, windows of 10 s by method (count, sum, least, greatest), and \
             with them every event as a row; measured between the moments when a quarter of the events and all of them are in windows that \
             are committed (who takes more than {} s is stopped there), so that starting is left out; medians of {rounds} rounds, by turns; \
             all share this machine",
            LONGEST.as_secs()
        ),
        events,
        rounds,
    );
    for job in [Job::Windows, Job::RowsAndWindows] {
        let contenders = catch_up_by_turns(&mut stack, job, rounds, &lines, &truth).await?;
        let name = format!("{}, {events} events", job.name());
        report.comparisons.push(comparison(&name, &contenders));
    }
    // They take half a KB each, and nobody needs all of them any more.
    drop((lines, truth));
    let (lines, truth) = make(events.min(KILLED_WITH))?;
    report
        .comparisons
        .push(killed(&mut stack, &lines, &truth).await?);
    report.comparisons.push(age::compare(&mut stack).await?);
    for entrant in Entrant::ALL {
        report.set(entrant.name(), entrant.settings()?);
    }
    report.set(
        "Kafka",
        format!(
            "{}, one broker with the Java options of its own scripts (heap 1 GiB, G1), {PARTITIONS} partitions, lz4",
            tidewheel_e2e::kafka::VERSION
        ),
    );
    let version = stack.postgres.sql("postgres", "SHOW server_version")?;
    report.set(
        "PostgreSQL",
        format!("{version}, fsync and full_page_writes on, shared_buffers 1 GB, max_wal_size 8 GB; tables of peers have the same columns, but for the engine's own"),
    );
    Ok(report)
}

/// Events, after them for each partition one that closes every window, and what all that must become.
fn make(events: usize) -> Result<(Vec<Bytes>, Truth), Failure> {
    let mut source = Events::new(8, 10_000, PER_SECOND as u64);
    let (_, mut lines) = source.lines(events);
    let truth = Truth::of(&lines, PARTITIONS)?;
    // As many as there are partitions come by turns to each of them.
    for _ in 0..PARTITIONS {
        let closing = source.at(truth.end_ms + HOUR_MS);
        lines.push(Bytes::copy_from_slice(closing.as_bytes()));
    }
    Ok((lines, truth))
}

fn deploy(stack: &mut Stack, job: Job) -> Result<(), Failure> {
    stack.deploy(|namespace| {
        resources(
            namespace,
            "Drop",
            PARTITIONS,
            BY_METHOD_SHORT,
            job.outputs(),
        )
    })
}

fn fill(stack: &Stack, lines: &[Bytes]) -> Result<(), Failure> {
    let topic = Topic {
        partitions: PARTITIONS,
        events: lines.len(),
    };
    topic.fill(stack, lines)?;
    Ok(())
}

async fn catch_up_by_turns(
    stack: &mut Stack,
    job: Job,
    rounds: usize,
    lines: &[Bytes],
    truth: &Truth,
) -> Result<Vec<Contender>, Failure> {
    let mut contenders = Entrant::ALL.map(|entrant| Contender::new(entrant.name()));
    for round in 1..=rounds {
        deploy(stack, job)?;
        fill(stack, lines)?;
        for turn in 0..Entrant::ALL.len() {
            let index = (turn + round) % Entrant::ALL.len();
            let entrant = Entrant::ALL[index];
            let mut entry = entrant.enter(stack, job).await?;
            entry.start(stack)?;
            let caught = catch_up(stack, &mut entry, job, truth).await?;
            let peak_bytes = entry.peak_bytes();
            entry.kill();
            let verdict = match caught.ended {
                true => Some(entry.judge(truth).await?),
                false => None,
            };
            entry.leave(stack).await?;
            contenders[index].rounds.push(Round {
                events: caught.events,
                spent: caught.spent,
                peak_bytes,
                answers: Vec::new(),
                verdict,
            });
            eprintln!(
                "pipelines: {}, round {round} of {rounds}, {}: {:.0} events in {:.1} s",
                job.name(),
                entrant.name(),
                caught.events,
                caught.spent.took.as_secs_f64()
            );
        }
    }
    Ok(contenders.into())
}

/// From the end of the warm-up until there is nothing more to come, or time is up.
async fn catch_up(
    stack: &Stack,
    entry: &mut Entry,
    job: Job,
    truth: &Truth,
) -> Result<Caught, Failure> {
    let mut first: Option<(Instant, Meter, u64)> = None;
    let (mut newest, mut changed) = (0, Instant::now());
    loop {
        let covered = entry.covered(truth).await?;
        entry.still_runs()?;
        if covered != newest {
            (newest, changed) = (covered, Instant::now());
        }
        let warm = covered as f64 >= truth.events as f64 * WARM_UP;
        if warm && first.is_none() {
            first = Some((Instant::now(), Meter::read(stack, entry.id()), covered));
        }
        let quiet = newest > 0 && changed.elapsed() > QUIET;
        if changed.elapsed() > BEGINS_WITHIN {
            return Err("it has no results".into());
        }
        let late = first.is_some_and(|(at, ..)| at.elapsed() > LONGEST);
        if covered >= truth.events || quiet || late {
            let (now, (at, begin, before)) = (
                Meter::read(stack, entry.id()),
                first.ok_or("nothing comes: it did not get past the warm-up")?,
            );
            let complete = covered >= truth.events
                && (job == Job::Windows || entry.rows().await? >= truth.rows);
            if complete || quiet || late {
                if covered == before {
                    return Err("it was done before it began: give it more events".into());
                }
                let mut spent = begin.until(&now);
                if quiet {
                    // It was waited for in vain.
                    spent.took = changed.saturating_duration_since(at);
                }
                return Ok(Caught {
                    events: (covered - before) as f64,
                    spent,
                    ended: complete || quiet,
                });
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Kills each entrant once in the middle of its work, starts it again at once, and looks at what has become of the events.
async fn killed(stack: &mut Stack, lines: &[Bytes], truth: &Truth) -> Result<Comparison, Failure> {
    let job = Job::RowsAndWindows;
    deploy(stack, job)?;
    fill(stack, lines)?;
    let mut rows = Vec::new();
    for entrant in Entrant::ALL {
        let mut entry = entrant.enter(stack, job).await?;
        entry.start(stack)?;
        let far_enough = (truth.events as f64 * KILLED_AFTER) as u64;
        await_covered(&mut entry, truth, far_enough).await?;
        entry.kill();
        let begin = Instant::now();
        entry.start(stack)?;
        tokio::time::sleep(UNDER_WAY).await;
        let before = entry.covered(truth).await?;
        await_covered(&mut entry, truth, before + 1).await?;
        let recovered = begin.elapsed();
        await_quiet(&mut entry).await?;
        entry.kill();
        let verdict = entry.judge(truth).await?;
        entry.leave(stack).await?;
        let counts = [
            verdict.rows_lost,
            verdict.rows_doubled,
            verdict.counts_lost,
            verdict.counts_doubled,
        ];
        let mut values = counts.map(|count| Some(count as f64)).to_vec();
        values.push(Some(recovered.as_secs_f64()));
        rows.push(Row {
            name: entrant.name().to_owned(),
            values,
        });
        eprintln!("pipelines: {} was killed: {verdict:?}", entrant.name());
    }
    let columns = [
        ("rows lost", "events"),
        ("rows doubled", "events"),
        ("lost in windows", "events"),
        ("doubled in windows", "events"),
        ("next result after", "s"),
    ];
    Ok(Comparison {
        name: format!(
            "kill -9 amid rows and windows of {} events, and started again",
            truth.events
        ),
        columns: columns.map(Column::from).into(),
        rows,
    })
}

/// Waits until so many events are in windows that are committed.
async fn await_covered(entry: &mut Entry, truth: &Truth, events: u64) -> Result<u64, Failure> {
    let (mut newest, mut changed) = (0, Instant::now());
    loop {
        let covered = entry.covered(truth).await?;
        entry.still_runs()?;
        if covered >= events {
            return Ok(covered);
        }
        if covered != newest {
            (newest, changed) = (covered, Instant::now());
        }
        if changed.elapsed() > BEGINS_WITHIN {
            return Err(format!("it stays at {covered} of {events} events").into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until nothing new has come for a while.
async fn await_quiet(entry: &mut Entry) -> Result<(), Failure> {
    let (mut newest, mut changed) = (0, Instant::now());
    while changed.elapsed() < QUIET {
        let rows = entry.rows().await?;
        entry.still_runs()?;
        if rows != newest {
            (newest, changed) = (rows, Instant::now());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
