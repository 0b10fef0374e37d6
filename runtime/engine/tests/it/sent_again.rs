//! What was sent again is for the places that had not taken it, and for nobody else.
use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_engine::stage1::{Recovered, SourceTask, StartAt};
use tidewheel_engine::wire::dead_letter::Letter;
use tidewheel_engine::wire::sent_again::{SentAgain, Target, Unsendable};
use tidewheel_engine::wire::state::{Position, SourceProgress};
use tidewheel_engine::{Generations, Ledger, StepGeneration};
use tidewheel_log::{NewRecord, Record};
use tidewheel_planner::plan::Plan;

use crate::fixture::{MINUTE, Pipeline, T0, appended, event, plan, record, source_setup};

const NAME: &str = "shop/kpis";

/// `number` is what the step `numbers` computes.
fn branches(number: &str) -> Arc<Plan> {
    let steps = format!(
        "
    - {{name: all, sql: SELECT * FROM clicks}}
    - {{name: numbers, sql: 'SELECT id, ts, {number} AS n FROM all'}}
    - {{name: others, sql: 'SELECT id, ts, items AS n FROM all'}}
    - {{name: both, sql: SELECT * FROM numbers UNION ALL SELECT * FROM others}}
    - name: counted
      aggregate: {{window: {{tumbling: 1m}}, sql: 'SELECT count(*) AS c FROM numbers'}}"
    );
    plan(&steps, &["all", "numbers", "others", "both", "counted"])
}

const CAST: &str = "CAST(page AS BIGINT)";

fn x(offset: i64) -> Record {
    record(offset, 0, &event("a", 0, "\"page\": \"x\", \"items\": 7"))
}

/// Sends a letter again: the record, as it is appended at `offset`.
fn again(letter: &NewRecord, offset: i64) -> Record {
    let letter = appended(1_000, letter);
    let read = Letter::read(&letter).unwrap();
    appended(offset, &read.send_again(NAME, &letter).unwrap())
}

/// Read, written, skipped and dead-lettered.
fn fates(ledger: &Ledger) -> [u64; 4] {
    assert_eq!(ledger.balance(), 0, "{ledger:?}");
    let dead = ledger.dead_lettered.values().sum();
    [ledger.read, ledger.written, ledger.skipped, dead]
}

/// By row output, and by aggregate step.
fn all_fates(pipeline: &Pipeline) -> BTreeMap<String, [u64; 4]> {
    let ledgers = pipeline.sources[0].ledgers();
    let all = ledgers.outputs.iter().chain(&ledgers.steps);
    all.map(|(name, ledger)| (name.clone(), fates(ledger)))
        .collect()
}

fn expected(of: &[(&str, [u64; 4])]) -> BTreeMap<String, [u64; 4]> {
    of.iter()
        .map(|(name, of)| ((*name).to_owned(), *of))
        .collect()
}

#[test]
fn what_a_step_failed_on_is_for_that_step_and_what_it_feeds() {
    let mut broken = Pipeline::new(branches(CAST), 1);
    broken.send(0, &[x(0)]);
    assert_eq!(
        all_fates(&broken),
        expected(&[
            ("all", [1, 1, 0, 0]),
            ("numbers", [1, 0, 0, 1]),
            ("others", [1, 1, 0, 0]),
            ("both", [1, 1, 0, 0]),
            ("counted", [1, 0, 0, 1]),
        ])
    );
    let mut mended = Pipeline::new(branches("items"), 1);
    mended.send(0, &[again(&broken.dead[0], 1)]);
    mended.close();
    assert_eq!(
        all_fates(&mended),
        expected(&[
            ("all", [1, 0, 1, 0]),
            ("numbers", [1, 1, 0, 0]),
            ("others", [1, 0, 1, 0]),
            ("both", [1, 1, 0, 0]),
            ("counted", [1, 1, 0, 0]),
        ])
    );
    assert_eq!(
        mended.rows("both").len(),
        1,
        "the branch that had taken it does not give it again"
    );
    assert_eq!(mended.rows("counted")[0]["c"], "1");
    assert!(mended.dead.is_empty());
}

