//! Pipelines that are changed while events flow: after each change the windows are as if it had always been so.
use std::fmt::Write as _;

use super::{
    sender::Sender,
    shop::Shop,
    stand::{Stand, edited},
    topics::Topics,
};

/// Windows stay open for as long as events may come, so that none is final and all follow the newest SQL.
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
    - name: kept
      sql: SELECT ts, method, code, bytes FROM unique_clicks WHERE code < 600
    - name: of_method
      aggregate:
        window: {tumbling: 1h}
        late: {allowed: 366d, policy: Amend}
        sql: SELECT method, count(*) AS count, count(*) FILTER (WHERE code >= 400) AS errors FROM kept GROUP BY method
  outputs:
    - {name: all_clicks, from: unique_clicks, postgres: {sink: warehouse}}
    - {name: of_method, from: of_method, postgres: {sink: warehouse}}
  scaling: {min: 2, max: 2}
";

/// Another form of the Pipeline.
struct Form {
    what: &'static str,
    /// What is written instead of what.
    edits: &'static [(&'static str, &'static str)],
    /// The windows as a query over the rows would have them.
    expected: Expected,
}

struct Expected {
    table: &'static str,
    group: &'static str,
    /// The starts of the windows of a row.
    starts: &'static str,
    /// Columns besides the start and the group, each with what it holds.
    columns: &'static [(&'static str, &'static str)],
    /// Which rows count.
    filter: &'static str,
}

const HOURLY: &str = "(date_bin('1 hour', ts, '2000-01-01Z'))";
const COUNT: (&str, &str) = ("count", "count(*)");
const ERRORS: (&str, &str) = ("errors", "count(*) FILTER (WHERE code >= 400)");
/// What the Pipeline says as it stands above.
const FIRST: Expected = Expected {
    table: "of_method",
    group: "method",
    starts: HOURLY,
    columns: &[COUNT, ERRORS],
    filter: "code < 600",
};

const FORMS: [Form; 9] = [
    Form {
        what: "a condition of a row-wise step",
        edits: &[("code < 600", "code < 500")],
        expected: Expected {
            filter: "code < 500",
            ..FIRST
        },
    },
    Form {
        what: "an aggregate",
        edits: &[("code >= 400", "code = 301")],
        expected: Expected {
            columns: &[COUNT, ("errors", "count(*) FILTER (WHERE code = 301)")],
            ..FIRST
        },
    },
    Form {
        what: "one more column",
        edits: &[("AS errors FROM", "AS errors, sum(bytes) AS sum_bytes FROM")],
        expected: Expected {
            columns: &[COUNT, ERRORS, ("sum_bytes", "sum(bytes)")],
            ..FIRST
        },
    },
    Form {
        what: "shorter windows",
        edits: &[("tumbling: 1h", "tumbling: 20m")],
        expected: Expected {
            starts: "(date_bin('20 minutes', ts, '2000-01-01Z'))",
            ..FIRST
        },
    },
    Form {
        what: "windows that overlap",
        edits: &[("tumbling: 1h", "hopping: {size: 1h, every: 30m}")],
        expected: Expected {
            starts: "(date_bin('30 minutes', ts, '2000-01-01Z')), (date_bin('30 minutes', ts, '2000-01-01Z') - interval '30 minutes')",
            ..FIRST
        },
    },
    Form {
        what: "how long windows wait",
        edits: &[("allowed: 366d", "allowed: 300d")],
        expected: FIRST,
    },
    Form {
        what: "a deduplication",
        edits: &[("within: 10m", "within: 20m")],
        expected: FIRST,
    },
    Form {
        what: "the name of a step",
        edits: &[
            ("- name: of_method", "- name: by_method"),
            ("from: of_method", "from: by_method"),
        ],
        expected: FIRST,
    },
    Form {
        what: "a step between",
        edits: &[
            (
                "    - name: of_method\n",
                "    - {name: errors_of, sql: 'SELECT ts, method, code, bytes FROM kept WHERE code >= 400'}\n    - name: of_method\n",
            ),
            ("FROM kept GROUP", "FROM errors_of GROUP"),
        ],
        expected: Expected {
            filter: "code < 600 AND code >= 400",
            ..FIRST
        },
    },
];

/// A Pipeline, and windows that were closed once.
fn stand(namespace: &'static str, pipeline: &str) -> Stand {
    let source = |shop: &Shop| shop.example("source.yaml");
    let stand = Stand::new(namespace, source, pipeline, |number| {
        event("2015-05-17", number)
    });
    stand.shop.close_windows();
    stand
}

