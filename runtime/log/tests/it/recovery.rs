//! Folders whose files ended early or hold wrong bytes.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidewheel_log::{EmbeddedLog, Log, LogError, Options};

use crate::setup::{commit, contents, empty_folder, folder_of, now, record, topic, values};

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Six transactions, each with its number in two partitions of one topic and, twice, in another; and how long the commit
/// log was before them.
fn written() -> (Files, usize) {
    let folder = empty_folder();
    let log = EmbeddedLog::open(folder.path(), Options::default()).unwrap();
    let before = contents(folder.path())[Path::new("commits")].len();
    log.create_topic(&topic("a", 2)).unwrap();
    log.create_topic(&topic("b", 1)).unwrap();
    for n in 0..6 {
        commit(&log, transaction(n)).unwrap();
    }
    drop(log);
    (contents(folder.path()), before)
}

fn transaction(n: usize) -> Vec<tidewheel_log::NewRecord> {
    let value = n.to_string();
    [("a", 0), ("b", 0), ("a", 1), ("b", 0)]
        .map(|(topic, p)| record(topic, p, "k", &value))
        .into()
}

/// How many transactions a log has; it must have them whole, from the first on.
fn whole_transactions(log: &EmbeddedLog) -> usize {
    let first = values(log, "a", 0);
    let expected: Vec<String> = (0..first.len()).map(|n| n.to_string()).collect();
    assert_eq!(first, expected);
    assert_eq!(values(log, "a", 1), expected);
    let twice: Vec<String> = expected
        .iter()
        .flat_map(|n| [n.clone(), n.clone()])
        .collect();
    assert_eq!(values(log, "b", 0), twice);
    first.len()
}

/// Opens a folder, looks, writes on, and looks again after opening once more.
fn whole_after_opening(files: &Files) -> usize {
    let folder = folder_of(files);
    let log = EmbeddedLog::open(folder.path(), Options::default()).unwrap();
    let whole = whole_transactions(&log);
    commit(&log, transaction(whole)).unwrap();
    drop(log);
    let log = EmbeddedLog::open(folder.path(), Options::default()).unwrap();
    assert_eq!(whole_transactions(&log), whole + 1);
    whole
}

fn is_segment(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "segment")
}

#[test]
fn cut_at_any_byte_a_log_is_a_prefix_of_whole_transactions() {
    let (files, commits_from) = written();
    assert_eq!(whole_after_opening(&files), 6);
    for (path, content) in &files {
        let from = if is_segment(path) { 0 } else { commits_from };
        if !is_segment(path) && path != Path::new("commits") {
            continue;
        }
        let mut most = 0;
        for length in from..content.len() {
            let mut cut = files.clone();
            cut.insert(path.clone(), content[..length].to_vec());
            let whole = whole_after_opening(&cut);
            assert!(
                (most..6).contains(&whole),
                "{whole} after {most}, {} cut to {length}",
                path.display()
            );
            most = whole;
        }
        assert_eq!(most, 5, "a byte short is one transaction short");
    }
}

#[test]
fn cut_anywhere_at_once_a_log_is_a_prefix_of_whole_transactions() {
    let (files, commits_from) = written();
    for seed in 0..300 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut cut = files.clone();
        for (path, content) in &mut cut {
            let from = if is_segment(path) { 0 } else { commits_from };
            if is_segment(path) || path == Path::new("commits") {
                content.truncate(random.random_range(from..=content.len()));
            }
        }
        assert!(whole_after_opening(&cut) <= 6, "seed {seed}");
    }
}

/// Some file systems, when the machine fails, have grown a file and not got its bytes.
#[test]
fn zeros_in_the_place_of_bytes_are_as_good_as_nothing() {
    let (files, commits_from) = written();
    for (path, content) in files
        .iter()
        .filter(|(path, _)| is_segment(path) || path.ends_with("commits"))
    {
        let mut longer = files.clone();
        longer
            .get_mut(path)
            .unwrap()
            .resize(content.len() + 5000, 0);
        assert_eq!(whole_after_opening(&longer), 6);
        let mut emptied = files.clone();
        let from = if is_segment(path) { 0 } else { commits_from };
        emptied.get_mut(path).unwrap()[from..].fill(0);
        assert_eq!(whole_after_opening(&emptied), 0);
    }
}