#[test]
fn what_fails_again_is_a_letter_that_can_be_sent_again_on_its_own() {
    let mut pipeline = Pipeline::new(branches(CAST), 1);
    pipeline.send(0, &[x(3)]);
    let first = again(&pipeline.dead[0], 4);
    pipeline.send(0, &[first]);
    assert_eq!(pipeline.dead.len(), 2);
    let second = again(&pipeline.dead[1], 5);
    let says = SentAgain::read(&second.headers).unwrap().unwrap();
    assert_eq!(says.targets, [Target::Step("numbers".into())]);
    let repeats: Vec<i64> = says.repeats.iter().map(|of| of.offset).collect();
    assert_eq!(repeats, [3, 4]);
    assert_eq!(second.value, x(3).value);
    assert_eq!(second.key, x(3).key);
    let headers = second.headers.iter();
    assert_eq!(
        headers
            .filter(|header| header.name == "tidewheel-sent-again")
            .count(),
        1
    );
}

#[test]
fn what_fails_on_its_way_stays_for_those_it_was_for() {
    let mut broken = Pipeline::new(branches(CAST), 1);
    broken.send(0, &[x(0)]);
    // By now a step before the one that failed cannot take it either.
    let before = "
    - {name: all, sql: 'SELECT *, CAST(page AS BIGINT) AS p FROM clicks'}
    - {name: numbers, sql: 'SELECT id, ts, items AS n FROM all'}";
    let mut worse = Pipeline::new(plan(before, &["all", "numbers"]), 1);
    worse.send(0, &[again(&broken.dead[0], 1)]);
    assert_eq!(
        worse.dead_letters(),
        [("Evaluation".into(), "all".into(), 1)]
    );
    assert_eq!(
        all_fates(&worse),
        expected(&[("all", [1, 0, 1, 0]), ("numbers", [1, 0, 0, 1])])
    );
    let mut mended = Pipeline::new(branches("items"), 1);
    mended.send(0, &[again(&worse.dead[0], 2)]);
    assert_eq!(
        all_fates(&mended)["all"],
        [1, 0, 1, 0],
        "it had taken the first one"
    );
    assert_eq!(all_fates(&mended)["numbers"], [1, 1, 0, 0]);
    assert_eq!(all_fates(&mended)["others"], [1, 0, 1, 0]);
}

#[test]
fn an_event_that_did_not_decode_is_for_all_of_its_pipeline() {
    let mut pipeline = Pipeline::new(branches("items"), 1);
    pipeline.send(0, &[record(0, 0, "{\"id\":")]);
    let mut sent = again(&pipeline.dead[0], 1);
    // As if the declaration of the fields had been the mistake.
    sent.value = x(0).value;
    pipeline.send(0, &[sent]);
    let all = all_fates(&pipeline);
    assert!(all.values().all(|fates| *fates == [2, 1, 0, 1]), "{all:?}");
}

#[test]
fn another_pipeline_does_not_even_look_at_it() {
    let mut broken = Pipeline::new(branches(CAST), 1);
    broken.send(
        0,
        &[
            record(0, 0, "{\"id\":"),
            record(1, 0, &event("z", 5 * MINUTE, "\"page\": \"x\"")),
        ],
    );
    let for_others = |offset: i64, letter: &NewRecord| {
        let letter = appended(7, letter);
        let sent = Letter::read(&letter)
            .unwrap()
            .send_again("shop/others", &letter);
        appended(offset, &sent.unwrap())
    };
    let mut pipeline = Pipeline::new(branches(CAST), 1);
    pipeline.send(
        0,
        &[
            for_others(0, &broken.dead[0]),
            for_others(1, &broken.dead[1]),
        ],
    );
    assert!(pipeline.dead.is_empty());
    let all = all_fates(&pipeline);
    assert!(all.values().all(|fates| *fates == [2, 0, 2, 0]), "{all:?}");
    assert_eq!(pipeline.sources[0].watermark_ms(), None);
}

#[test]
fn what_a_sink_refused_is_for_that_output_alone() {
    let steps = "    - {name: rows, sql: SELECT * FROM clicks}
    - name: w
      aggregate: {window: {tumbling: 1m}, sql: 'SELECT count(*) AS c FROM rows'}";
    let plan = plan(steps, &["rows", "clicks", "w"]);
    let mut pipeline = Pipeline::new(plan, 1);
    pipeline.refuses = |row| row.get("user_id").is_some_and(|user| user == "bad");
    // Both outputs of rows refuse it.
    pipeline.send(0, &[record(0, 0, &event("a", 0, "\"user_id\": \"bad\""))]);
    let names: Vec<String> = pipeline
        .dead_letters()
        .into_iter()
        .map(|(_, name, _)| name)
        .collect();
    assert_eq!(names, ["rows", "clicks"]);
    pipeline.refuses = |_| false;
    pipeline.send(0, &[again(&pipeline.dead[1], 1)]);
    assert_eq!(
        all_fates(&pipeline),
        expected(&[
            ("rows", [2, 0, 1, 1]),
            ("clicks", [2, 1, 0, 1]),
            ("w", [2, 1, 1, 0])
        ])
    );
}

