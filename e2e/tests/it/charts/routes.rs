//! Letting events in from outside, as the documentation shows it.
use std::fs;

use tidewheel_e2e::gateway_api;

use super::{path, teach, with_kinds};

/// The YAML in a page, block by block.
fn blocks(page: &str) -> Vec<String> {
    let text = fs::read_to_string(path("docs").join(page)).unwrap();
    let fenced = text.split("```yaml\n").skip(1);
    fenced
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn routes_of_the_documentation_are_taken_by_an_api_server() {
    let cluster = with_kinds();
    teach(cluster, &gateway_api::kinds().unwrap(), "httproutes");
    cluster
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: web}}")
        .unwrap();
    let blocks = blocks("install.md");
    assert_eq!(blocks.len(), 2, "{blocks:?}");
    for block in blocks {
        assert!(block.contains("name: clicks-ingest"), "{block}");
        cluster.apply(&block).unwrap();
    }
    let get = ["get", "httproutes,ingresses", "--namespace=web"];
    let routes = cluster
        .run_kubectl(&[&get[..], &["--output=name"]].concat())
        .unwrap();
    assert_eq!(routes.lines().count(), 2, "{routes}");
}
