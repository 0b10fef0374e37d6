//! What must be there when all is over.
use std::collections::BTreeMap;

use tidewheel_e2e::measured;

use super::scene::Scene;

/// Windows of one kind.
struct Windows {
    /// Their output, and its table.
    output: &'static str,
    /// What their rows have besides the start.
    columns: &'static str,
    /// What they should be, of the rows.
    expected: &'static str,
    /// How often each event counts.
    times: u64,
}

const ALL: [Windows; 4] = [
    Windows {
        output: "per_kind",
        columns: "kind, count, total",
        expected: "SELECT date_bin('10 s', ts, '1970-01-01T00:00:00Z') AS window_start, kind, count(*) AS count, sum(number) AS total \
            FROM all_orders GROUP BY 1, 2",
        times: 1,
    },
    Windows {
        output: "overlapping",
        columns: "kind, count, total",
        expected: "SELECT date_bin('5 s', ts, '1970-01-01T00:00:00Z') - back * interval '5 s' AS window_start, kind, count(*) AS count, \
            sum(number) AS total FROM all_orders, generate_series(0, 3) AS back GROUP BY 1, 2",
        times: 4,
    },
    // An event begins a session where the one before it, of the same visitor, is as far away as the gap.
    Windows {
        output: "visits",
        columns: "window_end, visitor, count, total",
        expected: "SELECT min(ts) AS window_start, max(ts) + interval '2 s' AS window_end, visitor, count(*) AS count, sum(number) AS total \
            FROM (SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY visitor ORDER BY ts) AS visit FROM \
            (SELECT *, number / 500 AS visitor, ts - lag(ts) OVER (PARTITION BY number / 500 ORDER BY ts) >= interval '2 s' AS begins \
            FROM all_orders) AS told) AS apart GROUP BY visitor, visit",
        times: 1,
    },
    Windows {
        output: "over_short",
        columns: "kind, count, total, most, parts",
        expected: "SELECT date_bin('20 s', start, '1970-01-01T00:00:00Z') AS window_start, kind, sum(count) AS count, sum(total) AS total, \
            max(count) AS most, count(*) AS parts FROM (SELECT date_bin('5 s', ts, '1970-01-01T00:00:00Z') AS start, kind, \
            count(*) AS count, sum(number) AS total FROM all_orders GROUP BY 1, 2) AS short GROUP BY 1, 2",
        times: 1,
    },
];

/// Sees that every event up to this number is a row, exactly once, that the windows are those of a query over the rows, and that
/// the ledgers add up.
pub(super) fn pass(scene: &Scene, events: u64) {
    let shop = &scene.shop;
    let sql = |sql: &str| scene.sql(sql).unwrap_or_default();
    let all = format!("{events}|{events}|0|{}", events - 1);
    shop.until("every event is a row", || scene.rows(0, events) >= events);
    assert_eq!(
        sql("SELECT count(*), count(DISTINCT number), min(number), max(number) FROM all_orders"),
        all
    );
    for windows in ALL {
        let output = windows.output;
        // The sources are idle by now, and their time goes on.
        let counted = (events * windows.times).to_string();
        shop.until(&format!("every event is in a window of {output}"), || {
            sql(&format!("SELECT sum(count) FROM {output}")) == counted
        });
        let found = format!("SELECT window_start, {} FROM {output}", windows.columns);
        let expected = format!(
            "SELECT window_start, {} FROM ({}) AS expected",
            windows.columns, windows.expected
        );
        for (one, other) in [(&expected, &found), (&found, &expected)] {
            let missing = sql(&format!("{one} EXCEPT ALL {other}"));
            assert_eq!(missing, "", "not of {other}");
        }
        let rows = sql(&format!(
            "SELECT count(*), sum(_revision - 1) FROM {output}"
        ));
        measured(&format!("chaos: rows of {output}, and amendments: {rows}"));
    }
    assert_ledgers(scene, events);
}

fn assert_ledgers(scene: &Scene, events: u64) {
    let metrics = scene.metrics();
    let read = sum(&metrics, "tidewheel_output_read_total", |labels| {
        labels["name"].clone()
    });
    let fates = sum(&metrics, "tidewheel_output_fates_total", |labels| {
        format!("{} {}", labels["name"], labels["fate"])
    });
    let fate = |fate: &str| {
        fates
            .get(&format!("all_orders {fate}"))
            .copied()
            .unwrap_or(0)
    };
    assert_eq!(fate("written"), events, "{fates:?}");
    // What was sent again had come before.
    let duplicates = fate("duplicate");
    measured(&format!(
        "chaos: ledger: {} records were read, {duplicates} of them duplicates",
        read["all_orders"]
    ));
    assert_eq!(read["all_orders"], events + duplicates, "{fates:?}");
    for windows in ALL {
        let output = windows.output;
        let own = fates.iter().filter(|(name, _)| {
            let (name, _) = name.split_once(' ').unwrap_or_default();
            name == output
        });
        let of_windows: u64 = own.map(|(_, count)| count).sum();
        assert_eq!(read[output], of_windows, "{output}: {fates:?}");
    }
}

/// The sums of a metric's series that have one name.
fn sum(
    metrics: &[String],
    metric: &str,
    name: impl Fn(&BTreeMap<String, String>) -> String,
) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in metrics {
        let Some((labels, value)) = line
            .strip_prefix(metric)
            .and_then(|rest| rest.strip_prefix('{')?.split_once("} "))
        else {
            continue;
        };
        let labels = labels.split(',').filter_map(|label| {
            let (name, value) = label.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('"').to_owned()))
        });
        let value: f64 = value.parse().unwrap();
        *sums.entry(name(&labels.collect())).or_default() += value as u64;
    }
    sums
}
