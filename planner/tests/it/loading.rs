//! Files and folders.
use std::fs;

use tidewheel_planner::load::{load, load_texts};
use tidewheel_planner::problem::Code;

use crate::cases::BASE;

#[test]
fn a_folder_is_read_with_all_below_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("below")).unwrap();
    let (sources, sinks) = BASE.split_once("---").unwrap();
    fs::write(folder.path().join("b.yml"), sources).unwrap();
    fs::write(
        folder.path().join("below/a.yaml"),
        format!("---\n{sinks}---\n"),
    )
    .unwrap();
    fs::write(folder.path().join("notes.txt"), "not: [yaml").unwrap();
    let loaded = load(&[folder.path().to_path_buf()]);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    assert!(loaded.set.event_source("shop", "clicks").is_some());
    assert!(loaded.set.sink("shop", "warehouse").is_some());
}

#[test]
fn a_mounted_config_map_is_read_once() {
    // As Kubernetes lays it out: the files are in a hidden folder, with a link to that folder, and links to them through it.
    let folder = tempfile::tempdir().unwrap();
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
    };
    fs::create_dir(folder.path().join("..2026_11_21")).unwrap();
    fs::write(folder.path().join("..2026_11_21/all.yaml"), BASE).unwrap();
    link("..2026_11_21", "..data");
    link("..data/all.yaml", "all.yaml");
    let loaded = load(&[folder.path().to_path_buf()]);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    assert!(loaded.set.sink("shop", "warehouse").is_some());
}

#[test]
fn what_cannot_be_read_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(&[
        folder.path().join("missing.yaml"),
        folder.path().to_path_buf(),
    ]);
    let codes: Vec<Code> = loaded.problems.iter().map(|p| p.code).collect();
    assert_eq!(codes, [Code::Unreadable, Code::NothingFound]);
}

#[test]
fn a_secret_is_read_and_never_shown() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\ndata: {old: c2VjcmV0LW9uZQ==}\nstringData: {new: secret-two}\n";
    let loaded = load_texts([("keys.yaml", text)]);
    let secret = loaded.set.secret("default", "keys").unwrap();
    assert_eq!(secret.spec.values["old"], b"secret-one");
    assert_eq!(secret.spec.values["new"], b"secret-two");
    let shown = format!("{loaded:?}");
    assert!(
        shown.contains("keys") && !shown.contains("secret-one") && !shown.contains("secret-two")
    );
}

#[test]
fn a_problem_in_a_secret_does_not_show_its_values() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\ndata: {key: hunter2!}\n";
    let loaded = load_texts([("keys.yaml", text)]);
    assert_eq!(loaded.problems.len(), 1);
    assert!(!loaded.problems[0].message.contains("hunter2"));
    assert!(
        !loaded.problems[0].to_string().contains("hunter2"),
        "{}",
        loaded.problems[0]
    );
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_read() {
    let text = format!("\u{feff}{}", BASE.replace('\n', "\r\n"));
    let loaded = load_texts([("base.yaml", text.as_str())]);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    assert_eq!(loaded.set.event_sources.len(), 1);
}

#[test]
fn a_resource_without_namespace_is_in_default() {
    let text = BASE.replace(", namespace: shop", "");
    let loaded = load_texts([("base.yaml", text.as_str())]);
    assert!(loaded.set.event_source("default", "clicks").is_some());
}
