//! Dead letters of windows and groups, which have no bytes of their own: a JSON object says which they are.
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};
use tidewheel_log::{NewRecord, Record};
use tidewheel_planner::TYPE_KEY;
use tidewheel_planner::plan::{Plan, Window};

use super::emission::Emission;
use super::{StepTask, contributions};
use crate::timestamp::rfc3339;
use crate::wire::dead_letter::{DeadLetter, Reason};
use crate::wire::partial;

impl StepTask {
    pub(super) fn bury_failures(&self, emission: &Emission, plan: &Plan, log: &mut Vec<NewRecord>) {
        let groups = self.aggregate().group_columns;
        for (group, step, message) in &emission.failures {
            let value = describe(&emission.keys.slice(*group as usize, 1), groups + 1);
            let letter = self.letter(Reason::Evaluation, message, &plan.steps[*step].name);
            log.push(letter.of_group(&self.names.dead_letters(), self.at, 0, &value));
        }
    }

    /// A window that was purged is never made again, and a final session takes nothing: what still comes for them is told group by group.
    pub(super) fn bury_purged(
        &mut self,
        record: &Record,
        header: &partial::PartialHeader,
        start_ms: i64,
        partials: &RecordBatch,
        log: &mut Vec<NewRecord>,
    ) {
        for output in &mut self.outputs {
            *output.ledger.dead_lettered(Reason::WindowPurged) += contributions(partials);
        }
        let start = rfc3339(start_ms);
        let what = match self.aggregate().window {
            Window::Session { .. } => format!("sessions that would hold {start} are final"),
            _ if self.feeds_others() => format!(
                "the window that starts at {start} is final, because windows of other steps are made of it"
            ),
            _ => format!("the window that starts at {start} is no longer kept"),
        };
        let message = format!(
            "{what}; contributions of {}/{} from offset {} to before {}",
            header.source, header.partition, header.from, header.to
        );
        let groups = self.aggregate().group_columns;
        let letters = (0..partials.num_rows()).map(|row| {
            let value = describe(&partials.slice(row, 1), groups + 1);
            self.letter(Reason::WindowPurged, &message, self.step_name())
                .of_group(
                    &self.names.dead_letters(),
                    record.offset,
                    record.append_time_ms,
                    &value,
                )
        });
        log.extend(letters.collect::<Vec<_>>());
    }

    pub(super) fn letter<'a>(
        &'a self,
        reason: Reason,
        message: &'a str,
        step: &'a str,
    ) -> DeadLetter<'a> {
        DeadLetter {
            reason: reason.as_str(),
            message,
            step: Some(step),
            field: None,
            rows_taken: 0,
            input: self.step_name(),
            partition: self.setup.partition,
        }
    }
}

/// A group or a row of one, by its first `columns` columns. Values are as readers of tables are given them.
pub(crate) fn describe(row: &RecordBatch, columns: usize) -> Map<String, Value> {
    let options = FormatOptions::default();
    let mut object = Map::new();
    for (index, field) in row.schema().fields().iter().take(columns).enumerate() {
        let column = row.column(index);
        let is_window = index == 0 && field.name() == "_window";
        let value = if column.is_null(0) {
            Value::Null
        } else if is_window {
            rfc3339(column.as_primitive::<Int64Type>().value(0)).into()
        } else {
            let text = ArrayFormatter::try_new(column.as_ref(), &options)
                .map(|text| text.value(0).to_string());
            json(field, text.unwrap_or_default())
        };
        let name = if is_window {
            "window_start"
        } else {
            field.name()
        };
        object.insert(name.to_owned(), value);
    }
    object
}

/// A value by its text: numbers and booleans are JSON's own, an infinite double is `"Infinity"` or `"-Infinity"` and NaN null, json is what
/// it says; everything else is text, numerics to stay exact.
fn json(field: &Field, text: String) -> Value {
    match field.data_type() {
        DataType::Boolean => (text == "true").into(),
        whole if whole.is_integer() => text.parse::<i64>().map_or(Value::String(text), Value::from),
        real if real.is_floating() => match text.parse::<f64>() {
            Ok(f64::INFINITY) => "Infinity".into(),
            Ok(f64::NEG_INFINITY) => "-Infinity".into(),
            Ok(number) => number.into(),
            Err(_) => text.into(),
        },
        _ if field
            .metadata()
            .get(TYPE_KEY)
            .is_some_and(|of| of == "json") =>
        {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        _ => text.into(),
    }
}
