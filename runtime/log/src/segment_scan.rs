//! Reading through a segment file when its folder is opened.
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{
    LogError,
    commit_log::End,
    frame::{FrameHeader, HEADER_BYTES},
    segment_file::{FILE_HEADER_BYTES, FileHeader, SparseIndex, damaged, unavailable},
};

/// What a segment file holds.
pub(crate) struct Scanned {
    pub(crate) path: PathBuf,
    pub(crate) header: FileHeader,
    /// Length of what is whole, bytes.
    pub(crate) bytes: u64,
    pub(crate) next_offset: i64,
    pub(crate) newest_ms: i64,
    pub(crate) index: SparseIndex,
}
/// How a segment file is read when the folder is opened.
pub(crate) struct Scan {
    /// Up to where frames are committed; none in a closed segment: up to the end of the file.
    limit: Option<u64>,
    /// From where on bodies are checked too; before, a reader will.
    verify_from: u64,
}

impl Scan {
    pub(crate) fn closed() -> Self {
        Self {
            limit: None,
            verify_from: u64::MAX,
        }
    }

    /// A segment that may end beyond what is committed, or before.
    pub(crate) fn open(limit: u64, verify_from: u64) -> Self {
        Self {
            limit: Some(limit),
            verify_from,
        }
    }

    /// Goes from header to header. A file that ends early is whole up to there; wrong bytes are an error.
    pub(crate) fn run(&self, path: &Path, base: i64) -> Result<Scanned, LogError> {
        let file = File::open(path).map_err(|error| unavailable(path, &error))?;
        let length = file
            .metadata()
            .map_err(|error| unavailable(path, &error))?
            .len();
        let limit = self.limit.unwrap_or(length).min(length);
        let mut window = Window {
            file: &file,
            path,
            limit,
            start: 0,
            bytes: Vec::new(),
        };
        let mut scanned = Scanned {
            path: path.to_owned(),
            header: FileHeader {
                base_offset: base,
                compacted: None,
            },
            bytes: 0,
            next_offset: base,
            newest_ms: i64::MIN,
            index: SparseIndex::default(),
        };
        if limit < FILE_HEADER_BYTES || window.is_zero_from(0)? {
            return self.early_end(scanned);
        }
        scanned.header = FileHeader::decode(window.at(0, FILE_HEADER_BYTES)?)
            .map_err(|what| damaged(path, 0, &format!("the segment {what}")))?;
        if scanned.header.base_offset != base {
            return Err(damaged(
                path,
                12,
                "the segment is not the one that its name says",
            ));
        }
        scanned.bytes = FILE_HEADER_BYTES;
        while scanned.bytes < limit {
            let position = scanned.bytes;
            if limit - position < HEADER_BYTES as u64 || window.is_zero_from(position)? {
                return self.early_end(scanned);
            }
            let header = FrameHeader::decode(window.at(position, HEADER_BYTES as u64)?)
                .ok_or_else(|| damaged(path, position, "a frame's header fails its checksum"))?;
            scanned.follows(&header, position)?;
            if position + header.frame_bytes() > limit {
                return self.early_end(scanned);
            }
            if position >= self.verify_from {
                let frame = window.at(position, header.frame_bytes())?;
                if crc32fast::hash(&frame[HEADER_BYTES..]) != header.body_crc {
                    return Err(damaged(path, position, "a frame's body fails its checksum"));
                }
            }
            scanned.index.note(&header, position);
            scanned.bytes += header.frame_bytes();
            scanned.next_offset = header.next_offset;
            scanned.newest_ms = scanned.newest_ms.max(header.append_time_ms);
        }
        scanned.check_compacted(length)?;
        Ok(scanned)
    }

    fn early_end(&self, scanned: Scanned) -> Result<Scanned, LogError> {
        match self.limit {
            Some(_) => Ok(scanned),
            None => Err(damaged(
                &scanned.path,
                scanned.bytes,
                "a closed segment ends within a frame",
            )),
        }
    }
}

impl Scanned {
    /// Offsets go on where they were, except where compaction has been.
    fn follows(&self, header: &FrameHeader, position: u64) -> Result<(), LogError> {
        let goes_on = match self.header.compacted {
            None => header.base_offset == self.next_offset,
            Some(_) => header.base_offset >= self.next_offset,
        };
        if goes_on && header.next_offset > header.base_offset {
            return Ok(());
        }
        Err(damaged(
            &self.path,
            position,
            &format!(
                "a frame of offset {} follows {}",
                header.base_offset, self.next_offset
            ),
        ))
    }

    fn check_compacted(&mut self, length: u64) -> Result<(), LogError> {
        if let Some((next_offset, file_bytes)) = self.header.compacted {
            if length != file_bytes || self.next_offset > next_offset {
                return Err(damaged(
                    &self.path,
                    length,
                    "a compacted segment is not as long as it was",
                ));
            }
            self.next_offset = next_offset;
        }
        Ok(())
    }
}
impl Scanned {
    /// Cuts it off where the partition ended.
    pub(crate) fn cut(&mut self, end: &End) -> Result<(), LogError> {
        let cut = || {
            let file = OpenOptions::new().write(true).open(&self.path)?;
            if file.metadata()?.len() > end.segment_bytes {
                file.set_len(end.segment_bytes)
            } else {
                Ok(())
            }
        };
        cut().map_err(|error| unavailable(&self.path, &error))?;
        if self.bytes != end.segment_bytes {
            self.index.forget_from(end.segment_bytes);
            self.bytes = end.segment_bytes;
            self.next_offset = end.next_offset;
            self.newest_ms = end.append_time_ms;
        }
        Ok(())
    }
}
/// Some bytes of a file around where it is being read.
struct Window<'a> {
    file: &'a File,
    path: &'a Path,
    limit: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    const BYTES: u64 = 64 << 10;

    /// The bytes at a position, which must be below the limit.
    fn at(&mut self, position: u64, length: u64) -> Result<&[u8], LogError> {
        if position < self.start || position + length > self.start + self.bytes.len() as u64 {
            let wanted = length.max(Self::BYTES).min(self.limit - position);
            self.bytes.resize(wanted as usize, 0);
            self.file
                .read_exact_at(&mut self.bytes, position)
                .map_err(|error| unavailable(self.path, &error))?;
            self.start = position;
        }
        let from = (position - self.start) as usize;
        Ok(&self.bytes[from..from + length as usize])
    }

    /// Whether nothing but zeros follows: a file system that lost its power may have grown the file without its bytes.
    fn is_zero_from(&mut self, position: u64) -> Result<bool, LogError> {
        let mut position = position;
        while position < self.limit {
            let length = Self::BYTES.min(self.limit - position).min(256);
            if self.at(position, length)?.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            position += length;
        }
        Ok(true)
    }
}
