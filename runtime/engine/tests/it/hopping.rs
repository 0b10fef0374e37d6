//! Windows that overlap: put together from panes, they come out as if each had been computed alone.
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use tidewheel_engine::stage1::{Recovered, SourceSetup, SourceTask, StartAt};
use tidewheel_engine::{Generations, StepGeneration};
use tidewheel_log::Record;

use crate::fixture::{MINUTE, Pipeline, Row, T0, event, plan, record, source_setup};
use crate::recovery::take_over_steps;

/// Of `base.yaml`.
pub(crate) const OUT_OF_ORDER: i64 = MINUTE;

fn windows(size_s: i64, every_s: i64, late: &str, sql: &str) -> String {
    format!(
        "    - name: w\n      aggregate: {{window: {{hopping: {{size: {size_s}s, every: {every_s}s}}}}, late: {late}, sql: '{sql}'}}\n"
    )
}

pub(crate) fn start_ms(row: &Row) -> i64 {
    string_to_timestamp_nanos(&row["window_start"]).unwrap() / 1_000_000 - T0
}

/// Starts of windows, in minutes after [`T0`], each with a column of its row.
fn by_minute(pipeline: &Pipeline, column: &str) -> Vec<(i64, String)> {
    let rows = pipeline.rows("w");
    let mut rows: Vec<_> = rows
        .iter()
        .map(|row| (start_ms(row) / MINUTE, row[column].clone()))
        .collect();
    rows.sort();
    rows
}

/// Steele, Lea and Flood's SplitMix64, "Fast Splittable Pseudorandom Number Generators" (OOPSLA 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as i64
    }
}

pub(crate) struct Click {
    pub(crate) id: String,
    pub(crate) ts_ms: i64,
    pub(crate) page: Option<&'static str>,
    pub(crate) items: i64,
}

impl Click {
    pub(crate) fn record(&self, offset: i64) -> Record {
        let page = self
            .page
            .map_or("null".to_owned(), |page| format!("\"{page}\""));
        let members = format!("\"page\": {page}, \"items\": {}", self.items);
        record(offset, 180 * MINUTE, &event(&self.id, self.ts_ms, &members))
    }
}

/// Clicks of two partitions, mostly in order, some late by a little, some by much.
fn clicks(random: &mut Random, size_ms: i64) -> [Vec<Click>; 2] {
    let mut id = 0;
    [0, 1].map(|_| {
        let clicks = (0..120).map(|n| {
            let behind_ms = match random.below(6) {
                0 => random.below(OUT_OF_ORDER + 2 * size_ms),
                _ => random.below(OUT_OF_ORDER),
            };
            id += 1;
            Click {
                id: format!("c{id}"),
                ts_ms: (n * 5_000 - behind_ms).max(0),
                page: [Some("/"), Some("/a"), Some("/b"), None][random.below(4) as usize],
                items: random.below(20),
            }
        });
        clicks.collect()
    })
}

/// Count, sum, and the ids of the first and the last by event time, partition and offset.
type Totals = (i64, i64, String, String);

/// A click with its time, partition and offset.
pub(crate) type Member<'a> = (i64, usize, usize, &'a Click);

/// Rows by the start of their window, ms, and page.
pub(crate) type Expected = BTreeMap<(i64, Option<String>), Totals>;