#[test]
fn an_event_whose_other_rows_were_taken_is_not_sent_again() {
    let steps = "    - {name: rows, sql: 'SELECT id, ts, page FROM clicks UNION ALL SELECT id, ts, user_id AS page FROM clicks'}";
    let mut pipeline = Pipeline::new(plan(steps, &["rows"]), 1);
    pipeline.refuses = |row| row.get("page").is_some_and(|page| page == "bad");
    let of = |offset, page: &str, user: &str| {
        let members = format!("\"page\": \"{page}\", \"user_id\": \"{user}\"");
        record(offset, 0, &event("a", 0, &members))
    };
    pipeline.send(
        0,
        &[
            of(0, "good", "bad"),
            of(1, "bad", "bad"),
            of(2, "good", "good"),
        ],
    );
    assert_eq!(pipeline.rows("rows").len(), 3);
    let letters: Vec<Letter> = pipeline
        .dead
        .iter()
        .map(|letter| Letter::read(&appended(9, letter)).unwrap())
        .collect();
    assert_eq!(
        letters[0].targets().unwrap_err(),
        Unsendable::PartlyTaken(1)
    );
    assert_eq!(
        letters[1].targets().unwrap(),
        [Target::Output("rows".into())]
    );
    assert_eq!(letters.len(), 2);
    pipeline.refuses = |_| false;
    pipeline.send(0, &[again(&pipeline.dead[1], 3)]);
    assert_eq!(pipeline.rows("rows").len(), 5);
}

#[test]
fn what_it_is_for_may_be_gone() {
    let mut broken = Pipeline::new(branches(CAST), 1);
    broken.send(0, &[x(0)]);
    let steps = "    - {name: renamed, sql: 'SELECT id, ts, items AS n FROM clicks'}";
    let mut pipeline = Pipeline::new(plan(steps, &["renamed"]), 1);
    pipeline.send(0, &[again(&broken.dead[0], 1)]);
    assert_eq!(all_fates(&pipeline)["renamed"], [1, 0, 0, 1]);
    assert_eq!(
        pipeline.dead_letters(),
        [("UnknownTarget".into(), "-".into(), 1)]
    );
    // It can wait there for a plan that has the step again.
    let mut back = Pipeline::new(branches("items"), 1);
    back.send(0, &[again(&pipeline.dead[0], 2)]);
    assert_eq!(all_fates(&back)["numbers"], [1, 1, 0, 0]);
    assert_eq!(all_fates(&back)["all"], [1, 0, 1, 0]);
}

#[test]
fn a_header_that_nobody_can_read_costs_its_record_alone() {
    let mut pipeline = Pipeline::new(branches("items"), 1);
    let mut strange = x(0);
    strange.headers.push(tidewheel_log::Header {
        name: "tidewheel-sent-again".into(),
        value: "{\"version\":9}".into(),
    });
    pipeline.send(0, &[strange, x(1)]);
    assert_eq!(
        pipeline.dead_letters(),
        [("UnknownTarget".into(), "-".into(), 0)]
    );
    let letter = appended(0, &pipeline.dead[0]);
    let cannot = Letter::read(&letter)
        .unwrap()
        .send_again(NAME, &letter)
        .unwrap_err();
    assert!(
        cannot.to_string().contains("version 9 is not known here"),
        "{cannot}"
    );
}

const ONCE: &str = "
    - {name: once, deduplicate: {from: clicks, by: [id], within: 10m}}
    - {name: numbers, sql: 'SELECT id, ts, NUMBER AS n FROM once'}";

#[test]
fn a_deduplication_that_had_let_it_through_does_so_again() {
    let with = |number| plan(&ONCE.replace("NUMBER", number), &["once", "numbers"]);
    let mut pipeline = Pipeline::new(with("100 / items"), 1);
    let zero = record(0, 0, &event("a", 0, "\"items\": 0"));
    pipeline.send(0, std::slice::from_ref(&zero));
    let sent = again(&pipeline.dead[0], 1);
    let mut mended = Pipeline::new(with("items"), 1);
    // The first of the same id, which it repeats; then what was sent again; then a retry of the producer.
    mended.send(
        0,
        &[
            zero,
            sent,
            record(2, 9 * MINUTE, &event("a", 0, "\"items\": 0")),
        ],
    );
    let ledgers = mended.sources[0].ledgers();
    assert_eq!(fates(&ledgers.outputs["once"]), [3, 1, 1, 0]);
    assert_eq!(ledgers.outputs["once"].duplicate, 1);
    assert_eq!(
        (
            ledgers.outputs["numbers"].written,
            ledgers.outputs["numbers"].duplicate
        ),
        (2, 1)
    );
    // What was sent again is an appearance of its id, as every record is.
    mended.send(0, &[record(3, 18 * MINUTE, &event("a", 0, "\"items\": 0"))]);
    assert_eq!(mended.sources[0].ledgers().outputs["once"].duplicate, 2);
}

