//! Golden bytes of a generator's position: written the same, and read, by every later build. `UPDATE_GOLDEN=1` writes the files.
use std::path::Path;

use bytes::Bytes;
use tidewheel_log::NewRecord;

use crate::runner::{POSITIONS, log, logged_ids, open, positions};
use crate::setup::{EVERYTHING, Hand, NEW_YEAR_MS, small, spec};

const TOPIC: &str = "shop.clicks";
const DECLARATION: &str = "shop.clicks/declaration";

fn golden(name: &str, written: &Bytes) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, written).unwrap();
    }
    let stored = Bytes::from(std::fs::read(&path).unwrap());
    assert_eq!(stored, written, "the format of {name} has changed");
    stored
}

#[tokio::test]
async fn a_position_and_its_declaration() {
    let (log_, clock, spec_) = (log(), Hand::at(NEW_YEAR_MS), small(100));
    let mut runner = open(&log_, &clock, &spec_).await.unwrap();
    clock.advance(41);
    runner.step().await.unwrap();
    let written = positions(log_.as_ref()).await;
    let stored = [
        (TOPIC, golden("position.v1.json", &written[TOPIC])),
        (
            DECLARATION,
            golden("declaration.v1.json", &written[DECLARATION]),
        ),
    ];

    let another = log();
    let records = stored.map(|(key, value)| NewRecord {
        topic: POSITIONS.to_owned(),
        partition: Some(0),
        key: Some(key.into()),
        value: Some(value),
        ..NewRecord::default()
    });
    tidewheel_log::Log::append(another.as_ref(), records.into())
        .await
        .unwrap();
    let mut runner = open(&another, &clock, &spec_).await.unwrap();
    clock.advance(900);
    while runner.step().await.unwrap().rest.is_some() {}
    assert_eq!(*runner.made().borrow(), 100);
    assert_eq!(logged_ids(another.as_ref()).await.len(), 58);
}

#[tokio::test]
async fn a_declaration_names_all_that_decides_the_events() {
    let (log, clock) = (log(), Hand::at(NEW_YEAR_MS));
    let mut runner = open(&log, &clock, &spec(EVERYTHING)).await.unwrap();
    runner.step().await.unwrap();
    golden(
        "declaration_of_everything.v1.json",
        &positions(log.as_ref()).await[DECLARATION],
    );
}
