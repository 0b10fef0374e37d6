//! The commit log: what counts after a crash.
//!
//! A transaction first writes its frames to the segments of its partitions, then one frame here; only that commits it. What
//! segments hold beyond the newest frame here never happened. The file is replaced now and then by one that begins with a
//! single frame that says it all, written beside it and renamed over it.
//!
//! The file begins with 16 bytes, little-endian: the 8 bytes `TWHL-COM`, the version of the format as u32 (1), the
//! CRC-32 of those 12 bytes. A frame is:
//!
//! | at | type | |
//! |---|---|---|
//! | 0 | u32 | length of the body in bytes |
//! | 4 | u32 | CRC-32 of the body |
//! | 8 | u64 | sequence of the transaction |
//! | 16 | u32 | CRC-32 of bytes 0 to 16 |
//! | 20 | | body: entries, each a byte that tells its kind, and what follows |
//!
//! | kind | fields |
//! |---|---|
//! | 1, end of a partition | topic u32, partition u32, first offset of its last segment i64, bytes of that segment's file u64, next offset i64, newest append time i64 |
//! | 2, start of a partition | topic u32, partition u32, oldest offset i64 |
//! | 3, topics | how many topics were ever made u32 |
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{
    LogError,
    frame::array,
    segment_file::{damaged, unavailable},
};

const MAGIC: &[u8; 8] = b"TWHL-COM";
const VERSION: u32 = 1;
const FILE_HEADER_BYTES: usize = 16;
const HEADER_BYTES: usize = 20;
/// Size from which the file is replaced by a shorter one, bytes.
const LONG_BYTES: u64 = 4 << 20;

/// What one frame of the commit log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) sequence: u64,
    pub(crate) entries: Vec<Entry>,
}

/// A fact that is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    End(End),
    Start {
        topic: u32,
        partition: u32,
        offset: i64,
    },
    TopicsMade(u32),
}

/// Where a partition ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) topic: u32,
    pub(crate) partition: u32,
    pub(crate) segment_base: i64,
    /// Length of that segment's file; 0 where all of the partition was forgotten.
    pub(crate) segment_bytes: u64,
    pub(crate) next_offset: i64,
    pub(crate) append_time_ms: i64,
}

impl Commit {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        self.entries.iter().for_each(|entry| entry.encode(&mut out));
        let body_bytes = (out.len() - HEADER_BYTES) as u32;
        let body_crc = crc32fast::hash(&out[HEADER_BYTES..]);
        out[0..4].copy_from_slice(&body_bytes.to_le_bytes());
        out[4..8].copy_from_slice(&body_crc.to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        let crc = crc32fast::hash(&out[..16]);
        out[16..20].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

impl Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::End(End {
                topic,
                partition,
                segment_base,
                segment_bytes,
                next_offset,
                append_time_ms,
            }) => {
                out.push(1);
                out.extend(topic.to_le_bytes());
                out.extend(partition.to_le_bytes());
                out.extend(segment_base.to_le_bytes());
                out.extend(segment_bytes.to_le_bytes());
                out.extend(next_offset.to_le_bytes());
                out.extend(append_time_ms.to_le_bytes());
            }
            Self::Start {
                topic,
                partition,
                offset,
            } => {
                out.push(2);
                out.extend(topic.to_le_bytes());
                out.extend(partition.to_le_bytes());
                out.extend(offset.to_le_bytes());
            }
            Self::TopicsMade(topics) => {
                out.push(3);
                out.extend(topics.to_le_bytes());
            }
        }
    }

    /// The entry at the beginning of `bytes`, and the rest.
    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, bytes) = bytes.split_first()?;
        let u32_at = |at| array(bytes, at).map(u32::from_le_bytes);
        let i64_at = |at| array(bytes, at).map(i64::from_le_bytes);
        let (entry, length) = match kind {
            1 => {
                let end = End {
                    topic: u32_at(0)?,
                    partition: u32_at(4)?,
                    segment_base: i64_at(8)?,
                    segment_bytes: array(bytes, 16).map(u64::from_le_bytes)?,
                    next_offset: i64_at(24)?,
                    append_time_ms: i64_at(32)?,
                };
                (Self::End(end), 40)
            }
            2 => (
                Self::Start {
                    topic: u32_at(0)?,
                    partition: u32_at(4)?,
                    offset: i64_at(8)?,
                },
                16,
            ),
            3 => (Self::TopicsMade(u32_at(0)?), 4),
            _ => return None,
        };
        Some((entry, &bytes[length..]))
    }
}

/// The commit log of a folder, open for writing.
#[derive(Debug)]
pub(crate) struct CommitLog {
    path: PathBuf,
    file: File,
    /// Length of what counts, bytes.
    bytes: u64,
    /// Whether the file may be longer than that, because a failed write could not be taken back yet.
    is_ragged: bool,
    fsync: bool,
}

