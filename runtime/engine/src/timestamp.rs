//! Timestamps as all tables have them: microseconds in UTC; and times for people.
use arrow::array::TimestampMicrosecondArray;
use arrow::datatypes::{DataType, TimeUnit};

/// The time zone of all timestamps.
const UTC: &str = "+00:00";

pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

pub(crate) fn timestamps(micros: impl IntoIterator<Item = i64>) -> TimestampMicrosecondArray {
    TimestampMicrosecondArray::from_iter_values(micros).with_timezone(UTC)
}

/// A time for people; the plain number where the calendar does not reach.
pub(crate) fn rfc3339(ms: i64) -> String {
    arrow::temporal_conversions::timestamp_ms_to_datetime(ms).map_or_else(
        || format!("{ms} ms"),
        |time| time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string(),
    )
}
