//! Segment files: their header, and reading frames from them.
//!
//! A file begins with 40 bytes, little-endian; frames follow one another up to its end.
//!
//! | at | type | |
//! |---|---|---|
//! | 0 | 8 bytes | `TWHL-SEG` |
//! | 8 | u32 | version of the format: 1 |
//! | 12 | i64 | offset from which the segment counts; the file's name too |
//! | 20 | i64 | offset up to which a compacted segment counts, whatever it still holds; -1 in one as it was written |
//! | 28 | u64 | length of a compacted file in bytes; 0 in one as it was written |
//! | 36 | u32 | CRC-32 of bytes 0 to 36 |
use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    LogError,
    frame::{Frame, FrameHeader, HEADER_BYTES, array},
};

/// Size of a segment file's header, bytes.
pub(crate) const FILE_HEADER_BYTES: u64 = 40;
const MAGIC: &[u8; 8] = b"TWHL-SEG";
const VERSION: u32 = 1;
/// A frame is looked up by reading on from an index entry, which stand this many bytes apart.
const INDEX_EVERY_BYTES: u64 = 64 << 10;
/// Reads are at least this large, bytes.
const READ_BYTES: u64 = 64 << 10;

/// The header of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) base_offset: i64,
    /// For a compacted segment: up to which offset it counts, and how long the file is.
    pub(crate) compacted: Option<(i64, u64)>,
}

impl FileHeader {
    pub(crate) fn encode(&self) -> [u8; FILE_HEADER_BYTES as usize] {
        let (next_offset, file_bytes) = self.compacted.unwrap_or((-1, 0));
        let mut out = [0; FILE_HEADER_BYTES as usize];
        out[0..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..20].copy_from_slice(&self.base_offset.to_le_bytes());
        out[20..28].copy_from_slice(&next_offset.to_le_bytes());
        out[28..36].copy_from_slice(&file_bytes.to_le_bytes());
        let crc = crc32fast::hash(&out[..36]);
        out[36..40].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at the beginning of `bytes`; an error says what stands there instead.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        const SHORT: &str = "ends within its header";
        if bytes.get(..8).ok_or(SHORT)? != MAGIC {
            return Err("is not a segment file");
        }
        if u32::from_le_bytes(array(bytes, 8).ok_or(SHORT)?) != VERSION {
            return Err("is of a version that this build does not read");
        }
        if u32::from_le_bytes(array(bytes, 36).ok_or(SHORT)?) != crc32fast::hash(&bytes[..36]) {
            return Err("fails the checksum of its header");
        }
        let next_offset = i64::from_le_bytes(array(bytes, 20).ok_or(SHORT)?);
        let file_bytes = u64::from_le_bytes(array(bytes, 28).ok_or(SHORT)?);
        Ok(Self {
            base_offset: i64::from_le_bytes(array(bytes, 12).ok_or(SHORT)?),
            compacted: (next_offset >= 0).then_some((next_offset, file_bytes)),
        })
    }
}

/// Where some frames of a file begin.
#[derive(Debug, Clone, Default)]
pub(crate) struct SparseIndex {
    entries: Vec<IndexEntry>,
}

#[derive(Debug, Clone, Copy)]
struct IndexEntry {
    base_offset: i64,
    append_time_ms: i64,
    position: u64,
}

impl SparseIndex {
    /// Notes a frame, in the order of the file.
    pub(crate) fn note(&mut self, header: &FrameHeader, position: u64) {
        if self
            .entries
            .last()
            .is_none_or(|last| position - last.position >= INDEX_EVERY_BYTES)
        {
            let &FrameHeader {
                base_offset,
                append_time_ms,
                ..
            } = header;
            self.entries.push(IndexEntry {
                base_offset,
                append_time_ms,
                position,
            });
        }
    }

    /// Forgets the frames from a position on.
    pub(crate) fn forget_from(&mut self, position: u64) {
        self.entries.retain(|entry| entry.position < position);
    }

    /// A position at or before the frame that holds `offset`.
    pub(crate) fn before_offset(&self, offset: i64) -> u64 {
        self.before(
            self.entries
                .partition_point(|entry| entry.base_offset <= offset),
        )
    }

    /// A position at or before the first frame appended at or after `append_time_ms`.
    pub(crate) fn before_time(&self, append_time_ms: i64) -> u64 {
        self.before(
            self.entries
                .partition_point(|entry| entry.append_time_ms < append_time_ms),
        )
    }

    fn before(&self, beyond: usize) -> u64 {
        beyond
            .checked_sub(1)
            .and_then(|at| self.entries.get(at))
            .map_or(FILE_HEADER_BYTES, |entry| entry.position)
    }
}

/// A stretch of a segment file that holds whole frames.
#[derive(Debug, Clone)]
pub(crate) struct FileSpan {
    pub(crate) file: Arc<File>,
    pub(crate) path: Arc<Path>,
    /// Which segment that is, for a reader that comes back to where it was.
    pub(crate) segment: u64,
    /// Where the segment ends as an offset.
    pub(crate) next_offset: i64,
    /// Where to begin, bytes.
    pub(crate) position: u64,
    /// Where committed frames end, bytes.
    pub(crate) limit: u64,
}

