//! A segment in the making, when compaction writes one again.
use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    LogError,
    folder::remove,
    frame::Frame,
    partition::Store,
    segment_file::{FILE_HEADER_BYTES, FileHeader, SparseIndex, unavailable},
};

/// How much is written at a time, bytes.
const STEP_BYTES: usize = 1 << 20;

/// A segment in the making.
pub(crate) struct Output {
    /// Size including the file's header, bytes.
    pub(crate) bytes: u64,
    kept: Kept,
}

enum Kept {
    Memory(VecDeque<Frame>),
    File {
        file: File,
        path: Arc<Path>,
        beside: Beside,
        index: SparseIndex,
        pending: Vec<u8>,
    },
}

/// A file that goes unless it was renamed.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

impl Output {
    pub(crate) fn in_memory() -> Self {
        Self {
            bytes: FILE_HEADER_BYTES,
            kept: Kept::Memory(VecDeque::new()),
        }
    }

    /// A file beside the segment that it is to replace.
    pub(crate) fn in_file(path: Arc<Path>) -> Result<Self, LogError> {
        let beside = path.with_extension("compacting");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&beside)
            .map_err(|error| unavailable(&beside, &error))?;
        let (index, pending) = (SparseIndex::default(), Vec::new());
        let kept = Kept::File {
            file,
            path,
            beside: Beside(beside),
            index,
            pending,
        };
        Ok(Self {
            bytes: FILE_HEADER_BYTES,
            kept,
        })
    }

    /// Adds a frame behind those it has.
    pub(crate) fn push(&mut self, frame: Frame) -> Result<(), LogError> {
        let position = self.bytes;
        self.bytes += frame.header.frame_bytes();
        match &mut self.kept {
            Kept::Memory(frames) => frames.push_back(frame),
            Kept::File {
                file,
                beside,
                index,
                pending,
                ..
            } => {
                index.note(&frame.header, position);
                pending.extend_from_slice(&frame.bytes);
                if pending.len() >= STEP_BYTES {
                    file.write_all_at(pending, self.bytes - pending.len() as u64)
                        .map_err(|error| unavailable(&beside.0, &error))?;
                    pending.clear();
                }
            }
        }
        Ok(())
    }

    /// Writes what remains, and the header last.
    pub(crate) fn finish(
        self,
        base_offset: i64,
        next_offset: i64,
        fsync: bool,
    ) -> Result<Rewritten, LogError> {
        if let Kept::File {
            file,
            beside,
            pending,
            ..
        } = &self.kept
        {
            let header = FileHeader {
                base_offset,
                compacted: Some((next_offset, self.bytes)),
            };
            file.write_all_at(pending, self.bytes - pending.len() as u64)
                .and_then(|()| file.write_all_at(&header.encode(), 0))
                .and_then(|()| if fsync { file.sync_all() } else { Ok(()) })
                .map_err(|error| unavailable(&beside.0, &error))?;
        }
        Ok(Rewritten {
            bytes: self.bytes,
            kept: self.kept,
        })
    }
}

/// A segment that is written and waits to be put in its place.
pub(crate) struct Rewritten {
    bytes: u64,
    kept: Kept,
}

impl Rewritten {
    /// Puts it in its place; returns its size in bytes.
    pub(crate) fn place(self) -> Result<(u64, Store), LogError> {
        let store = match self.kept {
            Kept::Memory(frames) => Store::Memory(frames),
            Kept::File {
                path,
                beside,
                index,
                ..
            } => {
                std::fs::rename(&beside.0, &path)
                    .map_err(|error| unavailable(&beside.0, &error))?;
                Store::File { path, index }
            }
        };
        Ok((self.bytes, store))
    }
}
