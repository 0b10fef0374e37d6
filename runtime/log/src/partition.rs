//! A partition: its segments, and how they are searched. No I/O but opening a file to read.
use std::{collections::VecDeque, path::Path, sync::Arc};

use tokio::sync::Notify;

use crate::{
    LogError, Offsets,
    frame::Frame,
    segment_file::{FILE_HEADER_BYTES, FileSpan, OpenFiles, SparseIndex},
};

/// One partition of a topic.
#[derive(Debug)]
pub(crate) struct Partition {
    /// In order of their offsets, each beginning where the one before ends. Only the last may be open for writing.
    pub(crate) segments: Vec<Segment>,
    /// The oldest offset that may be read.
    pub(crate) start: i64,
    /// Where the next record goes.
    pub(crate) end: i64,
    /// The newest append time, ms since the epoch; what comes next is not older.
    pub(crate) append_time_ms: i64,
    /// Rung when something was appended, or the partition is no more.
    pub(crate) changed: Arc<Notify>,
}

/// A stretch of a partition that is kept, compacted and deleted as a whole.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its identity in this process: a compacted segment has another than those it replaces.
    pub(crate) id: u64,
    /// First offset it counts for.
    pub(crate) base_offset: i64,
    /// Where it ends: the next segment's first offset.
    pub(crate) next_offset: i64,
    /// Size of its frames and its file's header, bytes.
    pub(crate) bytes: u64,
    /// Append time of its newest record, ms since the epoch.
    pub(crate) newest_ms: i64,
    /// Whether it is done with being written.
    pub(crate) closed: bool,
    /// Whether compaction wrote it.
    pub(crate) compacted: bool,
    pub(crate) store: Store,
}

/// Where the frames of a segment are.
#[derive(Debug)]
pub(crate) enum Store {
    Memory(VecDeque<Frame>),
    File { path: Arc<Path>, index: SparseIndex },
}

/// Where a reader was: the segment and the position behind the last frame it read there.
pub(crate) type Place = (u64, u64);

/// What a partition has for a reader.
pub(crate) enum Found {
    /// Nothing from there on.
    End,
    Frames(Vec<Frame>),
    InFile(FileSpan),
}

impl Partition {
    pub(crate) fn new() -> Self {
        Self {
            segments: Vec::new(),
            start: 0,
            end: 0,
            append_time_ms: i64::MIN,
            changed: Arc::default(),
        }
    }

    pub(crate) fn offsets(&self) -> Offsets {
        Offsets {
            earliest: self.start,
            end: self.end,
        }
    }

    /// The segment that takes the next frame, unless it is time for a new one.
    pub(crate) fn open_segment(&self, roll_bytes: u64) -> Option<&Segment> {
        self.segments
            .last()
            .filter(|segment| !segment.closed && segment.bytes < roll_bytes)
    }

    /// Moves the start forward; returns the segments that nobody can read any more.
    pub(crate) fn forget_below(&mut self, offset: i64) -> Vec<Segment> {
        self.start = self.start.max(offset.min(self.end));
        let kept = self
            .segments
            .partition_point(|segment| segment.next_offset <= self.start);
        let forgotten = self.segments.drain(..kept).collect();
        if let Some(Segment {
            store: Store::Memory(frames),
            ..
        }) = self.segments.first_mut()
        {
            frames.drain(..frames.partition_point(|frame| frame.header.next_offset <= self.start));
        }
        forgotten
    }

    /// Where the records begin that were appended at or after `append_time_ms`, to the segment.
    pub(crate) fn expired_below(&self, append_time_ms: i64) -> i64 {
        let expired = self
            .segments
            .partition_point(|segment| segment.newest_ms < append_time_ms);
        expired
            .checked_sub(1)
            .map_or(self.start, |last| self.segments[last].next_offset)
    }

    /// Bytes of closed segments: those compaction wrote, and those it has not seen.
    pub(crate) fn closed_bytes(&self) -> (u64, u64) {
        self.segments.iter().filter(|segment| segment.closed).fold(
            (0, 0),
            |(compacted, new), segment| {
                if segment.compacted {
                    (compacted + segment.bytes, new)
                } else {
                    (compacted, new + segment.bytes)
                }
            },
        )
    }

    /// The frames from `offset` on, about `budget_bytes` of them, or where they are.
    pub(crate) fn find(
        &self,
        offset: i64,
        place: Option<Place>,
        budget_bytes: usize,
        files: &OpenFiles,
    ) -> Result<Found, LogError> {
        let first = self
            .segments
            .partition_point(|segment| segment.next_offset <= offset);
        for segment in &self.segments[first..] {
            match &segment.store {
                Store::Memory(frames) => {
                    let found = frames_from(frames, offset, budget_bytes);
                    if !found.is_empty() {
                        return Ok(Found::Frames(found));
                    }
                }
                Store::File { path, index } => {
                    let known = place
                        .filter(|(id, _)| *id == segment.id)
                        .map(|(_, position)| position);
                    let position = known.unwrap_or_else(|| index.before_offset(offset));
                    return Ok(Found::InFile(segment.span(path, position, files)?));
                }
            }
        }
        Ok(Found::End)
    }

    /// The offset of the first record appended at or after `append_time_ms`; the end where there is none.
    pub(crate) fn offset_at(
        &self,
        append_time_ms: i64,
        files: &OpenFiles,
    ) -> Result<i64, LogError> {
        let first = self
            .segments
            .partition_point(|segment| segment.newest_ms < append_time_ms);
        for segment in &self.segments[first..] {
            let header = match &segment.store {
                Store::Memory(frames) => frames.iter().map(|frame| frame.header).find(|header| {
                    header.append_time_ms >= append_time_ms && header.next_offset > self.start
                }),
                Store::File { path, index } => segment
                    .span(path, index.before_time(append_time_ms), files)?
                    .find(|header| {
                        header.append_time_ms >= append_time_ms && header.next_offset > self.start
                    })?,
            };
            if let Some(header) = header {
                return Ok(header.base_offset.max(self.start));
            }
        }
        Ok(self.end)
    }
}

impl Segment {
    /// The committed bytes of a segment's file from a position on.
    pub(crate) fn span(
        &self,
        path: &Arc<Path>,
        position: u64,
        files: &OpenFiles,
    ) -> Result<FileSpan, LogError> {
        Ok(FileSpan {
            file: files.get(self.id, path)?,
            path: Arc::clone(path),
            segment: self.id,
            next_offset: self.next_offset,
            position: position.max(FILE_HEADER_BYTES),
            limit: self.bytes,
        })
    }

    /// Adds frames that were written behind what it has.
    pub(crate) fn extend(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            self.next_offset = frame.header.next_offset;
            self.newest_ms = self.newest_ms.max(frame.header.append_time_ms);
            let position = self.bytes;
            self.bytes += frame.header.frame_bytes();
            match &mut self.store {
                Store::Memory(frames) => frames.push_back(frame),
                Store::File { index, .. } => index.note(&frame.header, position),
            }
        }
    }
}

fn frames_from(frames: &VecDeque<Frame>, offset: i64, budget_bytes: usize) -> Vec<Frame> {
    let first = frames.partition_point(|frame| frame.header.next_offset <= offset);
    let mut budget = budget_bytes as u64;
    let mut found = Vec::new();
    for frame in frames.range(first..) {
        if !found.is_empty() && frame.header.frame_bytes() > budget {
            break;
        }
        budget = budget.saturating_sub(frame.header.frame_bytes());
        found.push(frame.clone());
    }
    found
}
