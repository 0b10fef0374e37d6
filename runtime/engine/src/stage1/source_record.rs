//! A record of a source as the decoder reads it.
use tidewheel_decode::EventRecord;
use tidewheel_log::Record;

/// A record and the partition that it stands in.
pub(crate) struct SourceRecord<'a> {
    pub(crate) record: &'a Record,
    /// The event in it, as JSON.
    pub(crate) event: &'a [u8],
    pub(crate) partition: i32,
}

impl EventRecord for SourceRecord<'_> {
    fn event(&self) -> &[u8] {
        self.event
    }

    fn key(&self) -> Option<&[u8]> {
        self.record.key.as_deref()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let mut newest_first = self.record.headers.iter().rev();
        let header = newest_first.find(|header| header.name == name)?;
        Some(&header.value)
    }

    fn timestamp_ms(&self) -> Option<i64> {
        // Producers that give no time are told by -1.
        Some(self.record.append_time_ms).filter(|ms| *ms >= 0)
    }

    fn offset(&self) -> Option<i64> {
        Some(self.record.offset)
    }

    fn partition(&self) -> Option<i32> {
        Some(self.partition)
    }
}
