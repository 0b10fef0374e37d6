use std::{env, fs, path::Path};

use tidewheel_crds::reference_markdown;

#[test]
fn the_reference_in_docs_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, reference_markdown()).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == reference_markdown(),
        "docs/reference.md differs from the types: run the tests with UPDATE_DOCS=1 and review it"
    );
}

#[test]
fn every_field_has_a_row() {
    let reference = reference_markdown();
    for path in [
        "schema.fields[].generate",
        "generator.fields[].oneOf[].weight",
        "steps[].aggregate.window.tumbling",
        "steps[].aggregate.window.hopping.every",
        "postgres.connection.secretRef.key",
    ] {
        assert!(reference.contains(&format!("| `{path}` |")), "{path}");
    }
}