/// Events of some hours of a day, out of order.
fn event(day: &str, number: usize) -> String {
    let seconds = number * 7_919 % 21_600;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let method = ["GET", "POST", "PUT"][number % 3];
    let code = [200, 404, 301, 500, 200][number % 5];
    format!(
        r#"{{"event_id": "00000000-0000-4000-8000-{number:012}", "timestamp": "{day}T{hour:02}:{minute:02}:{second:02}Z", "source": "changes", "attributes": {{"method": "{method}", "code": {code}, "metric": {number}}}}}"#
    )
}

/// Waits until each event is a row, once, and the windows are what the rows say.
fn expect(stand: &Stand, what: &str, expected: &Expected) {
    stand.until_all_are_rows(what);
    let (mut names, mut values) = (String::new(), String::new());
    for (name, value) in expected.columns {
        let _ = write!(names, ", {name}");
        let _ = write!(values, ", {value}");
    }
    let Expected {
        table,
        group,
        starts,
        filter,
        ..
    } = expected;
    let found = format!(
        "SELECT window_start, {group}{names} FROM {table} WHERE window_start < '2015-12-31Z'"
    );
    let by_rows = format!(
        "SELECT start, {group}{values} FROM all_clicks, LATERAL (VALUES {starts}) AS windows(start) WHERE ts < '2015-12-31Z' AND {filter} GROUP BY start, {group}"
    );
    let differ = format!(
        "WITH found AS ({found}), by_rows AS ({by_rows}) SELECT count(*), (SELECT count(*) FROM by_rows) FROM \
         ((TABLE found EXCEPT ALL TABLE by_rows) UNION ALL (TABLE by_rows EXCEPT ALL TABLE found)) AS differ"
    );
    let shop = &stand.shop;
    shop.until(&format!("{what}: the windows are what rows say"), || {
        let found = shop.sql(&differ);
        found.starts_with("0|") && found != "0|0"
    });
}

#[test]
fn after_a_change_in_mid_stream_windows_are_as_if_it_had_always_been_so() {
    let mut stand = stand("changing", PIPELINE);
    for _ in 0..10 {
        stand.send(100);
    }
    expect(&stand, "at first", &FIRST);
    for (index, form) in FORMS.iter().enumerate() {
        stand.change(&edited(PIPELINE, form.edits));
        expect(&stand, form.what, &form.expected);
        // There and back, but not always: one changed form follows another, too.
        if index % 2 == 0 {
            stand.change(PIPELINE);
            expect(&stand, &format!("{}, and back", form.what), &FIRST);
        }
    }

    // Windows that nobody computes for a while.
    let (start, _) = PIPELINE.split_once("    - name: kept").unwrap();
    let output = "    - {name: all_clicks, from: unique_clicks, postgres: {sink: warehouse}}\n";
    let without = format!("{start}  outputs:\n{output}  scaling: {{min: 2, max: 2}}\n");
    stand.change(&without);
    stand.send(100);
    stand.change(PIPELINE);
    expect(&stand, "taken out and put back", &FIRST);

    // All of it is gone for a while.
    stand.shop.delete(&["pipeline/changing"]);
    stand.send(100);
    stand.shop.apply(&edited(PIPELINE, FORMS[1].edits));
    stand.shop.wait_for("pipeline/changing", "Ready");
    stand.send(100);
    expect(
        &stand,
        "deleted and made again, changed",
        &FORMS[1].expected,
    );
    stand.expect_side_by_side();
}

const TABLE: &str = "    - {name: of_method, from: of_method, postgres: {sink: warehouse}}\n";
const ONE_MORE: &str = "    - {name: again, from: of_method, postgres: {sink: warehouse}}\n";
const ROWS: &str = "    - {name: kept_clicks, from: kept, postgres: {sink: warehouse}}\n";

