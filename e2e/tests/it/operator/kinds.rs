//! Windows that become windows of another kind while time goes on, or windows that are written at another time.
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
    - name: of_method
      aggregate:
        window: {tumbling: 15m}
        late: {policy: Drop}
        sql: SELECT method, count(*) AS count, sum(code) AS sum_code FROM unique_clicks GROUP BY method
  outputs:
    - {name: all_clicks, from: unique_clicks, postgres: {sink: warehouse}}
    - {name: of_method, from: of_method, postgres: {sink: warehouse}}
  scaling: {min: 2, max: 2}
";

/// What each form is, what is written instead of the windows of the Pipeline above, and its windows as SQL over the rows.
fn forms() -> [(&'static str, &'static str, String); 6] {
    let tumbling = "window: {tumbling: 15m}";
    [
        ("tumbling windows", tumbling, covering("15 minutes", 1)),
        (
            "sessions",
            "window: {session: {gap: 5m}}",
            sessions("5 minutes"),
        ),
        (
            "sessions with a shorter gap",
            "window: {session: {gap: 3m}}",
            sessions("3 minutes"),
        ),
        (
            "windows that overlap",
            "window: {hopping: {size: 30m, every: 15m}}",
            covering("15 minutes", 2),
        ),
        (
            "tumbling windows that are amended",
            "window: {tumbling: 10m}\n        late: {allowed: 30m, policy: Amend}",
            covering("10 minutes", 1),
        ),
        (
            "tumbling windows that are written once",
            tumbling,
            covering("15 minutes", 1),
        ),
    ]
}

/// Windows that are as long as some of these steps from start to start.
fn covering(every: &str, steps: u8) -> String {
    let last = format!("date_bin('{every}', ts, '2000-01-01Z')");
    format!(
        "SELECT window_start, window_start + {steps} * interval '{every}' AS window_end, method, count(*) AS count, sum(code) AS sum_code \
         FROM all_clicks, generate_series({last} - ({steps} - 1) * interval '{every}', {last}, interval '{every}') AS starts(window_start) \
         WHERE ts < '2015-12-31Z' GROUP BY 1, 2, 3"
    )
}

/// Sessions that end after this gap.
fn sessions(gap: &str) -> String {
    format!(
        "SELECT min(ts) AS window_start, max(ts) + interval '{gap}' AS window_end, method, count(*) AS count, sum(code) AS sum_code \
         FROM (SELECT ts, method, code, count(*) FILTER (WHERE begins) OVER (PARTITION BY method ORDER BY ts) AS session \
         FROM (SELECT ts, method, code, coalesce(ts - lag(ts) OVER (PARTITION BY method ORDER BY ts) >= interval '{gap}', true) AS begins \
         FROM all_clicks WHERE ts < '2015-12-31Z') AS followed) AS numbered GROUP BY method, session"
    )
}

/// Each method has two pauses in an hour, of ten minutes and of four, in which its events are of the next method.
fn method(number: usize) -> &'static str {
    let (minute, method) = (number / 6 % 60, number % 3);
    let of_pause = (minute + 20 * method) % 60;
    let pauses = (10..20).contains(&of_pause) || (40..44).contains(&of_pause);
    ["GET", "POST", "PUT"][(method + usize::from(pauses)) % 3]
}

#[test]
fn windows_that_become_windows_of_another_kind_are_of_one_or_the_other() {
    let mut changing = Forms::new("kinds", PIPELINE, method);
    let forms = forms();
    let (_, first, _) = forms[0];
    for (_, windows, _) in &forms[1..] {
        // What is written instead may say what becomes of late events, too.
        let replaced = match windows.contains("late:") {
            true => format!("{first}\n        late: {{policy: Drop}}"),
            false => first.to_owned(),
        };
        let stays = changing.grow("of_method");
        changing.next(&edited(PIPELINE, &[(&replaced, windows)]), stays);
    }
    changing.grow("of_method");
    changing.end();
    let of_forms = forms.map(|(what, _, query)| (what, query));
    changing.expect("of_method", "count, sum_code", &of_forms);
    changing.stand.expect_side_by_side();
}
