//! Windows over windows whose steps are changed while time goes on: each window is as one form of the Pipeline has it, and the forms
//! follow each other as they were applied.
use std::{
    collections::{BTreeMap, BTreeSet},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    shop::{PATIENCE, Shop},
    stand::{Stand, edited},
};

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

/// Rows by the start of their windows, as text.
type Windows = BTreeMap<String, Vec<String>>;

/// What is known of when a form took the place of the one before.
struct Applied {
    /// Windows that begin up to then stay as they are.
    stays: String,
    /// A moment that was still to come in the events' time when no worker of the old form was left.
    over: String,
    /// The step was taken out before: the window that was open then, which began by now, has no row.
    taken_out: Option<String>,
}

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

/// Every ten seconds an event, in their order.
fn event(number: usize) -> String {
    let (day, seconds) = (17 + number / 8_640, number % 8_640 * 10);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let method = ["GET", "POST", "PUT"][number * 7_919 % 31 % 3];
    let code = [200, 404, 301, 500, 200][number % 5];
    format!(
        r#"{{"event_id": "00000000-0000-4000-8000-{number:012}", "timestamp": "2015-05-{day}T{hour:02}:{minute:02}:{second:02}Z", "source": "chains", "attributes": {{"method": "{method}", "code": {code}}}}}"#
    )
}

/// The time of the event that is sent next, as the database writes it.
fn time_of(stand: &Stand) -> String {
    let seconds = stand.sent * 10;
    let sql = format!("SELECT timestamptz '2015-05-17Z' + interval '{seconds} seconds'");
    stand.shop.sql(&sql).trim().to_owned()
}

fn windows(shop: &Shop, query: &str) -> Windows {
    let found = shop.sql(&format!(
        "SELECT * FROM ({query}) AS windows ORDER BY window_start, window_end, method"
    ));
    let mut windows = Windows::new();
    for row in found.lines() {
        let (start, _) = row.split_once('|').unwrap();
        windows
            .entry(start.to_owned())
            .or_default()
            .push(row.to_owned());
    }
    windows
}

/// Sends until there are rows of windows that begin four hours after this, of all three groups, and says up to which start windows have to
/// stay as they are. That is four hours before the newest: where their length changes, the new ones begin where windows of both lengths do,
/// and a task that has no group may not have closed yet what the others have.
fn grow(stand: &mut Stand, table: &str, after: &str) -> String {
    let query = format!(
        "SELECT max(window_start) - interval '4 hours' FROM (SELECT window_start FROM {table} GROUP BY 1 HAVING count(*) = 3) AS whole"
    );
    let began = Instant::now();
    loop {
        stand.send(100);
        let stays = stand.shop.sql(&query);
        if stays.trim() > after {
            return stays.trim().to_owned();
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{table} does not grow beyond {after}: {}",
            stand.shop.everything()
        );
    }
}

/// Each window is as one of the forms has it, and the forms follow each other: what was there before one was applied stays, and
/// what is later than its application is as it says. Says what is otherwise.
fn in_turn(found: &Windows, forms: &[Windows], applied: &[Applied]) -> Result<(), String> {
    let starts: BTreeSet<&String> = forms.iter().chain([found]).flat_map(|w| w.keys()).collect();
    let (mut current, mut certain) = (0, BTreeSet::new());
    for start in starts {
        let least = applied.iter().take_while(|form| form.over < *start).count();
        let most = applied
            .iter()
            .take_while(|form| form.stays < *start)
            .count();
        current = current.max(least);
        let of = |form: usize| forms[form].get(start);
        let is_lost = |form: &Applied| {
            let taken_out = form.taken_out.as_ref();
            taken_out.is_some_and(|until| form.stays < *start && start <= until)
        };
        if !found.contains_key(start) && applied.iter().any(is_lost) {
            continue;
        }
        let Some(form) = (current..=most).find(|form| of(*form) == found.get(start)) else {
            let wanted: Vec<_> = (current..=most)
                .map(|form| (FORMS[form].what, of(form)))
                .collect();
            return Err(format!(
                "at {start} is {:?} instead of {wanted:?}",
                found.get(start)
            ));
        };
        current = form;
        certain.extend((least == most).then_some(form));
    }
    // Otherwise a form may never have been at work.
    if certain.len() < forms.len() {
        return Err(format!("of some forms no window has to be: {certain:?}"));
    }
    Ok(())
}

#[test]
fn after_changes_of_a_chain_each_window_is_as_one_form_has_it() {
    let source = |shop: &Shop| {
        // A pause of those who send must not make what follows late.
        let delay = "maxOutOfOrder: 1m";
        let source = shop.example("source.yaml");
        assert!(source.contains(delay), "{source}");
        source.replace(delay, "maxOutOfOrder: 1m, idleAfter: 1h")
    };
    let mut stand = Stand::new("chained", source, PIPELINE, event);
    let mut applied: Vec<Applied> = Vec::new();
    let mut over = time_of(&stand);
    for (index, form) in FORMS.iter().enumerate().skip(1) {
        let stays = grow(&mut stand, "outer_windows", &over);
        let mut taken_out = None;
        if index == FORMS.len() - 1 {
            stand.change(&without_outer());
            let since = time_of(&stand);
            grow(&mut stand, "inner_windows", &since);
            taken_out = Some(since);
        }
        stand.change(&edited(PIPELINE, form.edits));
        over = time_of(&stand);
        applied.push(Applied {
            stays,
            over: over.clone(),
            taken_out,
        });
    }
    grow(&mut stand, "outer_windows", &over);
    stand.shop.close_windows();
    stand.until_all_are_rows("in the end");

    let queries: [(&str, &str, Query); 2] = [
        ("inner_windows", "count, errors", Form::inner),
        ("outer_windows", "most, errors, parts", Form::outer),
    ];
    for (table, columns, by_form) in queries {
        let shop = &stand.shop;
        let by_forms: Vec<_> = FORMS
            .iter()
            .map(|form| windows(shop, &by_form(form)))
            .collect();
        let query = format!(
            "SELECT window_start, window_end, method, {columns} FROM {table} WHERE window_start < '2015-12-31Z'"
        );
        let began = Instant::now();
        while let Err(why) = in_turn(&windows(shop, &query), &by_forms, &applied) {
            assert!(began.elapsed() < PATIENCE, "{table} {why}");
            sleep(Duration::from_secs(1));
        }
    }
    stand.expect_side_by_side();
}