impl FileSpan {
    /// The first frames that end beyond `offset`, about `budget_bytes` of them but at least one where there is one, and
    /// the position behind them.
    pub(crate) fn read(
        &self,
        offset: i64,
        budget_bytes: usize,
    ) -> Result<(Vec<Frame>, u64), LogError> {
        let mut position = self.position;
        let mut frames = Vec::new();
        while frames.is_empty() && position < self.limit {
            let wanted = READ_BYTES
                .max(budget_bytes as u64)
                .min(self.limit - position);
            let mut chunk = self.read_at(position, wanted)?;
            let first = self.header(&chunk, position)?;
            if first.next_offset <= offset && first.frame_bytes() >= wanted {
                position += first.frame_bytes(); // too large to be worth reading only to pass it by
                continue;
            }
            if first.frame_bytes() > wanted {
                chunk = self.read_at(position, first.frame_bytes())?;
            }
            position += self.split(&chunk, position, offset, &mut frames)?;
        }
        Ok((frames, position))
    }

    /// Header by header from the beginning on, until one satisfies `wanted`.
    pub(crate) fn find(
        &self,
        wanted: impl Fn(&FrameHeader) -> bool,
    ) -> Result<Option<FrameHeader>, LogError> {
        let mut position = self.position;
        while position < self.limit {
            let chunk = self.read_at(position, READ_BYTES.min(self.limit - position))?;
            let mut at = 0;
            while chunk.len() - at >= HEADER_BYTES {
                let header = self.header(&chunk[at..], position + at as u64)?;
                if wanted(&header) {
                    return Ok(Some(header));
                }
                at += header.frame_bytes() as usize;
                if at >= chunk.len() {
                    break;
                }
            }
            position += at as u64;
        }
        Ok(None)
    }

    /// Cuts a chunk that begins with a frame into whole frames; returns how many bytes they have.
    fn split(
        &self,
        chunk: &Bytes,
        position: u64,
        offset: i64,
        frames: &mut Vec<Frame>,
    ) -> Result<u64, LogError> {
        let mut at = 0_usize;
        while chunk.len() - at >= HEADER_BYTES {
            let header = self.header(&chunk[at..], position + at as u64)?;
            let end = at + header.frame_bytes() as usize;
            if end > chunk.len() {
                break;
            }
            if header.next_offset > offset {
                let frame = Frame {
                    header,
                    bytes: chunk.slice(at..end),
                };
                if !frame.is_intact() {
                    return Err(damaged(
                        &self.path,
                        position + at as u64,
                        "a frame's body fails its checksum",
                    ));
                }
                frames.push(frame);
            }
            at = end;
        }
        Ok(at as u64)
    }

    fn header(&self, bytes: &[u8], position: u64) -> Result<FrameHeader, LogError> {
        let header = FrameHeader::decode(bytes)
            .ok_or_else(|| damaged(&self.path, position, "a frame's header fails its checksum"))?;
        if position + header.frame_bytes() > self.limit {
            return Err(damaged(
                &self.path,
                position,
                "a frame reaches beyond the end of what was committed",
            ));
        }
        Ok(header)
    }

    fn read_at(&self, position: u64, length: u64) -> Result<Bytes, LogError> {
        let mut bytes = vec![0; length as usize];
        self.file
            .read_exact_at(&mut bytes, position)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => damaged(
                    &self.path,
                    position,
                    "the file is shorter than what was committed",
                ),
                _ => unavailable(&self.path, &error),
            })?;
        Ok(Bytes::from(bytes))
    }
}

/// The error for stored bytes that are not what was written.
pub(crate) fn damaged(path: &Path, position: u64, what: &str) -> LogError {
    LogError::Damaged {
        reason: format!(
            "{what}, in {} at byte {position}; restore the folder from a copy or begin with an empty one",
            path.display()
        ),
    }
}

/// The error for a file that cannot be read or written for now.
pub(crate) fn unavailable(path: &Path, error: &io::Error) -> LogError {
    LogError::Unavailable {
        reason: format!("{}: {error}", path.display()),
    }
}

/// Open files of segments, of which the least recently used are closed.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    limit: usize,
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    used: u64,
    open: HashMap<u64, (Arc<File>, u64)>,
}

impl OpenFiles {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            files: Mutex::default(),
        }
    }

    /// The file of a segment.
    pub(crate) fn get(&self, segment: u64, path: &Path) -> Result<Arc<File>, LogError> {
        let mut files = self.files.lock();
        files.used += 1;
        let now = files.used;
        if let Some((file, used)) = files.open.get_mut(&segment) {
            *used = now;
            return Ok(Arc::clone(file));
        }
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|error| unavailable(path, &error))?;
        let file = Arc::new(opened);
        files.insert(segment, Arc::clone(&file), self.limit);
        Ok(file)
    }

    /// Keeps a file that was just made.
    pub(crate) fn put(&self, segment: u64, file: Arc<File>) {
        let mut files = self.files.lock();
        files.used += 1;
        files.insert(segment, file, self.limit);
    }

    /// Closes the file of a segment that is no more.
    pub(crate) fn forget(&self, segment: u64) {
        self.files.lock().open.remove(&segment);
    }
}

impl Files {
    fn insert(&mut self, segment: u64, file: Arc<File>, limit: usize) {
        if self.open.len() >= limit
            && let Some(oldest) = self
                .open
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(segment, _)| *segment)
        {
            self.open.remove(&oldest);
        }
        self.open.insert(segment, (file, self.used));
    }
}
