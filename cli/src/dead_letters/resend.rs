//! `tidewheel dead-letters resend`.
//!
//! Whoever sends takes the pipeline's transactional id for that, which ends what others had begun, and then reads which letters were sent.
//! That is known only up to the oldest transaction that is open, and workers have open ones among the letters: so the sender first writes a
//! note of its own, and has read enough when it has read that. From then on nobody else can send: each of its transactions holds records and
//! the note that their letters were sent.
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::time::Duration;

use tidewheel_engine::wire::dead_letter::Letter;
use tidewheel_engine::wire::sent_again::Note;
use tidewheel_log::{Home, LogError, NewRecord, Producer};
use tokio::time::Instant;
use uuid::Uuid;

use super::args::ResendArgs;
use super::letters::{Found, Letters};
use super::outcome::{Chosen, Outcome, write_json, write_table};
use crate::failure::{Exit, Failure};
use crate::printed::Format;

/// A transaction has at most so many records, and about so many bytes of them.
const BATCH_RECORDS: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
/// How long the sender waits for transactions of workers to end.
const WORKERS_END_WITHIN: Duration = Duration::from_secs(60);
const FETCH_RECORDS: usize = 1_000;
const FETCH_BYTES: usize = 1 << 20;
const FETCH_WAIT: Duration = Duration::from_secs(1);
/// What has happened to whom the log says to be fenced.
const OTHERS: &str = "somebody else has begun to send letters of this Pipeline again";

pub(super) async fn run(args: &ResendArgs) -> Result<Exit, Failure> {
    if args.offsets.is_empty() && args.filter.is_all() && !args.all {
        return Err(Failure::usage(
            "nothing says which letters are meant",
            "name their offsets, or choose with --reason, --step, --output or others, or give --all",
        ));
    }
    let letters = Letters::open(&args.place).await?;
    let mut sender = match args.dry_run {
        true => None,
        false => Some(Sender::begin(&letters).await?),
    };
    let mut chosen = choose(&letters, args).await?;
    let sent = match &mut sender {
        Some(sender) => sender.send(&letters, &mut chosen).await,
        None => Ok(()),
    };
    let mut out = io::stdout().lock();
    match args.output_format {
        Format::Json => write_json(&mut out, &chosen)?,
        Format::Table => write_table(&mut out, &chosen)?,
    }
    out.flush()?;
    sent?;
    let is_named = |one: &Chosen| args.offsets.contains(&one.offset);
    let cannot = |one: &Chosen| matches!(one.outcome, Outcome::Cannot(_));
    let is_missing = chosen.iter().any(|one| is_named(one) && cannot(one));
    Ok(if is_missing { Exit::Failed } else { Exit::Good })
}

/// The letters that are meant, each with what can become of it.
async fn choose(letters: &Letters, args: &ResendArgs) -> Result<Vec<Chosen>, Failure> {
    let named: BTreeSet<i64> = args.offsets.iter().copied().collect();
    let is_meant = |found: &Found| match named.is_empty() {
        true => args.filter.takes(found),
        false => named.contains(&found.offset),
    };
    let mut chosen = Vec::new();
    let look = |found: Found| {
        if is_meant(&found) {
            chosen.push(Chosen::judge(&found, &letters.pipeline, &args.append_to));
        }
    };
    letters.each(look).await?;
    let there = chosen.iter().map(|one| one.offset).collect();
    if let Some(&missing) = named.difference(&there).next() {
        return Err(letters.no_letter(missing));
    }
    let topics: BTreeSet<&str> = chosen.iter().filter_map(Chosen::due_topic).collect();
    let mut partitions = BTreeMap::new();
    for topic in topics {
        if let Some(info) = letters.log.topic(topic).await? {
            partitions.insert(topic.to_owned(), info.partitions);
        }
    }
    for one in &mut chosen {
        one.find_place(&partitions);
    }
    Ok(chosen)
}

/// The only one who sends letters of a pipeline again, until somebody else begins to.
struct Sender {
    producer: Box<dyn Producer>,
    run: String,
}

/// Letters that are sent in one transaction.
#[derive(Default)]
struct Batch {
    /// Each with the offset of its letter.
    records: Vec<(i64, NewRecord)>,
    bytes: usize,
}

impl Sender {
    /// Takes over, and waits until what others have sent is known.
    async fn begin(letters: &Letters) -> Result<Self, Failure> {
        let log = letters.log.as_ref();
        let producer = log.producer(&letters.pipeline.names().sender()).await?;
        let mut sender = Self {
            producer,
            run: Uuid::new_v4().simple().to_string(),
        };
        let end = log.offsets(&letters.topic, 0).await?.end;
        let home = Home {
            topic: letters.topic.clone(),
            partition: 0,
            undecided_from: end,
            newest_headers: Vec::new(),
        };
        sender.producer.settle(home).await?;
        let note = Note::new(&sender.run, Vec::new()).record(&letters.topic);
        let begun = sender.producer.commit(vec![note]).await;
        begun.map_err(|error| match error {
            LogError::Fenced { .. } => {
                Failure::Run(format!("{OTHERS}: nothing was sent by this run"))
            }
            other => other.into(),
        })?;
        let mut reader = log.reader(&letters.topic, 0, end).await?;
        let give_up = Instant::now() + WORKERS_END_WITHIN;
        loop {
            let fetched = reader.fetch(FETCH_RECORDS, FETCH_BYTES, FETCH_WAIT).await?;
            let notes = fetched
                .records
                .iter()
                .filter_map(|record| Note::read(record).ok().flatten());
            if notes.map(|note| note.run).any(|run| run == sender.run) {
                return Ok(sender);
            }
            if Instant::now() > give_up {
                return Err(Failure::Run(format!(
                    "a transaction over {} has been open for {} s, and nobody can read what comes after it: look at the workers of {}, and run this again",
                    letters.topic,
                    WORKERS_END_WITHIN.as_secs(),
                    letters.pipeline
                )));
            }
        }
    }