/// What has to come out, window by window and click by click: rows by start and page, and how many clicks are in no window any more.
fn plain(
    (size_ms, every_ms, allowed_ms): (i64, i64, i64),
    partitions: &[Vec<Click>],
) -> (Expected, u64) {
    let mut members: BTreeMap<(i64, Option<String>), Vec<Member<'_>>> = BTreeMap::new();
    let mut late = 0;
    for (partition, clicks) in partitions.iter().enumerate() {
        let mut watermark_ms = i64::MIN;
        for (offset, click) in clicks.iter().enumerate() {
            let starts = (-400..400).map(|n| n * every_ms);
            let holding = starts.filter(|start_ms| {
                // Windows are aligned to the epoch.
                let start_ms = start_ms - T0.rem_euclid(every_ms);
                (start_ms..start_ms + size_ms).contains(&click.ts_ms)
            });
            let mut counts = false;
            for start_ms in holding {
                let start_ms = start_ms - T0.rem_euclid(every_ms);
                if watermark_ms < start_ms + size_ms + allowed_ms {
                    counts = true;
                    let key = (start_ms, click.page.map(str::to_owned));
                    let member = (click.ts_ms, partition, offset, click);
                    members.entry(key).or_default().push(member);
                }
            }
            late += u64::from(!counts);
            watermark_ms = watermark_ms.max(click.ts_ms - OUT_OF_ORDER);
        }
    }
    let totals = |mut of: Vec<Member<'_>>| {
        of.sort_by_key(|&(ts_ms, partition, offset, _)| (ts_ms, partition, offset));
        let id = |member: Option<&Member<'_>>| member.unwrap().3.id.clone();
        let sum = of.iter().map(|(.., click)| click.items).sum();
        (of.len() as i64, sum, id(of.first()), id(of.last()))
    };
    let rows = members.into_iter().map(|(key, of)| (key, totals(of)));
    (rows.collect(), late)
}

pub(crate) fn rows(pipeline: &Pipeline) -> Expected {
    let number = |row: &Row, name: &str| row[name].parse::<i64>().unwrap();
    let entry = |row: Row| {
        let totals = (
            number(&row, "n"),
            number(&row, "s"),
            row["f"].clone(),
            row["l"].clone(),
        );
        ((start_ms(&row), row.get("page").cloned()), totals)
    };
    pipeline.rows("w").into_iter().map(entry).collect()
}

/// Sends all clicks, in batches of some, while tasks are taken over now and then, and closes every window.
pub(crate) fn play(pipeline: &mut Pipeline, clicks: &[Vec<Click>; 2], random: &mut Random) {
    let mut at = [0; 2];
    while at.iter().zip(clicks).any(|(&at, clicks)| at < clicks.len()) {
        let partition = random.below(2) as usize;
        let (from, all) = (at[partition], clicks[partition].len());
        let to = all.min(from + 1 + random.below(9) as usize);
        let records = (from..to).map(|offset| clicks[partition][offset].record(offset as i64));
        pipeline.clock_ms += random.below(4_000);
        pipeline.send(partition, &records.collect::<Vec<_>>());
        at[partition] = to;
        if random.below(8) == 0 {
            take_over_steps(pipeline, 2);
        }
    }
    pipeline.close();
}

#[test]
fn whatever_the_batches_and_takeovers_windows_equal_a_plain_computation() {
    let shapes = [(60, 10), (90, 60), (300, 60), (60, 59), (120, 120), (30, 7)];
    let policies = [
        ("Amend", 0),
        ("Amend", 45),
        ("DeadLetter", 30),
        ("Drop", 90),
    ];
    let (mut all_late, mut partly_late) = (0, 0);
    for seed in 0..48 {
        let mut random = Random(seed);
        let (size_s, every_s) = shapes[seed as usize % shapes.len()];
        let (policy, allowed_s) = policies[random.below(4) as usize];
        let what = format!("seed {seed}: {size_s} s every {every_s} s, {policy} {allowed_s} s");
        let late = format!("{{allowed: {allowed_s}s, policy: {policy}}}");
        let sql = "SELECT page, count(*) AS n, sum(items) AS s, first_value(id) AS f, last_value(id) AS l FROM clicks GROUP BY page";
        let steps = windows(size_s, every_s, &late, sql);
        let mut pipeline = Pipeline::new(plan(&steps, &["w"]), 2);
        let clicks = clicks(&mut random, size_s * 1_000);
        play(&mut pipeline, &clicks, &mut random);
        let of = (size_s * 1_000, every_s * 1_000, allowed_s * 1_000);
        let (expected, too_late) = plain(of, &clicks);
        assert_eq!(rows(&pipeline), expected, "{what}");
        if policy != "Amend" {
            let revisions = pipeline.rows("w").into_iter();
            let again = revisions.filter(|row| row["_revision"] != "1").count();
            assert_eq!(again, 0, "{what}: rows of windows that were not complete");
        }
        let ledger = pipeline.window_ledger("w");
        let contributions: u64 = expected.values().map(|(count, ..)| *count as u64).sum();
        assert_eq!(
            (ledger.read, ledger.written),
            (contributions, contributions),
            "{what}"
        );
        let letters = pipeline.dead_letters();
        let dropped: u64 = pipeline
            .sources
            .iter()
            .map(|task| task.ledgers().steps["w"].late)
            .sum();
        assert!(
            letters.iter().all(|(reason, ..)| reason == "Late"),
            "{what}: {letters:?}"
        );
        assert_eq!(letters.len() as u64 + dropped, too_late, "{what}");
        assert!(policy == "Drop" || dropped == 0, "{what}");
        all_late += too_late;
        let whole = clicks.iter().flatten().count() as i64 - too_late as i64;
        // A size that `every` divides has as many windows over each click.
        partly_late += match size_s % every_s {
            0 => whole * (size_s / every_s) - contributions as i64,
            _ => 0,
        };
    }
    assert!(
        all_late > 50 && partly_late > 50,
        "{all_late}, {partly_late}"
    );
}

