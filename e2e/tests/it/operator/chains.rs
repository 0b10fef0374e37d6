//! Windows over windows whose steps are changed while time goes on: each window is as one form of the Pipeline has it, and the forms
//! follow each other as they were applied.
use super::{forms::Forms, stand::edited};

const PIPELINE: &str = r"
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: changing, namespace: web}
spec:
  sources:
    - {name: clicks, start: Earliest}
  steps:
    - name: unique_clicks
      deduplicate: {from: clicks, by: [event_id], within: 10m}
    - name: inner_windows
      aggregate:
        window: {tumbling: 15m}
        late: {policy: Drop}
        sql: SELECT method, count(*) AS count, count(*) FILTER (WHERE code >= 400) AS errors FROM unique_clicks GROUP BY method
    - name: between
      sql: SELECT method, count, errors FROM inner_windows WHERE count > 0
    - name: outer_windows
      aggregate:
        window: {tumbling: 2h}
        late: {policy: Drop}
        sql: SELECT method, max(count) AS most, sum(errors) AS errors, count(*) AS parts FROM between GROUP BY method
  outputs:
    - {name: all_clicks, from: unique_clicks, postgres: {sink: warehouse}}
    - {name: inner_windows, from: inner_windows, postgres: {sink: warehouse}}
    - {name: outer_windows, from: outer_windows, postgres: {sink: warehouse}}
  scaling: {min: 2, max: 2}
";

/// A form of the Pipeline, and the windows as queries over the rows would have them.
#[derive(Clone, Copy)]
struct Form {
    what: &'static str,
    /// What is written instead of what.
    edits: &'static [(&'static str, &'static str)],
    /// Lengths of the inner and the outer windows.
    lengths: [&'static str; 2],
    /// Which events are errors.
    errors: &'static str,
    /// What `most` is.
    most: &'static str,
    /// Which inner windows the outer ones are made of.
    filter: &'static str,
}

const FIRST: Form = Form {
    what: "as it was at first",
    edits: &[],
    lengths: ["15 minutes", "2 hours"],
    errors: "code >= 400",
    most: "max(count)",
    filter: "true",
};

/// One after the other.
const FORMS: [Form; 7] = [
    FIRST,
    Form {
        what: "an aggregate of the inner windows",
        edits: &[("code >= 400", "code = 301")],
        errors: "code = 301",
        ..FIRST
    },
    Form {
        what: "an aggregate of the outer windows",
        edits: &[("max(count)", "min(count)")],
        most: "min(count)",
        ..FIRST
    },
    Form {
        what: "shorter inner windows",
        edits: &[("tumbling: 15m", "tumbling: 10m")],
        lengths: ["10 minutes", "2 hours"],
        ..FIRST
    },
    Form {
        what: "shorter outer windows",
        edits: &[("tumbling: 2h", "tumbling: 1h")],
        lengths: ["15 minutes", "1 hour"],
        ..FIRST
    },
    Form {
        what: "the step between",
        edits: &[("WHERE count > 0", "WHERE count % 2 = 0")],
        filter: "count % 2 = 0",
        ..FIRST
    },
    FIRST,
];

/// The Pipeline without its outer windows. Once they are back, those that began in between are computed as well.
fn without_outer() -> String {
    let (inner, _) = PIPELINE.split_once("    - name: between").unwrap();
    let (_, outputs) = PIPELINE.split_once("  outputs:").unwrap();
    let lines = outputs
        .lines()
        .filter(|line| !line.contains("outer_windows"));
    let outputs: Vec<&str> = lines.collect();
    format!("{inner}  outputs:{}\n", outputs.join("\n"))
}

/// The windows of a form, as SQL over the rows.
type Query = fn(&Form) -> String;

impl Form {
    /// The inner windows.
    fn inner(&self) -> String {
        format!(
            "SELECT date_bin('{0}', ts, '2000-01-01Z') AS window_start, date_bin('{0}', ts, '2000-01-01Z') + interval '{0}' AS window_end, \
             method, count(*) AS count, count(*) FILTER (WHERE {1}) AS errors FROM all_clicks WHERE ts < '2015-12-31Z' GROUP BY 1, 2, 3",
            self.lengths[0], self.errors
        )
    }

    /// The outer windows.
    fn outer(&self) -> String {
        let start = format!(
            "date_bin('{}', window_end - interval '1 millisecond', '2000-01-01Z')",
            self.lengths[1]
        );
        format!(
            "SELECT {start} AS window_start, {start} + interval '{}' AS window_end, method, {} AS most, sum(errors) AS errors, count(*) AS parts \
             FROM ({}) AS inner_windows WHERE {} GROUP BY 1, 2, 3",
            self.lengths[1],
            self.most,
            self.inner(),
            self.filter
        )
    }
}

/// The method of an event.
fn method(number: usize) -> &'static str {
    ["GET", "POST", "PUT"][number * 7_919 % 31 % 3]
}

#[test]
fn after_changes_of_a_chain_each_window_is_as_one_form_has_it() {
    let mut forms = Forms::new("chained", PIPELINE, method);
    for (index, form) in FORMS.iter().enumerate().skip(1) {
        let (stays, next) = (forms.grow("outer_windows"), edited(PIPELINE, form.edits));
        match index == FORMS.len() - 1 {
            true => forms.next_after(&without_outer(), "inner_windows", &next, stays),
            false => forms.next(&next, stays),
        }
    }
    forms.grow("outer_windows");
    forms.end();
    let queries: [(&str, &str, Query); 2] = [
        ("inner_windows", "count, errors", Form::inner),
        ("outer_windows", "most, errors, parts", Form::outer),
    ];
    for (table, columns, by_form) in queries {
        let of_forms = FORMS.map(|form| (form.what, by_form(&form)));
        forms.expect(table, columns, &of_forms);
    }
    forms.stand.expect_side_by_side();
}
