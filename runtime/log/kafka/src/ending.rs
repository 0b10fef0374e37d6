//! The record of a transaction that is committed for no other reason than to end what a broker forgot to end in its partition: part of the
//! log as its markers are, and passed over by whoever reads with this crate.
use bytes::Bytes;
use tidewheel_log::{Header, NewRecord, Record};

/// Its header.
const NAME: &str = "tidewheel-ended";
/// Its key: compacted topics refuse records without one.
const KEY: &[u8] = b"ended";

/// One for a partition.
pub(crate) fn of((topic, partition): (&str, i32)) -> NewRecord {
    NewRecord {
        topic: topic.to_owned(),
        partition: Some(partition),
        key: Some(Bytes::from_static(KEY)),
        value: None,
        headers: vec![Header {
            name: NAME.to_owned(),
            value: Bytes::new(),
        }],
    }
}

/// Whether a record is one.
pub(crate) fn is_one(record: &Record) -> bool {
    record.value.is_none()
        && record.key.as_deref() == Some(KEY)
        && record.headers.iter().any(|header| header.name == NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_such_a_record_is_one() {
        let written = of(("shop.sent", 3));
        assert_eq!(
            (written.topic.as_str(), written.partition),
            ("shop.sent", Some(3))
        );
        let read = Record {
            offset: 0,
            append_time_ms: 0,
            key: written.key,
            value: written.value,
            headers: written.headers,
        };
        assert!(is_one(&read));
        let with_value = Some(Bytes::from_static(b"{}"));
        assert!(!is_one(&Record {
            value: with_value,
            ..read.clone()
        }));
        let of_somebody = Some(Bytes::from_static(b"k"));
        assert!(!is_one(&Record {
            key: of_somebody,
            ..read.clone()
        }));
        assert!(!is_one(&Record {
            headers: Vec::new(),
            ..read
        }));
    }
}