    /// Sends the letters that are due, and says so of each.
    async fn send(&mut self, letters: &Letters, chosen: &mut [Chosen]) -> Result<(), Failure> {
        let is_due = |one: &&mut Chosen| one.outcome == Outcome::Due;
        let mut due: BTreeMap<i64, &mut Outcome> = chosen
            .iter_mut()
            .filter(is_due)
            .map(|one| (one.offset, &mut one.outcome))
            .collect();
        let (Some(&first), Some(&last)) = (due.keys().next(), due.keys().next_back()) else {
            return Ok(());
        };
        let mut reader = letters.log.reader(&letters.topic, 0, first).await?;
        let mut batch = Batch::default();
        loop {
            let fetched = reader.fetch(FETCH_RECORDS, FETCH_BYTES, FETCH_WAIT).await?;
            for record in &fetched.records {
                let Some(outcome) = due.get_mut(&record.offset) else {
                    continue;
                };
                let letter =
                    Letter::read(record).map_err(|error| Failure::Run(error.to_string()))?;
                match letter.send_again(&letters.pipeline.to_string(), record) {
                    Err(cannot) => **outcome = Outcome::Cannot(cannot.to_string()),
                    Ok(again) => batch.push(record.offset, again),
                }
                if batch.is_full() {
                    self.commit(letters, std::mem::take(&mut batch), &mut due)
                        .await?;
                }
            }
            if fetched.next_offset > last || fetched.at_end {
                self.commit(letters, batch, &mut due).await?;
                break;
            }
        }
        for outcome in due
            .into_values()
            .filter(|outcome| **outcome == Outcome::Due)
        {
            *outcome = Outcome::Cannot("it has gone past its retention".to_owned());
        }
        Ok(())
    }

    /// Sends a batch in one transaction; where that is too large for the topics, each of its letters in one of its own.
    async fn commit(
        &mut self,
        letters: &Letters,
        batch: Batch,
        due: &mut BTreeMap<i64, &mut Outcome>,
    ) -> Result<(), Failure> {
        if batch.records.is_empty() {
            return Ok(());
        }
        let is_one = batch.records.len() == 1;
        let offsets: Vec<i64> = batch.records.iter().map(|(offset, _)| *offset).collect();
        let outcome = match self.try_commit(letters, &batch.records).await {
            Ok(()) => Outcome::Sent,
            Err(error @ LogError::TooLarge { .. }) if is_one => Outcome::Cannot(error.to_string()),
            Err(LogError::TooLarge { .. }) => {
                for one in batch.records {
                    let mut alone = Batch::default();
                    alone.push(one.0, one.1);
                    Box::pin(self.commit(letters, alone, due)).await?;
                }
                return Ok(());
            }
            Err(error) => return Err(interrupted(&error, &offsets)),
        };
        for offset in offsets {
            if let Some(of) = due.get_mut(&offset) {
                **of = outcome.clone();
            }
        }
        Ok(())
    }

    async fn try_commit(
        &mut self,
        letters: &Letters,
        records: &[(i64, NewRecord)],
    ) -> Result<(), LogError> {
        let offsets = records.iter().map(|(offset, _)| *offset).collect();
        let mut all: Vec<NewRecord> = records.iter().map(|(_, record)| record.clone()).collect();
        all.push(Note::new(&self.run, offsets).record(&letters.topic));
        self.producer.commit(all).await
    }
}

impl Batch {
    fn push(&mut self, letter: i64, record: NewRecord) {
        self.bytes += record.value.as_ref().map_or(0, bytes::Bytes::len);
        self.records.push((letter, record));
    }

    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }
}

/// Why it went no further, and what is known of the letters in hand.
fn interrupted(error: &LogError, offsets: &[i64]) -> Failure {
    let (first, last) = (offsets.first(), offsets.last());
    let range = format!("{} to {}", first.unwrap_or(&0), last.unwrap_or(&0));
    Failure::Run(match error {
        LogError::Fenced { .. } => format!(
            "{OTHERS}: those from {range} on were not sent by this run; run it again to see what is left"
        ),
        LogError::Unavailable { .. } => format!(
            "{error}; whether the letters {range} were sent is not known: run this again, and it sends those that were not"
        ),
        other => format!("{other}; the letters from {range} on were not sent"),
    })
}
