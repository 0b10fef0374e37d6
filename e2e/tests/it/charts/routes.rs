//! Letting events in from outside, as the documentation shows it.
use std::fs;

use tidewheel_e2e::{cluster::Cluster, not_tried};

use super::{path, with_kinds};

/// The YAML in a page, block by block.
fn blocks(page: &str) -> Vec<String> {
    let text = fs::read_to_string(path("docs").join(page)).unwrap();
    let fenced = text.split("```yaml\n").skip(1);
    fenced
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

fn knows(cluster: &Cluster, group: &str) -> bool {
    let groups = cluster.run_kubectl(&["api-versions"]).unwrap();
    groups
        .lines()
        .any(|version| version.starts_with(&format!("{group}/")))
}

#[test]
fn routes_of_the_documentation_are_taken_by_an_api_server() {
    let cluster = with_kinds();
    let blocks = blocks("install.md");
    assert_eq!(blocks.len(), 2, "{blocks:?}");
    cluster
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: web}}")
        .unwrap();
    for block in blocks {
        if block.contains("gateway.networking.k8s.io")
            && !knows(cluster, "gateway.networking.k8s.io")
        {
            not_tried("the HTTPRoute of docs/install.md: the cluster has no Gateway API");
            continue;
        }
        assert!(block.contains("name: clicks-ingest"), "{block}");
        cluster.apply(&block).unwrap();
    }
}
