//! Opening a folder: finding the newest state in which everything is whole.
//!
//! The commit log says how long each partition was after each transaction. What segments hold beyond that was never
//! committed and is cut off. Where a segment *ends before*, bytes were lost (the machine failed while nothing forced them to
//! the disk): then the log goes back, in all partitions alike, to before the first transaction that misses any. Bytes that
//! are there and wrong are never passed over: the folder is refused.
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    LogError,
    commit_log::{self, Commit, CommitLog, End, Entry},
    folder::{Folder, list, remove},
    partition::{Partition, Segment, Store},
    segment_file::damaged,
    segment_scan::{Scan, Scanned},
    shared::{State, Topic},
};

/// What a folder held.
pub(crate) struct Recovered {
    pub(crate) state: State,
    /// Sequence of the last committed transaction.
    pub(crate) sequence: u64,
    pub(crate) commits: CommitLog,
}

/// Reads a folder and cuts off what is not committed. `next_segment` gives identities to segments.
pub(crate) fn recover(
    folder: &Folder,
    mut next_segment: impl FnMut() -> u64,
) -> Result<Recovered, LogError> {
    let path = folder.commits();
    if !path.exists() {
        return begin(folder, &path);
    }
    let history = History::of(commit_log::read(&path)?);
    let topics = folder.load_topics()?;
    let mut found = Vec::new();
    for file in &topics {
        for partition in 0..file.settings.partitions.unsigned_abs() {
            let part = history.partition(file.number, partition);
            found.push(inspect(
                &folder.partition(file.number, partition),
                part,
                history.checkpoint,
            )?);
        }
    }
    let sequence = history.whole_up_to(&found, &path)?;
    let mut state = State {
        topics: BTreeMap::new(),
        next_topic: history.topics_made,
    };
    let mut found = found.into_iter();
    for file in topics {
        let mut topic = Topic::new(file.number, file.id, &file.settings);
        for (partition, index) in topic.partitions.iter_mut().zip(0..) {
            let Some(segments) = found.next() else { break };
            settle(
                partition,
                segments,
                history.partition(file.number, index),
                sequence,
                &mut next_segment,
            )?;
        }
        state.next_topic = state.next_topic.max(file.number + 1);
        state.topics.insert(topic.settings.name.clone(), topic);
    }
    let commits = CommitLog::begin(&path, &state.checkpoint(sequence), folder.fsync)?;
    Ok(Recovered {
        state,
        sequence,
        commits,
    })
}

fn begin(folder: &Folder, path: &Path) -> Result<Recovered, LogError> {
    if let Some(topic) = list(&folder.topics())?.first() {
        let reason = format!(
            "{} is there, but the commit log {} is missing",
            topic.display(),
            path.display()
        );
        return Err(LogError::Damaged { reason });
    }
    let state = State::default();
    let commits = CommitLog::begin(path, &state.checkpoint(0), folder.fsync)?;
    Ok(Recovered {
        state,
        sequence: 0,
        commits,
    })
}

/// The commit log by partition.
struct History {
    /// Sequence up to which the commit log only says the outcome.
    checkpoint: u64,
    newest: u64,
    partitions: HashMap<(u32, u32), Part>,
    topics_made: u32,
}

/// What the commit log says of a partition.
#[derive(Default)]
struct Part {
    /// Where it ended after each transaction that wrote to it, with the transaction's sequence.
    ends: Vec<(u64, End)>,
    /// The oldest offset.
    start: i64,
}

impl History {
    fn of(commits: Vec<Commit>) -> Self {
        let checkpoint = commits.first().map_or(0, |commit| commit.sequence);
        let newest = commits.last().map_or(0, |commit| commit.sequence);
        let mut history = Self {
            checkpoint,
            newest,
            partitions: HashMap::new(),
            topics_made: 0,
        };
        for commit in commits {
            for entry in commit.entries {
                history.note(commit.sequence, entry);
            }
        }
        history
    }

    fn note(&mut self, sequence: u64, entry: Entry) {
        match entry {
            Entry::End(end) => {
                let part = self
                    .partitions
                    .entry((end.topic, end.partition))
                    .or_default();
                part.ends.push((sequence, end));
            }
            Entry::Start {
                topic,
                partition,
                offset,
            } => {
                let part = self.partitions.entry((topic, partition)).or_default();
                part.start = part.start.max(offset);
            }
            Entry::TopicsMade(topics) => self.topics_made = self.topics_made.max(topics),
        }
    }

    fn partition(&self, topic: u32, partition: u32) -> &Part {
        static NOTHING: Part = Part {
            ends: Vec::new(),
            start: 0,
        };
        self.partitions.get(&(topic, partition)).unwrap_or(&NOTHING)
    }

    /// The newest transaction up to which nothing is missing.
    fn whole_up_to(&self, found: &[Found], path: &Path) -> Result<u64, LogError> {
        let Some((torn, file)) = found
            .iter()
            .filter_map(|found| found.torn.as_ref())
            .min_by_key(|(torn, _)| *torn)
        else {
            return Ok(self.newest);
        };
        if *torn <= self.checkpoint {
            return Err(damaged(
                file,
                0,
                "the file lacks bytes that were committed long ago",
            ));
        }
        tracing::warn!(
            commits = %path.display(),
            transactions = self.newest + 1 - torn,
            "the newest transactions did not reach the disk before the machine failed; the log ends before them"
        );
        Ok(torn - 1)
    }
}