fn counting(late: &str) -> Arc<tidewheel_planner::plan::Plan> {
    plan(
        &windows(180, 60, late, "SELECT count(*) AS n FROM clicks"),
        &["w"],
    )
}

/// An event half a minute into the minute `n`.
fn in_minute(offset: i64, n: i64) -> Record {
    record(
        offset,
        60 * MINUTE,
        &event("e", n * MINUTE + MINUTE / 2, ""),
    )
}

fn counts(of: &[(i64, i64)]) -> Vec<(i64, String)> {
    of.iter()
        .map(|(minute, n)| (*minute, n.to_string()))
        .collect()
}

#[test]
fn an_event_is_late_for_those_of_its_windows_that_are_closed() {
    let mut pipeline = Pipeline::new(counting("{policy: DeadLetter}"), 1);
    // The watermark is at 4:30: windows that end at 4:00 are closed.
    pipeline.send(0, &[in_minute(0, 5)]);
    pipeline.send(0, &[in_minute(1, 2), in_minute(2, 1), in_minute(3, 3)]);
    pipeline.close();
    let expected = [(2, 2), (3, 2), (4, 1), (5, 1)];
    assert_eq!(by_minute(&pipeline, "n"), counts(&expected));
    let late = ("Late".to_owned(), "w".to_owned(), 2);
    assert_eq!(pipeline.dead_letters(), [late]);
    let message = crate::fixture::header(&pipeline.dead[0], "tidewheel-message").unwrap();
    assert_eq!(
        message,
        "the last of its windows ended at 2026-01-01T00:04:00Z and the watermark of its partition is 2026-01-01T00:04:30Z"
    );
}

#[test]
fn an_amendment_is_of_every_window_that_holds_the_event() {
    let mut pipeline = Pipeline::new(counting("{allowed: 10m, policy: Amend}"), 1);
    pipeline.send(0, &[in_minute(0, 0), in_minute(1, 4), in_minute(2, 7)]);
    let before = [(-2, 1), (-1, 1), (0, 1), (2, 1), (3, 1)];
    assert_eq!(by_minute(&pipeline, "n"), counts(&before));
    pipeline.send(0, &[in_minute(3, 2)]);
    let amended = [(-2, 1), (-1, 1), (0, 2), (1, 1), (2, 2), (3, 1)];
    assert_eq!(by_minute(&pipeline, "n"), counts(&amended));
    let revisions = [(-2, 1), (-1, 1), (0, 2), (1, 1), (2, 2), (3, 1)];
    assert_eq!(by_minute(&pipeline, "_revision"), counts(&revisions));
    // What is not emitted yet has it, too, once.
    pipeline.send(0, &[in_minute(4, 4)]);
    pipeline.close();
    let closed = [
        (-2, 1),
        (-1, 1),
        (0, 2),
        (1, 1),
        (2, 3),
        (3, 2),
        (4, 2),
        (5, 1),
        (6, 1),
        (7, 1),
    ];
    assert_eq!(by_minute(&pipeline, "n"), counts(&closed));
}