/// Sends events to another source, which is in the same rows.
fn send_views(stand: &mut Stand, sender: &mut Sender, count: usize) {
    let of_views = |number| (stand.event)(number).replace(r#""changes""#, r#""views""#);
    let events: Vec<String> = (stand.sent..stand.sent + count).map(of_views).collect();
    sender.send(&events);
    stand.sent += count;
}

#[test]
fn after_a_change_of_sources_or_outputs_windows_are_as_if_it_had_always_been_so() {
    let both = "SELECT event_id, ts, source, method, code, bytes FROM clicks";
    let step = format!("  steps:\n    - {{name: both, sql: '{both}'}}\n");
    let of_step = [
        ("  steps:\n", step.as_str()),
        ("from: clicks, by", "from: both, by"),
    ];
    let pipeline = edited(PIPELINE, &of_step);
    let first = Expected {
        filter: "code < 600 AND source <> 'views'",
        ..FIRST
    };
    let mut stand = stand("wired", &pipeline);
    stand.send(500);
    expect(&stand, "at first", &first);

    let of_code = [
        ("SELECT method, count", "SELECT code, count"),
        ("kept GROUP BY method", "kept GROUP BY code"),
        ("name: of_method, from", "name: of_code, from"),
    ];
    stand.change(&edited(&pipeline, &of_code));
    let by_code = Expected {
        table: "of_code",
        group: "code",
        ..first
    };
    expect(&stand, "the groups, and so the table", &by_code);

    // Its table has the windows of before; what nobody has is a table that was not there.
    let (tables, rows) = (format!("{TABLE}{ONE_MORE}"), format!("{TABLE}{ROWS}"));
    stand.change(&edited(&pipeline, &[(TABLE, &tables)]));
    let again = Expected {
        table: "again",
        ..first
    };
    expect(&stand, "the groups, and back", &first);
    expect(&stand, "one more table of windows", &again);

    stand.change(&edited(&pipeline, &[(TABLE, &rows)]));
    let since = stand.sent;
    stand.send(200);
    expect(&stand, "one table of windows less", &first);
    let of_rows = |table: &str| {
        let text = "count(*), count(DISTINCT bytes), sum(bytes)";
        format!(
            "SELECT {text} FROM {table} WHERE code < 600 AND bytes >= {since} AND ts < '2015-12-31Z'"
        )
    };
    stand
        .shop
        .until("rows since then are in the table that is new", || {
            let [all, kept] =
                ["all_clicks", "kept_clicks"].map(|table| stand.shop.sql(&of_rows(table)));
            all == kept && all.starts_with("200|200|")
        });

    let source = stand.shop.example("source.yaml");
    stand
        .shop
        .apply(&edited(&source, &[("name: clicks", "name: views")]));
    stand.shop.wait_for("eventsource/views", "Ready");
    let mut views = Sender::to(&stand.shop, "service/views-ingest");
    views.send(&Shop::closing_events());
    send_views(&mut stand, &mut views, 100);
    let union =
        format!("{both} UNION ALL SELECT event_id, ts, source, method, code, bytes FROM views");
    let clicks = "    - {name: clicks, start: Earliest}\n";
    let sources = format!("{clicks}    - {{name: views, start: Earliest}}\n");
    let of_both = edited(&pipeline, &[(both, &union), (clicks, &sources)]);
    stand.change(&of_both);
    send_views(&mut stand, &mut views, 100);
    expect(&stand, "one more source", &FIRST);
    stand.change(&pipeline);
    expect(&stand, "one source less", &first);
    send_views(&mut stand, &mut views, 100);
    stand.change(&of_both);
    expect(&stand, "the source, back", &FIRST);

    stand.change(&edited(
        &source,
        &[("maxOutOfOrder: 1m", "maxOutOfOrder: 10s")],
    ));
    expect(&stand, "how long a source waits", &FIRST);
    stand.expect_side_by_side();
}

/// The windows of what was sent at first.
fn spring(shop: &Shop) -> String {
    shop.sql("SELECT * FROM of_method WHERE window_start < '2015-12-31Z' ORDER BY 1, 2, 3")
}

#[test]
fn windows_of_which_retention_has_taken_events_stay_and_a_condition_says_so() {
    let mut stand = stand("taken", PIPELINE);
    stand.send(300);
    expect(&stand, "at first", &FIRST);
    let recomputed = "WindowsRecomputed";
    stand
        .shop
        .until_reason("pipeline/changing", recomputed, "Recomputed");
    let before = spring(&stand.shop);

    Topics::of(&stand.shop).empty("taken.clicks");
    let form = &FORMS[1];
    stand.shop.apply(&edited(PIPELINE, form.edits));
    stand
        .shop
        .until_reason("pipeline/changing", recomputed, "EventsGone");
    let message = stand.shop.message("pipeline/changing", recomputed);
    assert!(
        message.starts_with("windows of `of_method` that begin ")
            && message.contains("retention has taken events of theirs"),
        "{message}"
    );
    stand.shop.wait_for("pipeline/changing", "Ready");
    assert_eq!(spring(&stand.shop), before);

    // The events that are gone were all of the last year, or are taken for it.
    stand.event = Box::new(|number| event("2016-03-01", number));
    stand.send(300);
    stand.event = Box::new(|number| event("2016-03-02", number));
    stand.send(300);
    let new = "SELECT count(*) FILTER (WHERE errors = by_rows.expected), count(*) FROM of_method JOIN \
        (SELECT date_bin('1 hour', ts, '2000-01-01Z') AS window_start, method, count(*) FILTER (WHERE code = 301) AS expected \
        FROM all_clicks WHERE ts >= '2016-03-01Z' AND ts < '2016-03-02Z' AND code < 600 GROUP BY 1, 2) AS by_rows USING (window_start, method)";
    stand
        .shop
        .until("new windows are computed by the new SQL", || {
            stand.shop.sql(new) == "18|18"
        });
    assert_eq!(spring(&stand.shop), before, "what stays is not touched");
}
