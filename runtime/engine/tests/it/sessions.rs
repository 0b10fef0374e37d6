//! Sessions: joined over batches and partitions, emitted once.
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use tidewheel_log::Record;
use tidewheel_planner::plan::Plan;

use crate::fixture::{MINUTE, Pipeline, T0, event, header, plan, record};
use crate::hopping::{Click, Expected, Member, OUT_OF_ORDER, Random, play, rows};

const SQL: &str = "SELECT page, count(*) AS n, sum(items) AS s, first_value(id) AS f, last_value(id) AS l FROM clicks GROUP BY page";

fn sessions(gap_s: i64, late: &str, sql: &str) -> Arc<Plan> {
    let steps = format!(
        "    - name: w\n      aggregate: {{window: {{session: {{gap: {gap_s}s}}}}, late: {late}, sql: '{sql}'}}\n"
    );
    plan(&steps, &["w"])
}

/// Clicks of two partitions that come in bursts, some late by a little, some by much.
fn clicks(random: &mut Random, gap_ms: i64) -> [Vec<Click>; 2] {
    let mut id = 0;
    [0, 1].map(|_| {
        let mut at_ms = 0;
        let clicks = (0..150).map(|_| {
            at_ms += match random.below(10) {
                0 => random.below(3 * gap_ms),
                1 => gap_ms / 4,
                _ => random.below(gap_ms / 4),
            };
            let behind_ms = match random.below(8) {
                0 => random.below(2 * OUT_OF_ORDER),
                _ => random.below(OUT_OF_ORDER / 8),
            };
            id += 1;
            Click {
                id: format!("c{id}"),
                ts_ms: (at_ms - behind_ms).max(0),
                page: [Some("/"), Some("/a"), Some("/b"), None][random.below(4) as usize],
                items: random.below(20),
            }
        });
        clicks.collect()
    })
}

/// What has to come out, session by session, and how many clicks are in none.
fn plain((gap_ms, allowed_ms): (i64, i64), partitions: &[Vec<Click>]) -> (Expected, u64) {
    let mut groups: BTreeMap<Option<&str>, Vec<Member<'_>>> = BTreeMap::new();
    let mut late = 0;
    for (partition, clicks) in partitions.iter().enumerate() {
        let mut watermark_ms = i64::MIN;
        for (offset, click) in clicks.iter().enumerate() {
            if watermark_ms <= click.ts_ms + allowed_ms {
                let member = (click.ts_ms, partition, offset, click);
                groups.entry(click.page).or_default().push(member);
            } else {
                late += 1;
            }
            watermark_ms = watermark_ms.max(click.ts_ms - OUT_OF_ORDER);
        }
    }
    let mut rows = BTreeMap::new();
    for (page, mut of) in groups {
        of.sort_by_key(|&(ts_ms, partition, offset, _)| (ts_ms, partition, offset));
        for session in of.chunk_by(|a, b| b.0 - a.0 < gap_ms) {
            let (first, last) = (session[0].3, session[session.len() - 1].3);
            let sum = session.iter().map(|(.., click)| click.items).sum();
            let totals = (session.len() as i64, sum, first.id.clone(), last.id.clone());
            rows.insert((first.ts_ms, page.map(str::to_owned)), totals);
        }
    }
    (rows, late)
}

#[test]
fn whatever_the_batches_and_takeovers_sessions_equal_a_plain_computation() {
    let mut all_late = 0;
    for seed in 0..48 {
        let mut random = Random(seed);
        let gap_s = [5, 20, 60, 200][random.below(4) as usize];
        let (policy, allowed_s) = [
            ("DeadLetter", 0),
            ("DeadLetter", 20),
            ("Drop", 0),
            ("Drop", 45),
        ][random.below(4) as usize];
        let what = format!("seed {seed}: {gap_s} s, {policy} {allowed_s} s");
        let late = format!("{{allowed: {allowed_s}s, policy: {policy}}}");
        let mut pipeline = Pipeline::new(sessions(gap_s, &late, SQL), 2);
        let clicks = clicks(&mut random, gap_s * 1_000);
        play(&mut pipeline, &clicks, &mut random);
        let (expected, too_late) = plain((gap_s * 1_000, allowed_s * 1_000), &clicks);
        assert_eq!(rows(&pipeline), expected, "{what}");
        let again = pipeline.rows("w").into_iter();
        let again = again.filter(|row| row["_revision"] != "1").count();
        assert_eq!(again, 0, "{what}: sessions are final");
        let ledger = pipeline.window_ledger("w");
        let counted: u64 = expected.values().map(|(count, ..)| *count as u64).sum();
        assert_eq!((ledger.read, ledger.written), (counted, counted), "{what}");
        assert!(
            pipeline
                .steps
                .iter()
                .all(|task| task.open_windows().is_empty())
        );
        let steps = pipeline
            .sources
            .iter()
            .map(|task| task.ledgers().steps["w"].late);
        let dropped: u64 = steps.sum();
        assert_eq!(pipeline.dead.len() as u64 + dropped, too_late, "{what}");
        assert!((policy == "Drop") || dropped == 0, "{what}");
        all_late += too_late;
    }
    assert!(all_late > 50, "{all_late}");
}

