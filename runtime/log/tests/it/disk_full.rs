//! A disk that takes no more.
use std::process::Command;

use tidewheel_log::{EmbeddedLog, Log, LogError, Options};

use crate::setup::{commit, empty_folder, now, record, topic, values};

const FOLDER: &str = "TIDEWHEEL_LOG_TEST_FULL_FOLDER";

#[test]
#[ignore = "the process with the limit of the test below"]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let log = EmbeddedLog::open(folder, Options::default()).unwrap();
    log.create_topic(&topic("a", 2)).unwrap();
    let filler = "x".repeat(1000);
    let both = || vec![record("a", 1, "k", "v"), record("a", 0, "k", &filler)];
    let mut written = 0;
    let refused = loop {
        match commit(&log, both()) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&refused, LogError::Unavailable { reason } if reason.contains(".segment: ")),
        "{refused}"
    );
    assert!(written > 5);
    assert!(
        matches!(commit(&log, both()), Err(LogError::Unavailable { .. })),
        "as often as it is tried"
    );
    assert_eq!(
        (values(&log, "a", 0).len(), values(&log, "a", 1).len()),
        (written, written)
    );
    commit(&log, vec![record("a", 1, "k", "there is room for this")]).unwrap();
    let end = now(log.offsets("a", 0)).unwrap().end;
    now(log.delete_below("a", 0, end)).unwrap();
    commit(&log, both()).unwrap();
    assert_eq!(
        values(&log, "a", 0),
        [filler.as_str()],
        "there is room again"
    );
    assert_eq!(values(&log, "a", 1).len(), written + 2);
}

/// The limit is one on the size of files; the kernel refuses what exceeds it as it does on a full disk.
#[test]
fn when_the_disk_is_full_writes_are_refused_whole_and_work_again_when_there_is_room() {
    let folder = empty_folder();
    let status = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; ulimit -f 64; exec "$0" --exact disk_full::writer --ignored --nocapture"#])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    let log = EmbeddedLog::open(folder.path(), Options::default()).unwrap();
    assert_eq!(values(&log, "a", 0).len(), 1);
    let texts = values(&log, "a", 1);
    assert_eq!(texts[texts.len() - 2..], ["there is room for this", "v"]);
    commit(&log, vec![record("a", 0, "k", &"x".repeat(200_000))]).unwrap();
}