impl CommitLog {
    /// Puts a commit log that says only `checkpoint` in the place of whatever is at `path`.
    pub(crate) fn begin(path: &Path, checkpoint: &Commit, fsync: bool) -> Result<Self, LogError> {
        let mut content = MAGIC.to_vec();
        content.extend(VERSION.to_le_bytes());
        content.extend(crc32fast::hash(&content).to_le_bytes());
        content.extend(checkpoint.encode());
        let beside = path.with_extension("new");
        let file = || -> io::Result<File> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&beside)?;
            file.write_all_at(&content, 0)?;
            if fsync {
                file.sync_all()?;
            }
            std::fs::rename(&beside, path)?;
            Ok(file)
        };
        let file = file().map_err(|error| unavailable(&beside, &error))?;
        if fsync {
            sync_folder_of(path)?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes: content.len() as u64,
            is_ragged: false,
            fsync,
        })
    }

    /// Commits: after this returns, the transaction counts. On an error it does not.
    pub(crate) fn append(&mut self, commit: &Commit) -> Result<(), LogError> {
        if self.is_ragged {
            self.cut()
                .map_err(|error| unavailable(&self.path, &error))?;
        }
        let frame = commit.encode();
        let written = self.file.write_all_at(&frame, self.bytes).and_then(|()| {
            if self.fsync {
                self.file.sync_data()
            } else {
                Ok(())
            }
        });
        match written {
            Ok(()) => {
                self.bytes += frame.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Else a later, shorter frame would stand before the remains of this one.
                self.is_ragged = self.cut().is_err();
                Err(unavailable(&self.path, &error))
            }
        }
    }

    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.bytes)?;
        self.is_ragged = false;
        Ok(())
    }

    /// Whether it is time to begin a shorter one.
    pub(crate) fn is_long(&self) -> bool {
        self.bytes > LONG_BYTES
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The commits of the log at `path`, the first of which says all that was so before. What was torn off at the end is left
/// out: it was never acknowledged.
pub(crate) fn read(path: &Path) -> Result<Vec<Commit>, LogError> {
    let content = std::fs::read(path).map_err(|error| unavailable(path, &error))?;
    let header = content
        .get(..FILE_HEADER_BYTES)
        .filter(|header| header.starts_with(MAGIC));
    let header = header.ok_or_else(|| damaged(path, 0, "this is not a commit log"))?;
    if array(header, 8).map(u32::from_le_bytes) != Some(VERSION) {
        return Err(damaged(
            path,
            8,
            "the commit log is of a version that this build does not read",
        ));
    }
    if array(header, 12).map(u32::from_le_bytes) != Some(crc32fast::hash(&header[..12])) {
        return Err(damaged(
            path,
            12,
            "the header of the commit log fails its checksum",
        ));
    }
    let mut commits = Vec::new();
    let mut at = FILE_HEADER_BYTES;
    while let Some((commit, length)) = read_frame(path, &content, at)? {
        commits.push(commit);
        at += length;
    }
    if commits.is_empty() {
        return Err(damaged(
            path,
            at as u64,
            "the commit log has lost its beginning",
        ));
    }
    Ok(commits)
}

/// The frame at a position and its length; none where the rest is nothing or torn.
fn read_frame(path: &Path, content: &[u8], at: usize) -> Result<Option<(Commit, usize)>, LogError> {
    let rest = &content[at..];
    // A file system that lost its power may have grown the file without its bytes.
    if rest.len() < HEADER_BYTES || rest.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let broken = |what| damaged(path, at as u64, what);
    let field = |at| array(rest, at).map(u32::from_le_bytes);
    if field(16) != Some(crc32fast::hash(&rest[..16])) {
        return Err(broken("the header of a commit fails its checksum"));
    }
    let length = HEADER_BYTES + field(0).unwrap_or_default() as usize;
    let Some(mut body) = rest.get(HEADER_BYTES..length) else {
        return Ok(None);
    };
    if field(4) != Some(crc32fast::hash(body)) {
        return Err(broken("a commit fails its checksum"));
    }
    let mut entries = Vec::new();
    while !body.is_empty() {
        let (entry, rest) = Entry::decode(body)
            .ok_or_else(|| broken("a commit holds what this build does not know"))?;
        entries.push(entry);
        body = rest;
    }
    let sequence = array(rest, 8).map(u64::from_le_bytes).unwrap_or_default();
    Ok(Some((Commit { sequence, entries }, length)))
}

/// Forces the names in a file's folder to the disk.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), LogError> {
    let folder = path.parent().unwrap_or(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| unavailable(folder, &error))
}
