//! What `provision --dry-run` says, that it does nothing, and that nothing is begun with a wrong command line.
use std::path::Path;

use crate::program::root;
use crate::roles::ground::Ground;

#[test]
fn a_dry_run_says_what_would_be_done_and_its_exit_code_tells() {
    let specs = root().join(Path::new("cli/tests/it/specs/generated"));
    let ground = Ground::new(&specs, "roles-dry");
    let dry = || {
        let ended = ground.provision_with(&["--dry-run"]);
        (ended.code, ended.stdout, ended.stderr)
    };
    let all = "\
topic roles-dry.all-made.dead-letters would be made with 1 partition
topic roles-dry.all-made.watermarks would be made with 1 partition
topic roles-dry.all-made.generations would be made with 1 partition
topic roles-dry.all-made.made.state would be made with 2 partitions
topic roles-dry.made would be made with 2 partitions
topic roles-dry.made.generator would be made with 1 partition
sink roles-dry/warehouse, table `made_rows`: would be created
";
    assert_eq!(dry(), (3, all.to_owned(), String::new()));
    // It did nothing: there is as much to do as before.
    assert_eq!(dry(), (3, all.to_owned(), String::new()));
    let tables =
        "SELECT count(*) FROM pg_class WHERE relname = 'made_rows' OR relname LIKE '\\_tidewheel%'";
    assert_eq!(ground.sql(tables), "0");

    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert_eq!(made.stdout.lines().count(), all.lines().count());
    let nothing = "everything is as it has to be\n";
    assert_eq!(dry(), (0, nothing.to_owned(), String::new()));

    ground.sql("ALTER TABLE made_rows DROP COLUMN kind");
    let added = "sink roles-dry/warehouse, table `made_rows`: would be changed, with new or wider columns kind text\n";
    assert_eq!(dry(), (3, added.to_owned(), String::new()));
    ground.sql("ALTER TABLE made_rows ADD COLUMN kind bigint");
    let (code, said, why) = dry();
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(
        why.contains("column `kind` of table `made_rows` holds bigint and would get text"),
        "{why}"
    );
}

#[test]
fn nothing_is_begun_where_a_sink_has_no_url_or_a_wrong_one() {
    let specs = root().join(Path::new("cli/tests/it/specs/generated"));
    let ground = Ground::new(&specs, "roles-unbegun");
    let refused = |more: &[&str], says: &str| {
        let ended = ground.provision_with(more);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{more:?}");
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    };
    let wrong = "Sink roles-unbegun/warehouse: ";
    refused(&["--sink", "warehouse=mysql://hunter2@x/y"], wrong);
    ground.remove_secret();
    refused(&[], "there is no Secret");
    // A dry run finds every topic still to be made.
    let url = ground.postgres.url(&ground.database);
    let dry = ground.provision_with(&["--dry-run", "--sink", &format!("warehouse={url}")]);
    assert_eq!(dry.code, 3, "{}", dry.stderr);
    let all = dry.stdout.lines();
    let topics = all.filter(|line| line.starts_with("topic ") && line.contains("would be made"));
    assert_eq!(topics.count(), 6, "{}", dry.stdout);
}
