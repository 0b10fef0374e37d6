//! Records between our types and librdkafka's.
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};
use rdkafka::{
    Message,
    message::{BorrowedHeaders, BorrowedMessage, Headers, OwnedHeaders},
    producer::BaseRecord,
    util::IntoOpaque,
};
use tidewheel_log::{Header, NewRecord, Record};

/// How much room is made at a time for the bytes of records: many share a piece, and none holds on to more than this.
const PIECE_BYTES: usize = 64 << 10;

/// The bytes that a record takes in memory and, roughly, on the wire.
pub(crate) fn size_bytes(record: &NewRecord) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers = record.headers.iter();
    let headers: usize = headers
        .map(|header| header.name.len() + header.value.len())
        .sum();
    length(&record.key) + length(&record.value) + headers
}

/// A record as librdkafka takes it.
pub(crate) fn outgoing<D: IntoOpaque>(
    record: &NewRecord,
    delivery: D,
) -> BaseRecord<'_, [u8], [u8], D> {
    let mut base = BaseRecord::with_opaque_to(&record.topic, delivery);
    base.partition = record.partition;
    base.key = record.key.as_deref();
    base.payload = record.value.as_deref();
    if !record.headers.is_empty() {
        let empty = OwnedHeaders::new_with_capacity(record.headers.len());
        let headers = record.headers.iter().fold(empty, |headers, header| {
            headers.insert(rdkafka::message::Header {
                key: &header.name,
                value: Some(header.value.as_ref()),
            })
        });
        base.headers = Some(headers);
    }
    base
}

/// Copies messages out of librdkafka's memory.
#[derive(Default)]
pub(crate) struct Copier {
    room: BytesMut,
}

impl Copier {
    /// The message as a record.
    pub(crate) fn record(&mut self, message: &BorrowedMessage<'_>) -> Record {
        Record {
            offset: message.offset(),
            append_time_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(|key| self.copy(key)),
            value: message.payload().map(|value| self.copy(value)),
            headers: message
                .headers()
                .map_or_else(Vec::new, |headers| self.headers(headers)),
        }
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() >= PIECE_BYTES / 4 {
            return Bytes::copy_from_slice(bytes);
        }
        if self.room.capacity() < bytes.len() {
            self.room = BytesMut::with_capacity(PIECE_BYTES);
        }
        self.room.extend_from_slice(bytes);
        self.room.split().freeze()
    }

    fn headers(&mut self, headers: &BorrowedHeaders) -> Vec<Header> {
        (0..headers.count())
            .filter_map(|index| {
                // A name that is no UTF-8 makes the binding panic. Such a header comes from somebody else's producer, who
                // cannot have meant it for us.
                let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok()??;
                Some(Header {
                    name: header.key.to_owned(),
                    value: header
                        .value
                        .map_or_else(Bytes::new, |value| self.copy(value)),
                })
            })
            .collect()
    }
}