fn click(offset: i64, s: i64) -> Record {
    record(offset, 60 * MINUTE, &event("e", s * 1_000, "\"items\": 1"))
}

#[test]
fn a_session_lasts_from_its_first_event_to_the_gap_after_its_last() {
    let sql =
        "SELECT count(*) AS n, window_end > window_start AS lasts FROM clicks HAVING count(*) < 9";
    let mut pipeline = Pipeline::new(sessions(10, "{policy: Drop}", sql), 1);
    pipeline.send(0, &[3, 21, 12, 31].map(|s| click(s, s)));
    pipeline.close();
    let rows = pipeline.rows("w");
    let millis = |text: &str| string_to_timestamp_nanos(text).unwrap() / 1_000_000 - T0;
    let found: Vec<_> = rows
        .iter()
        .map(|row| {
            let bounds = (millis(&row["window_start"]), millis(&row["window_end"]));
            (bounds, row["n"].as_str(), row["lasts"].as_str())
        })
        .collect();
    assert_eq!(
        found,
        [
            ((3_000, 31_000), "3", "true"),
            ((31_000, 41_000), "1", "true")
        ]
    );
}

#[test]
fn what_fails_joins_no_sessions() {
    // The second event lies between the others, and has no number.
    let sql = "SELECT count(*) AS n, sum(CAST(page AS BIGINT)) AS s FROM clicks";
    let mut pipeline = Pipeline::new(sessions(10, "{policy: Drop}", sql), 1);
    let pages = ["1", "many", "2"];
    let records = (0..).zip(pages).map(|(n, page)| {
        let members = format!("\"page\": \"{page}\"");
        record(n, 60 * MINUTE, &event("e", n * 8_000, &members))
    });
    pipeline.send(0, &records.collect::<Vec<_>>());
    pipeline.close();
    let counts: Vec<String> = pipeline
        .rows("w")
        .iter()
        .map(|row| row["n"].clone())
        .collect();
    assert_eq!(counts, ["1", "1"]);
    assert_eq!(pipeline.dead_letters()[0].0, "Evaluation");
}

#[test]
fn an_event_behind_the_watermark_is_late_even_where_a_session_goes_on() {
    let mut pipeline = Pipeline::new(
        sessions(
            600,
            "{policy: DeadLetter}",
            "SELECT count(*) AS n FROM clicks",
        ),
        1,
    );
    pipeline.send(0, &[click(0, 300), click(1, 239), click(2, 240)]);
    pipeline.close();
    assert_eq!(pipeline.rows("w")[0]["n"], "2");
    assert_eq!(pipeline.dead_letters()[0].2, 1);
    assert_eq!(
        header(&pipeline.dead[0], "tidewheel-message").unwrap(),
        "sessions that would hold 2026-01-01T00:03:59Z may be final and the watermark of its partition is 2026-01-01T00:04:00Z"
    );
}

#[test]
fn what_comes_for_a_final_session_is_told() {
    let mut pipeline = Pipeline::new(
        sessions(60, "{policy: Drop}", "SELECT count(*) AS n FROM clicks"),
        1,
    );
    let before = pipeline.take(0, &[click(0, 0)]);
    let after = pipeline.take(0, &[click(1, 600)]);
    pipeline.deliver(after);
    pipeline.deliver(before);
    pipeline.close();
    assert_eq!(pipeline.dead_letters()[0].0, "WindowPurged");
    assert_eq!(
        header(&pipeline.dead[0], "tidewheel-message").unwrap(),
        "sessions that would hold 2026-01-01T00:00:00Z are final; contributions of clicks/0 from offset 0 to before 1"
    );
    let ledger = pipeline.window_ledger("w");
    let dead = ledger.dead_lettered["WindowPurged"];
    assert_eq!(
        (ledger.read, ledger.written, dead, ledger.balance()),
        (2, 1, 1, 0)
    );
}
