//! Sessions: rows of a group that follow each other by less than a gap.
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion_common::DataFusionError;
use tidewheel_planner::plan::Aggregate;

use crate::wire::{WireError, placement};

/// For each row, which lasts from `first_ms` to `last_ms`, where the session begins that it makes with the others of its group.
pub(crate) fn starts(
    groups: &[ArrayRef],
    first_ms: &[i64],
    last_ms: &[i64],
    gap_ms: i64,
) -> Result<Vec<i64>, WireError> {
    let groups = placement::fingerprints(groups, first_ms.len())?;
    let mut order: Vec<usize> = (0..first_ms.len()).collect();
    order.sort_unstable_by_key(|&row| (groups[row], first_ms[row]));
    let mut starts = vec![0; first_ms.len()];
    let mut session: Option<(u128, i64, i64)> = None;
    for row in order {
        let own = (groups[row], first_ms[row], last_ms[row]);
        let (group, start_ms, end_ms) = match session {
            Some((group, start_ms, end_ms))
                if group == own.0 && own.1 < end_ms.saturating_add(gap_ms) =>
            {
                (group, start_ms, end_ms.max(own.2))
            }
            _ => own,
        };
        starts[row] = start_ms;
        session = Some((group, start_ms, end_ms));
    }
    Ok(starts)
}

/// The time of the last event of each partial, ms.
pub(crate) fn last_ms(aggregate: &Aggregate, partials: &RecordBatch) -> Vec<i64> {
    // The last call's only state; behind it is the number of contributions.
    let column = partials.column(aggregate.partial_schema.fields().len() - 2);
    let micros = column.as_primitive::<TimestampMicrosecondType>().values();
    micros.iter().map(|us| us.div_euclid(1_000)).collect()
}

/// Partials as those of the sessions that they make together.
pub(crate) fn joined(
    aggregate: &Aggregate,
    partials: &RecordBatch,
    gap_ms: i64,
) -> Result<RecordBatch, DataFusionError> {
    let groups = &partials.columns()[1..=aggregate.group_columns];
    let first_ms = partials.column(0).as_primitive::<Int64Type>().values();
    let last_ms = last_ms(aggregate, partials);
    let starts = starts(groups, first_ms, &last_ms, gap_ms)
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    let mut columns = partials.columns().to_vec();
    columns[0] = Arc::new(Int64Array::from(starts));
    Ok(RecordBatch::try_new(partials.schema(), columns)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    fn starts_of(rows: &[(&str, i64, i64)], gap_ms: i64) -> Vec<i64> {
        let groups = StringArray::from_iter_values(rows.iter().map(|(group, ..)| group));
        let first_ms: Vec<i64> = rows.iter().map(|(_, first_ms, _)| *first_ms).collect();
        let last_ms: Vec<i64> = rows.iter().map(|(.., last_ms)| *last_ms).collect();
        starts(&[Arc::new(groups)], &first_ms, &last_ms, gap_ms).unwrap()
    }

    #[test]
    fn what_follows_within_the_gap_is_one_session() {
        let rows = [("a", 18, 18), ("a", 0, 0), ("a", 9, 9), ("a", 28, 28)];
        assert_eq!(starts_of(&rows, 10), [0, 0, 0, 28]);
    }

    #[test]
    fn groups_have_sessions_of_their_own() {
        let rows = [("a", 0, 0), ("b", 5, 5), ("a", 9, 9), ("b", 20, 20)];
        assert_eq!(starts_of(&rows, 10), [0, 5, 0, 20]);
    }

    #[test]
    fn one_that_lasts_longer_joins_those_within() {
        let rows = [
            ("a", 0, 100),
            ("a", 20, 30),
            ("a", 105, 105),
            ("a", 116, 116),
        ];
        assert_eq!(starts_of(&rows, 10), [0, 0, 0, 116]);
    }
}
