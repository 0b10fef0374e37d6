//! The page for those on call says what tests have seen.
use crate::program::root;

/// The first cell of each row of the page's tables, as the name of a test.
fn named() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/when-things-fail.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| **"));
    let titles = rows.filter_map(|row| row.split_once("**").map(|(title, _)| title));
    titles
        .map(|title| {
            title
                .to_lowercase()
                .replace('\'', "")
                .replace([' ', '`'], "_")
        })
        .map(|name| name.replace("__", "_").trim_matches('_').to_owned())
        .collect()
}

/// The source of the tests of roles.
fn tests() -> String {
    let mut text = String::new();
    for folder in ["cli/tests/it/roles", "cli/tests/it/roles/faults"] {
        for file in std::fs::read_dir(root().join(folder)).unwrap() {
            let file = file.unwrap().path();
            if file.is_file() {
                text += &std::fs::read_to_string(file).unwrap();
            }
        }
    }
    text
}

#[test]
fn every_row_of_the_page_is_a_test() {
    let (named, tests) = (named(), tests());
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(tests.contains(&format!("async fn {name}()")), "{name}");
    }
}
