//! The three kinds in a real cluster.
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use tidewheel_e2e::cluster::NAMESPACE;

use super::{path, with_kinds};

const KINDS: [&str; 3] = ["eventsources", "pipelines", "sinks"];

/// How long the API server may take to publish what it knows of a kind.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn fields_are_explained() {
    let cluster = with_kinds();
    for (field, expected) in [
        (
            "eventsource.spec.eventTime.maxOutOfOrder",
            "FIELD: maxOutOfOrder <string>",
        ),
        (
            "pipeline.spec.steps.aggregate.window.tumbling",
            "FIELD: tumbling <string>",
        ),
        (
            "sink.spec.postgres.connection.secretRef.key",
            "FIELD: key <string>",
        ),
        (
            "pipeline.spec.errors.deadLetter",
            "FIELD: deadLetter <Object>",
        ),
    ] {
        // The API server publishes what it knows of a kind a moment after it takes resources of it.
        let began = Instant::now();
        loop {
            let said = match cluster.run_kubectl(&["explain", field]) {
                Ok(said) => said,
                Err(error) => error.to_string(),
            };
            let description = said.split("DESCRIPTION:").nth(1).unwrap_or_default();
            if said.contains(expected) && description.split_whitespace().count() > 3 {
                break;
            }
            assert!(began.elapsed() < PUBLISHED_WITHIN, "{said}");
            sleep(Duration::from_millis(250));
        }
    }
}

#[test]
fn short_names_and_the_category_find_them() {
    let cluster = with_kinds();
    let resources = [
        "api-resources",
        "--api-group=tidewheel.dev",
        "--output=wide",
    ];
    let resources = cluster.run_kubectl(&resources).unwrap();
    insta::assert_snapshot!(resources);
    cluster
        .run_kubectl(&["get", "tidewheel", "--all-namespaces"])
        .unwrap();
}

#[test]
fn the_examples_are_accepted_as_they_are() {
    let cluster = with_kinds();
    let examples = std::fs::read_dir(path("examples")).unwrap();
    for example in examples.map(|entry| entry.unwrap().path()) {
        let folder = example.display().to_string();
        let namespaces = namespaces(&folder);
        for namespace in &namespaces {
            let text =
                format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
            cluster.apply(&text).unwrap();
        }
        let apply = [
            "apply",
            "--server-side",
            "--dry-run=server",
            "--filename",
            &folder,
        ];
        let said = cluster.run_kubectl(&apply).unwrap();
        assert!(said.lines().count() >= 3, "{folder}: {said}");
    }
}

/// The namespaces of all resources in a folder.
fn namespaces(folder: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let yaml = files.filter(|file| file.extension().is_some_and(|is| is == "yaml"));
    let text = yaml.map(|file| std::fs::read_to_string(file).unwrap());
    let names = text.flat_map(|text| {
        let after = text.split("namespace: ").skip(1);
        let name = |rest: &str| {
            rest.split([',', '}', '\n'])
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        after.map(name).collect::<Vec<_>>()
    });
    names.collect()
}

#[test]
fn the_kinds_and_their_resources_stay_when_their_chart_goes() {
    let cluster = with_kinds();
    cluster
        .apply(
            "apiVersion: v1
kind: Namespace
metadata: {name: staying}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: warehouse, namespace: staying}
spec:
  postgres: {connection: {secretRef: {name: warehouse, key: url}}, schema: shop}
",
        )
        .unwrap();
    cluster
        .run_helm(&["uninstall", "tidewheel-crds", "--namespace", NAMESPACE])
        .unwrap();
    for kind in KINDS {
        let crd = format!("crd/{kind}.tidewheel.dev");
        let deleted = "--output=jsonpath={.metadata.deletionTimestamp}";
        assert_eq!(cluster.run_kubectl(&["get", &crd, deleted]).unwrap(), "");
    }
    let sink = ["get", "sink/warehouse", "--namespace", "staying"];
    cluster.run_kubectl(&sink).unwrap();
    // And the chart takes them over when it comes again.
    cluster.install_kinds().unwrap();
    cluster.run_kubectl(&sink).unwrap();
}