#[test]
fn what_was_not_committed_is_cut_off() {
    let (files, _) = written();
    let mut longer = files.clone();
    for (_, content) in longer.iter_mut().filter(|(path, _)| is_segment(path)) {
        content.extend(b"the remains of a transaction that was never committed");
    }
    let orphan = Path::new("topics/000000/0/00000000000000000012.segment").to_owned();
    longer.insert(
        orphan.clone(),
        b"a segment that was never committed".to_vec(),
    );
    let folder = folder_of(&longer);
    let log = EmbeddedLog::open(folder.path(), Options::default()).unwrap();
    assert_eq!(whole_transactions(&log), 6);
    drop(log);
    let after = contents(folder.path());
    assert!(!after.contains_key(&orphan));
    for (path, content) in files.iter().filter(|(path, _)| is_segment(path)) {
        assert_eq!(&after[path], content);
    }
}

/// The error of opening and reading a folder, if there is one.
fn error_of(files: &Files) -> Option<LogError> {
    let folder = folder_of(files);
    let log = match EmbeddedLog::open(folder.path(), Options::default()) {
        Ok(log) => log,
        Err(error) => return Some(error),
    };
    [("a", 0), ("a", 1), ("b", 0)]
        .into_iter()
        .find_map(|(topic, partition)| {
            let mut reader = now(log.reader(topic, partition, 0)).unwrap();
            now(reader.fetch(usize::MAX, usize::MAX, Duration::ZERO)).err()
        })
}

fn every_flipped_bit_is_noticed(files: &Files) {
    for (path, content) in files {
        if !is_segment(path) && path != Path::new("commits") {
            continue;
        }
        for at in 0..content.len() {
            let mut flipped = files.clone();
            flipped.get_mut(path).unwrap()[at] ^= 1 << (at % 8);
            let error = error_of(&flipped);
            let reason = match &error {
                Some(LogError::Damaged { reason }) => reason,
                other => panic!("byte {at} of {}: {other:?}", path.display()),
            };
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                reason.contains(name) && reason.contains("at byte"),
                "{reason}"
            );
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_in_what_was_just_written() {
    every_flipped_bit_is_noticed(&written().0);
}

#[test]
fn a_flipped_bit_is_noticed_in_what_was_there_before() {
    let folder = folder_of(&written().0);
    drop(EmbeddedLog::open(folder.path(), Options::default()).unwrap());
    every_flipped_bit_is_noticed(&contents(folder.path()));
}

#[test]
fn what_was_there_before_does_not_get_lost_without_a_word() {
    let folder = folder_of(&written().0);
    drop(EmbeddedLog::open(folder.path(), Options::default()).unwrap());
    let files = contents(folder.path());
    for (path, content) in files.iter().filter(|(path, _)| is_segment(path)) {
        let mut cut = files.clone();
        cut.insert(path.clone(), content[..content.len() - 1].to_vec());
        assert!(
            matches!(error_of(&cut), Some(LogError::Damaged { .. })),
            "{} cut",
            path.display()
        );
        cut.remove(path);
        assert!(
            matches!(error_of(&cut), Some(LogError::Damaged { .. })),
            "{} removed",
            path.display()
        );
    }
    let mut without = files.clone();
    without.remove(Path::new("commits"));
    let error = error_of(&without).unwrap();
    assert!(
        error.to_string().contains("the commit log") && error.to_string().contains("is missing"),
        "{error}"
    );
}

#[test]
fn a_segment_that_is_missing_in_the_middle_is_noticed() {
    let folder = empty_folder();
    let options = Options {
        segment_bytes: 1,
        ..Options::default()
    };
    let log = EmbeddedLog::open(folder.path(), options).unwrap();
    log.create_topic(&topic("a", 2)).unwrap();
    log.create_topic(&topic("b", 1)).unwrap();
    for n in 0..6 {
        commit(&log, transaction(n)).unwrap();
    }
    drop(log);
    let files = contents(folder.path());
    for path in files.keys().filter(|path| is_segment(path)) {
        let mut without = files.clone();
        without.remove(path);
        match error_of(&without) {
            Some(LogError::Damaged { .. }) => {}
            // The last of a partition may be a tail that did not reach the disk.
            None => assert!(
                path.ends_with("00000000000000000010.segment")
                    || path.ends_with("00000000000000000015.segment")
            ),
            Some(other) => panic!("{other}"),
        }
    }
}
