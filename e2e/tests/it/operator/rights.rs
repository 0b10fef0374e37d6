//! What the operator asks of the API server is what it may ask, and nothing that it may is never asked.
use std::collections::BTreeSet;

use serde_json::Value;
use tidewheel_e2e::cluster::{Cluster, Request};

use super::{OwnCluster, TOOLS, install_for, monitors, shop::Shop};

/// A verb, a group and a resource, as in `patch apps deployments`.
type Right = String;

/// What is allowed and need not be asked: an event that repeats within minutes is counted, not made again.
const SELDOM: [&str; 1] = ["patch events.k8s.io events"];

fn right(verb: &str, group: &str, resource: &str) -> Right {
    format!("{verb} {group} {resource}")
}

/// What the Roles of the operator allow.
fn allowed(cluster: &Cluster, namespace: &str, role: &str) -> BTreeSet<Right> {
    let get = [
        "get",
        "role",
        role,
        "--namespace",
        namespace,
        "--output=json",
    ];
    let role: Value = serde_json::from_str(&cluster.run_kubectl(&get).unwrap()).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let verbs = texts(&rule["verbs"]);
                rights.extend(verbs.iter().map(|verb| right(verb, &group, &resource)));
            }
        }
    }
    rights
}

/// What a request needs: to apply what is not there is to patch and to create.
fn needed(request: &Request) -> Vec<Right> {
    let mut verbs = vec![request.verb.as_str()];
    if request.verb == "patch" && request.status == 201 {
        verbs.push("create");
    }
    let right = |verb| right(verb, &request.group, &request.resource);
    verbs.into_iter().map(right).collect()
}

#[test]
fn an_operator_of_one_namespace_uses_all_its_rights_and_needs_no_other() {
    // Of its own: an operator of all namespaces would do the same work.
    let own = OwnCluster::start("r");
    let cluster = own.cluster;
    monitors::install_kinds(cluster);
    let shop = Shop::on(cluster, "rights");
    install_for(&shop, &[]);
    shop.apply_all_to_be_deleted();
    let all = [
        "eventsource/clicks",
        "sink/warehouse",
        "pipeline/web-analytics",
    ];
    for what in all {
        shop.wait_for(what, "Ready");
    }
    let watching = [
        "get",
        "servicemonitors,prometheusrules",
        "--all-namespaces",
        "--output=name",
    ];
    shop.until("everything is watched over", || {
        cluster.run_kubectl(&watching).unwrap().lines().count() == 6
    });
    // What the first pods read is no longer wanted once others have taken over.
    let specs = || shop.kubectl(&["get", "configmaps", "--output=name"]);
    let before = specs();
    let pipeline = shop.example("pipeline.yaml");
    let pipeline = format!("{}\n  deletionPolicy: Delete\n", pipeline.trim_end());
    shop.apply(&pipeline.replace("code >= 400", "code >= 500"));
    let is_gone = |name: &str| !specs().contains(name);
    shop.until("a ConfigMap of the first plan is gone", || {
        before.lines().any(is_gone)
    });
    shop.delete(&all);

    let requests = cluster.requests_of(TOOLS, "tidewheel-operator").unwrap();
    let refused: Vec<&Request> = requests
        .iter()
        .filter(|request| request.status == 403)
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let elsewhere: Vec<&Request> = requests
        .iter()
        .filter(|request| !["rights", TOOLS].contains(&request.namespace.as_str()))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");

    let asked: BTreeSet<Right> = requests.iter().flat_map(needed).collect();
    let mut allowed_here = allowed(cluster, "rights", "tidewheel-operator");
    allowed_here.extend(allowed(cluster, TOOLS, "tidewheel-operator-leader"));
    let unused: Vec<&Right> = allowed_here
        .difference(&asked)
        .filter(|right| !SELDOM.contains(&right.as_str()))
        .collect();
    assert!(unused.is_empty(), "allowed, and never asked: {unused:#?}");
    let everywhere = ["get", "clusterroles,clusterrolebindings", "--output=name"];
    let everywhere = cluster.run_kubectl(&everywhere).unwrap();
    assert!(!everywhere.contains("tidewheel-operator"), "{everywhere}");
}
