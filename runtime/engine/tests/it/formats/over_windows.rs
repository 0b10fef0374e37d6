//! Golden bytes of what there is only where windows are aggregated.
use tidewheel_engine::wire::partial;
use tidewheel_engine::wire::state::{StepKey, StepProgress};
use tidewheel_log::Record;

use super::golden;
use crate::fixture::{MINUTE, Pipeline, event, plan, record};

const STEPS: &str = "
    - name: minutes
      aggregate:
        window: {tumbling: 1m}
        late: {policy: DeadLetter}
        sql: SELECT page, count(*) AS n FROM clicks GROUP BY page
    - name: hours
      aggregate:
        window: {tumbling: 1h}
        sql: SELECT page, max(n) AS most, last_value(n) AS newest FROM minutes WHERE n > 1 GROUP BY page";

fn click(offset: i64, ms: i64) -> Record {
    record(offset, 10 * MINUTE, &event("e", ms, "\"page\": \"/\""))
}

#[test]
fn what_a_step_sends_to_one_over_its_windows_and_remembers_of_it() {
    let mut pipeline = Pipeline::new(plan(STEPS, &["hours"]), 1);
    pipeline.send(
        0,
        &[
            click(0, 0),
            click(1, 1),
            click(2, MINUTE),
            click(3, 5 * MINUTE),
        ],
    );
    let schema = &pipeline.plan.aggregate(1).unwrap().partial_schema;
    let decoded = |bytes: &[u8]| partial::decode(bytes, schema).unwrap();
    let sent = pipeline
        .fed
        .iter()
        .filter_map(|record| record.value.as_ref());
    let sent: Vec<_> = sent.filter(|bytes| decoded(bytes).1.is_some()).collect();
    let [bytes] = sent[..] else {
        panic!("the rows of two minutes, of which one counts");
    };
    let stored = golden("partial-over-windows.v1.bin", bytes);
    assert_eq!(decoded(&stored), decoded(bytes));
    assert_eq!(decoded(bytes).0.source, "minutes");

    let key = String::from_utf8(StepKey::Progress.encode(1).to_vec()).unwrap();
    let states = (0..2).filter_map(|partition| pipeline.state_of("minutes", partition, &key));
    let with_rows = states.filter(|bytes| {
        !StepProgress::decode(bytes).unwrap().fed["hours"]
            .filtered
            .is_empty()
    });
    let [written] = &with_rows.collect::<Vec<_>>()[..] else {
        panic!("one task has the group");
    };
    let stored = golden("step-over-windows-progress.v1.json", written);
    let ledger = &StepProgress::decode(&stored).unwrap().fed["hours"];
    assert_eq!(
        (ledger.read, ledger.written, ledger.filtered["hours"]),
        (2, 1, 1)
    );
}
