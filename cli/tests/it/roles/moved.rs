//! Outputs whose rows would stay behind.
use std::path::Path;

use crate::program::root;
use crate::roles::ground::Ground;

const LAKE: &str = "kind: Sink
metadata: {name: lake, namespace: roles-moved}
spec: {postgres: {connection: {secretRef: {name: lake, key: url}}}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline";

#[test]
fn provision_refuses_an_output_that_would_leave_its_rows_behind() {
    let specs = root().join(Path::new("cli/tests/it/specs/generated"));
    let ground = Ground::new(&specs, "roles-moved");
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);

    ground.change_specs("sink: warehouse}", "sink: warehouse, table: other}");
    let refused = ground.provision();
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    let table = "output `made_rows` of pipeline `roles-moved/all-made` cannot move from the table `made_rows` to `other`: the rows that it wrote stay behind";
    assert!(refused.stderr.contains(table), "{}", refused.stderr);

    ground.change_specs("sink: warehouse, table: other}", "sink: lake}");
    ground.change_specs("kind: Pipeline", LAKE);
    let lake = ground.postgres.database().unwrap();
    let lake = format!("lake={}", ground.postgres.url(&lake));
    for more in [&["--sink", &lake][..], &["--sink", &lake, "--dry-run"]] {
        let refused = ground.provision_with(more);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
        let sink = "output `made_rows` of pipeline `roles-moved/all-made` cannot move from the Sink roles-moved/warehouse to the Sink roles-moved/lake";
        assert!(refused.stderr.contains(sink), "{}", refused.stderr);
    }

    // Another Sink may be the same place, and another name is another output.
    let same = format!("lake={}", ground.postgres.url(&ground.database));
    let moved = ground.provision_with(&["--sink", &same]);
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    ground.change_specs("name: made_rows", "name: lake_rows");
    let other = ground.provision_with(&["--sink", &lake]);
    assert_eq!(other.code, 0, "{}", other.stderr);
    assert!(
        other.stdout.contains("table `lake_rows`: created"),
        "{}",
        other.stdout
    );
}
