//! The chart that installs the CRDs.
use std::{collections::BTreeMap, env, fs, path::PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tidewheel_crds::crds;

fn templates() -> PathBuf {
    [
        env!("CARGO_MANIFEST_DIR"),
        "../charts/tidewheel-crds/templates",
    ]
    .iter()
    .collect()
}

/// What a template says: the CRD, which stays when the chart is uninstalled, and with it everybody's resources.
fn template(mut crd: CustomResourceDefinition) -> String {
    let keep = ("helm.sh/resource-policy".to_owned(), "keep".to_owned());
    crd.metadata.annotations = Some(BTreeMap::from([keep]));
    let yaml = serde_yaml::to_string(&crd).unwrap();
    // Helm would take it for something to fill in.
    assert!(!yaml.contains("{{"), "{yaml}");
    format!("# Generated from the types in crds/src.\n{yaml}")
}

#[test]
fn the_chart_of_the_crds_is_what_the_types_say() {
    let folder = templates();
    let expected: BTreeMap<String, String> = crds()
        .into_iter()
        .map(|crd| (format!("{}.yaml", crd.spec.names.plural), template(crd)))
        .collect();
    if env::var_os("UPDATE_CHARTS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in &expected {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let files = fs::read_dir(&folder).unwrap().map(Result::unwrap);
    let found: BTreeMap<String, String> = files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, fs::read_to_string(file.path()).unwrap())
        })
        .collect();
    assert!(
        found == expected,
        "charts/tidewheel-crds differs from the types: run the tests with UPDATE_CHARTS=1 and review it"
    );
}
