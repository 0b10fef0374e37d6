//! What must be there when all is over.
use std::collections::BTreeMap;

use tidewheel_e2e::measured;

use super::scene::Scene;

/// What the windows should be, of the rows.
const EXPECTED: &str = "SELECT date_bin('10 s', ts, '1970-01-01T00:00:00Z') AS window_start, kind, count(*) AS count, sum(number) AS total \
     FROM all_orders GROUP BY 1, 2";
const FOUND: &str = "SELECT window_start, kind, count, total FROM per_kind";

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
    // The sources are idle by now, and their time goes on.
    shop.until("every event is in a window", || {
        sql("SELECT sum(count) FROM per_kind") == events.to_string()
    });
    for (one, other) in [(EXPECTED, FOUND), (FOUND, EXPECTED)] {
        let missing = sql(&format!("{one} EXCEPT {other}"));
        assert_eq!(missing, "", "not of {other}");
    }
    let windows = sql("SELECT count(*), sum(_revision - 1) FROM per_kind");
    measured(&format!(
        "chaos: windows by kind, and amendments: {windows}"
    ));
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
    let of_windows: u64 = fates
        .iter()
        .filter(|(name, _)| name.starts_with("per_kind "))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(read["per_kind"], of_windows, "{fates:?}");
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