#[test]
fn an_amendment_removes_rows_that_having_no_longer_lets_through() {
    let sql = "SELECT count(*) AS n FROM clicks HAVING count(*) < 2";
    let steps = windows(180, 60, "{allowed: 10m, policy: Amend}", sql);
    let mut pipeline = Pipeline::new(plan(&steps, &["w"]), 1);
    pipeline.send(0, &[in_minute(0, 0), in_minute(1, 7)]);
    assert_eq!(
        by_minute(&pipeline, "n"),
        counts(&[(-2, 1), (-1, 1), (0, 1)])
    );
    pipeline.send(0, &[in_minute(2, 1)]);
    assert_eq!(by_minute(&pipeline, "n"), counts(&[(-2, 1), (1, 1)]));
    let ledger = pipeline.window_ledger("w");
    assert_eq!((ledger.written, ledger.filtered["w"]), (2, 4));
}

#[test]
fn a_pane_is_kept_until_the_last_window_over_it_is_emitted() {
    let mut pipeline = Pipeline::new(counting("{policy: Amend}"), 1);
    let panes = |pipeline: &Pipeline| {
        let snapshots = (0..2).map(|partition| {
            let snapshot = pipeline.state_of("w", partition, "g1/snapshot").unwrap();
            serde_json::from_slice::<serde_json::Value>(&snapshot).unwrap()
        });
        let panes = snapshots.flat_map(|snapshot| snapshot["panes"].as_array().cloned());
        let minute = |pane: serde_json::Value| (pane["start_ms"].as_i64().unwrap() - T0) / MINUTE;
        panes.flatten().map(minute).collect::<Vec<_>>()
    };
    for minute in 0..60 {
        pipeline.clock_ms += 6_000;
        pipeline.send(0, &[in_minute(minute, minute)]);
        if minute > 5 {
            // The watermark is half past the minute before: the window that ended there was the last over the pane before its last three.
            let kept: Vec<i64> = (minute - 3..=minute).collect();
            assert_eq!(panes(&pipeline)[..], kept[..]);
        }
    }
}

#[test]
fn contributions_to_purged_windows_are_told_of_each() {
    let mut pipeline = Pipeline::new(counting("{policy: Amend}"), 1);
    let late = pipeline.take(0, &[in_minute(0, 0)]);
    // The watermark is at 12:30 then: windows that ended at 2:00 and before are purged.
    let later = pipeline.take(0, &[in_minute(1, 13)]);
    pipeline.deliver(later);
    pipeline.deliver(late);
    pipeline.close();
    let letters = pipeline.dead_letters();
    assert!(letters.iter().all(|(reason, ..)| reason == "WindowPurged"));
    let told = pipeline.dead.iter().map(|letter| {
        let value: serde_json::Value =
            serde_json::from_slice(letter.value.as_ref().unwrap()).unwrap();
        value["window_start"].as_str().unwrap().to_owned()
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        ["2025-12-31T23:58:00Z", "2025-12-31T23:59:00Z"]
    );
    let ledger = pipeline.window_ledger("w");
    let dead = ledger.dead_lettered["WindowPurged"];
    assert_eq!(
        (ledger.read, ledger.written, dead, ledger.balance()),
        (6, 4, 2, 0)
    );
    assert_eq!(by_minute(&pipeline, "n")[0], (0, "1".to_owned()));
}

#[test]
fn a_new_generation_counts_in_its_own_windows_only() {
    let mut pipeline = Pipeline::new(counting("{policy: Amend}"), 1);
    let generation = StepGeneration {
        number: 1,
        cut_ms: Some(T0 + 5 * MINUTE),
    };
    let setup = SourceSetup {
        generations: Arc::new(Generations {
            revision: 1,
            steps: BTreeMap::from([("w".to_owned(), generation)]),
            ..Generations::default()
        }),
        ..source_setup(&pipeline.plan, 0, 1)
    };
    pipeline.sources[0] =
        SourceTask::begin(setup, Recovered::default(), &StartAt::default()).unwrap();
    pipeline.send(0, &[4, 5, 6, 7].map(|minute| in_minute(minute - 4, minute)));
    pipeline.close();
    let expected = [(5, 3), (6, 2), (7, 1)];
    assert_eq!(by_minute(&pipeline, "n"), counts(&expected));
    let ledger = &pipeline.sources[0].ledgers().steps["w"];
    assert_eq!((ledger.written, ledger.earlier_generation), (3, 1));
}