/// The segments of a partition as they were found.
#[derive(Default)]
struct Found {
    segments: Vec<Scanned>,
    /// The first transaction that misses bytes, and in which file.
    torn: Option<(u64, PathBuf)>,
}

/// Reads the segments of a partition, removing those that were never committed, are replaced, or are not needed any more.
fn inspect(folder: &Path, part: &Part, checkpoint: u64) -> Result<Found, LogError> {
    let files = segment_files(folder)?;
    let Some((_, last)) = part.ends.last() else {
        files.iter().for_each(|(_, path)| remove(path));
        return Ok(Found::default());
    };
    let mut found = Found::default();
    for (base, path) in &files {
        let is_last = *base == last.segment_base;
        let is_uncommitted = *base > last.segment_base || (is_last && last.segment_bytes == 0);
        let is_forgotten = is_last && last.next_offset <= part.start;
        let is_replaced = found.segments.last().is_some_and(|before| {
            before
                .header
                .compacted
                .is_some_and(|(next_offset, _)| *base < next_offset)
        });
        if is_uncommitted || is_forgotten || is_replaced {
            remove(path);
            continue;
        }
        let expected = found
            .segments
            .last()
            .map_or((*base).min(part.start), |before| before.next_offset);
        if *base != expected {
            return Err(damaged(
                path,
                0,
                &format!("the segment before this one is missing from offset {expected} on"),
            ));
        }
        let scan = if is_last {
            Scan::open(
                last.segment_bytes,
                part.known_bytes(checkpoint, last.segment_base),
            )
        } else {
            Scan::closed()
        };
        let scanned = scan.run(path, *base)?;
        if !is_last && scanned.next_offset <= part.start {
            remove(path);
        } else {
            found.segments.push(scanned);
        }
    }
    found.torn = part.first_torn(found.segments.last(), folder);
    Ok(found)
}

impl Part {
    /// How long a segment was when the commit log began: so far it is for its readers to check.
    fn known_bytes(&self, checkpoint: u64, segment_base: i64) -> u64 {
        let known = self
            .ends
            .iter()
            .take_while(|(sequence, _)| *sequence <= checkpoint);
        let known = known
            .filter(|(_, end)| end.segment_base == segment_base)
            .last();
        known.map_or(0, |(_, end)| end.segment_bytes)
    }

    /// The first transaction whose frames are not all there.
    fn first_torn(&self, last: Option<&Scanned>, folder: &Path) -> Option<(u64, PathBuf)> {
        let is_whole = |end: &End| {
            let is_forgotten = end.next_offset <= self.start || end.segment_bytes == 0;
            is_forgotten
                || last.is_some_and(|last| {
                    let base = last.header.base_offset;
                    end.segment_base < base
                        || (end.segment_base == base && end.segment_bytes <= last.bytes)
                })
        };
        let (sequence, _) = self.ends.iter().find(|(_, end)| !is_whole(end))?;
        Some((
            *sequence,
            last.map_or(folder.to_owned(), |last| last.path.clone()),
        ))
    }
}

/// The segment files of a partition by their first offset, without what an interrupted compaction left.
fn segment_files(folder: &Path) -> Result<Vec<(i64, PathBuf)>, LogError> {
    let mut files = Vec::new();
    for path in list(folder)? {
        let base = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| stem.parse().ok());
        match (
            base,
            path.extension().and_then(|extension| extension.to_str()),
        ) {
            (Some(base), Some("segment")) => files.push((base, path)),
            (_, Some("compacting")) => remove(&path),
            _ => {}
        }
    }
    Ok(files)
}

/// Makes a partition of what was found, as it was after a transaction.
fn settle(
    partition: &mut Partition,
    found: Found,
    part: &Part,
    sequence: u64,
    next_segment: &mut impl FnMut() -> u64,
) -> Result<(), LogError> {
    let end = part
        .ends
        .iter()
        .rev()
        .find(|(written, _)| *written <= sequence)
        .map(|(_, end)| *end);
    for mut scanned in found.segments {
        let base = scanned.header.base_offset;
        let Some(end) = end.filter(|end| base <= end.segment_base && end.segment_bytes > 0) else {
            remove(&scanned.path);
            continue;
        };
        let is_last = base == end.segment_base;
        if is_last {
            scanned.cut(&end)?;
        }
        partition.segments.push(Segment {
            id: next_segment(),
            base_offset: base,
            next_offset: scanned.next_offset,
            bytes: scanned.bytes,
            newest_ms: scanned.newest_ms,
            closed: !is_last,
            compacted: scanned.header.compacted.is_some(),
            store: Store::File {
                path: Arc::from(scanned.path),
                index: scanned.index,
            },
        });
    }
    partition.end = end.map_or(0, |end| end.next_offset);
    partition.start = part.start.min(partition.end);
    partition.append_time_ms = end.map_or(i64::MIN, |end| end.append_time_ms);
    Ok(())
}