#[test]
fn an_event_is_no_duplicate_of_what_it_repeats_and_one_of_what_came_between() {
    let plan = plan(&ONCE.replace("NUMBER", "items"), &["once", "numbers"]);
    let run = |between: &[Record]| {
        let mut pipeline = Pipeline::new(plan.clone(), 1);
        // It was a letter of a plan that could not read it; this one can, and has filled its deduplication with it.
        let mut broken = Pipeline::new(plan.clone(), 1);
        broken.send(0, &[record(0, 0, "{")]);
        let sent = Record {
            value: Some(event("a", 0, "").into()),
            ..again(&broken.dead[0], 9)
        };
        pipeline.send(0, &[record(0, 0, &event("a", 0, ""))]);
        pipeline.send(0, between);
        pipeline.send(0, &[sent]);
        let ledger = &pipeline.sources[0].ledgers().outputs["once"];
        (ledger.written, ledger.duplicate)
    };
    assert_eq!(run(&[]), (2, 0));
    assert_eq!(run(&[record(1, 1, &event("a", 0, ""))]), (1, 2));
}

/// The same task under a plan that has mended the step, and reads all anew for its windows.
fn mended(broken: &Pipeline, main: Position) -> Pipeline {
    let mut mended = Pipeline::new(branches("items"), 1);
    let mut setup = source_setup(&mended.plan, 0, 1);
    let second = StepGeneration {
        number: 2,
        cut_ms: None,
    };
    setup.generations = Arc::new(Generations {
        revision: 2,
        steps: BTreeMap::from([("counted".to_owned(), second)]),
        ..Generations::default()
    });
    let bytes = broken.state_of("clicks", 0, "progress").unwrap();
    let sinks = ["all", "numbers", "others", "both"];
    let recovered = Recovered {
        progress: Some(SourceProgress::decode(&bytes).unwrap()),
        sinks: sinks.map(|name| (name.to_owned(), main)).into(),
        ..Recovered::default()
    };
    mended.sources[0] = SourceTask::begin(setup, recovered, &StartAt::default()).unwrap();
    mended
}

#[test]
fn windows_that_were_computed_anew_do_not_count_it_twice() {
    let ahead = record(
        1,
        0,
        &event("b", 61 * MINUTE, "\"page\": \"1\", \"items\": 1"),
    );
    let records = [x(0), ahead];
    let mut broken = Pipeline::new(branches(CAST), 1);
    broken.send(0, &records);
    let reasons: Vec<String> = broken
        .dead_letters()
        .into_iter()
        .map(|(reason, ..)| reason)
        .collect();
    assert_eq!(reasons, ["Future", "Evaluation"]);
    let progress = broken.state_of("clicks", 0, "progress").unwrap();
    let main = SourceProgress::decode(&progress).unwrap().main;

    let mut mended = mended(&broken, main);
    mended.send(0, &records);
    assert_eq!(
        all_fates(&mended)["counted"],
        [2, 1, 0, 1],
        "the step takes the first one now"
    );
    // By the hour after, the other one is of its time.
    let later = |letter: &NewRecord, offset| Record {
        append_time_ms: T0 + 60 * MINUTE,
        ..again(letter, offset)
    };
    mended.send(0, &[later(&broken.dead[1], 2), later(&broken.dead[0], 3)]);
    let all = all_fates(&mended);
    assert_eq!(all["counted"], [4, 2, 1, 1]);
    assert_eq!(
        all["numbers"],
        [4, 2, 0, 2],
        "no row of it was written anew"
    );
    assert_eq!(all["all"], [4, 2, 1, 1]);

    // A takeover knows as well what was read anew.
    let bytes = mended.state_of("clicks", 0, "progress").unwrap();
    let replayed = SourceProgress::decode(&bytes).unwrap().steps["counted"]
        .replayed
        .unwrap();
    assert_eq!((replayed.from, replayed.to), (0, 2));
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(r#""replayed":{"from":0,"to":2}"#), "{text}");
    assert!(text.contains(r#""skipped":1"#), "{text}");
}
