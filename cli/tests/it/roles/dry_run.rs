//! What `provision --dry-run` says, and that it does nothing.
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
