//! The frame: what one transaction wrote to one partition, or a part of it of about a mebibyte.
//!
//! A frame is a header of 48 bytes and a body; all integers are little-endian.
//!
//! | at | type | |
//! |---|---|---|
//! | 0 | u32 | length of the body in bytes |
//! | 4 | u32 | CRC-32 (IEEE) of the body |
//! | 8 | u64 | sequence of the transaction |
//! | 16 | i64 | offset of the first record |
//! | 24 | i64 | where the next frame begins: beyond the last record and the gap behind it |
//! | 32 | i64 | append time of its records, ms since the epoch |
//! | 40 | u32 | number of records |
//! | 44 | u32 | CRC-32 of bytes 0 to 44 |
//!
//! The body is the records one after another. Numbers are LEB128 varints: offset minus the frame's first offset; length
//! of the key plus one (0: no key); length of the value plus one (0: no value); number of headers; then the bytes of key
//! and value; then for each header the length of its name, the name, the length of its value, the value.
use bytes::Bytes;

use crate::{Header, Record};

/// Size of a frame's header, bytes.
pub(crate) const HEADER_BYTES: usize = 48;
/// Size of the body from which a further record begins a new frame, bytes.
pub(crate) const BODY_BYTES: usize = 1 << 20;

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) body_bytes: u32,
    pub(crate) body_crc: u32,
    pub(crate) sequence: u64,
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) append_time_ms: i64,
    pub(crate) records: u32,
}

impl FrameHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[4..8].copy_from_slice(&self.body_crc.to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.base_offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.next_offset.to_le_bytes());
        out[32..40].copy_from_slice(&self.append_time_ms.to_le_bytes());
        out[40..44].copy_from_slice(&self.records.to_le_bytes());
        let crc = crc32fast::hash(&out[..44]);
        out[44..48].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at the beginning of `bytes`, or none where they are too few or fail their checksum.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        if u32::from_le_bytes(array(bytes, 44)?) != crc32fast::hash(&bytes[..44]) {
            return None;
        }
        Some(Self {
            body_bytes: u32::from_le_bytes(array(bytes, 0)?),
            body_crc: u32::from_le_bytes(array(bytes, 4)?),
            sequence: u64::from_le_bytes(array(bytes, 8)?),
            base_offset: i64::from_le_bytes(array(bytes, 16)?),
            next_offset: i64::from_le_bytes(array(bytes, 24)?),
            append_time_ms: i64::from_le_bytes(array(bytes, 32)?),
            records: u32::from_le_bytes(array(bytes, 40)?),
        })
    }

    /// Size of the whole frame, bytes.
    pub(crate) fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }
}

/// The `N` bytes of `bytes` at `at`, or none where it ends before.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// A whole frame; its records share its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    /// Header and body, as they stand in a file.
    pub(crate) bytes: Bytes,
}

impl Frame {
    /// Whether the body is what was written.
    pub(crate) fn is_intact(&self) -> bool {
        crc32fast::hash(&self.bytes[HEADER_BYTES..]) == self.header.body_crc
    }

    /// All its records, or none where the body is not well-formed.
    pub(crate) fn records(&self) -> Option<Vec<Record>> {
        let mut cursor = Cursor::default();
        let mut records = Vec::with_capacity(self.header.records as usize);
        while !cursor.is_done(self) {
            records.push(cursor.next(self)?);
        }
        Some(records)
    }
}

/// A place between two records of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    at: usize,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { at: HEADER_BYTES }
    }
}

impl Cursor {
    pub(crate) fn is_done(&self, frame: &Frame) -> bool {
        self.at >= frame.bytes.len()
    }

    /// The record here, moving on behind it; none where the bytes are not a record.
    pub(crate) fn next(&mut self, frame: &Frame) -> Option<Record> {
        let bytes = &frame.bytes;
        let offset = frame
            .header
            .base_offset
            .checked_add(i64::try_from(self.varint(bytes)?).ok()?)?;
        let key_bytes = self.varint(bytes)?;
        let value_bytes = self.varint(bytes)?;
        let header_count = self.varint(bytes)?;
        let key = self.optional(bytes, key_bytes)?;
        let value = self.optional(bytes, value_bytes)?;
        let mut headers = Vec::new();
        for _ in 0..header_count {
            let name_bytes = self.varint(bytes)?;
            let name = std::str::from_utf8(&self.slice(bytes, name_bytes)?)
                .ok()?
                .to_owned();
            let value_bytes = self.varint(bytes)?;
            headers.push(Header {
                name,
                value: self.slice(bytes, value_bytes)?,
            });
        }
        Some(Record {
            offset,
            append_time_ms: frame.header.append_time_ms,
            key,
            value,
            headers,
        })
    }

    fn varint(&mut self, bytes: &[u8]) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn optional(&mut self, bytes: &Bytes, length_plus_one: u64) -> Option<Option<Bytes>> {
        match length_plus_one.checked_sub(1) {
            None => Some(None),
            Some(length) => self.slice(bytes, length).map(Some),
        }
    }

    fn slice(&mut self, bytes: &Bytes, length: u64) -> Option<Bytes> {
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        if end > bytes.len() {
            return None;
        }
        let slice = bytes.slice(self.at..end);
        self.at = end;
        Some(slice)
    }
}

/// Builds one frame. Offsets, time and sequence are known only when it is written, so the records carry their distance
/// from the first one and the header comes last.
#[derive(Debug)]
pub(crate) struct FrameBuilder {
    bytes: Vec<u8>,
    records: u32,
    body_crc: u32,
}

impl FrameBuilder {
    /// A frame for about `body_bytes` of records.
    pub(crate) fn with_capacity(body_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body_bytes);
        bytes.resize(HEADER_BYTES, 0);
        Self {
            bytes,
            records: 0,
            body_crc: 0,
        }
    }

    pub(crate) fn body_bytes(&self) -> usize {
        self.bytes.len() - HEADER_BYTES
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// Adds a record that stands `delta` offsets behind the frame's first one.
    pub(crate) fn push(
        &mut self,
        delta: u64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) {
        self.varint(delta);
        self.varint(key.map_or(0, |key| key.len() as u64 + 1));
        self.varint(value.map_or(0, |value| value.len() as u64 + 1));
        self.varint(headers.len() as u64);
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.bytes.extend_from_slice(value.unwrap_or_default());
        for header in headers {
            self.varint(header.name.len() as u64);
            self.bytes.extend_from_slice(header.name.as_bytes());
            self.varint(header.value.len() as u64);
            self.bytes.extend_from_slice(&header.value);
        }
        self.records += 1;
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Computes the body's checksum, which only frames in files need; before a lock is taken, because it costs time.
    pub(crate) fn checksum(&mut self) {
        self.body_crc = crc32fast::hash(&self.bytes[HEADER_BYTES..]);
    }

    /// The frame, now that its place is known.
    pub(crate) fn finish(
        mut self,
        sequence: u64,
        base_offset: i64,
        next_offset: i64,
        append_time_ms: i64,
    ) -> Frame {
        let header = FrameHeader {
            body_bytes: self.body_bytes() as u32,
            body_crc: self.body_crc,
            sequence,
            base_offset,
            next_offset,
            append_time_ms,
            records: self.records,
        };
        self.bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        Frame {
            header,
            bytes: Bytes::from(self.bytes),
        }
    }
}
