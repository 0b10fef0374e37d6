//! Installations of the operator's chart.
use tidewheel_e2e::cluster::Cluster;

use super::with_kinds;

fn namespaces(cluster: &Cluster, names: &[&str]) {
    for name in names {
        let labels = "{pod-security.kubernetes.io/enforce: restricted}";
        let metadata = format!("{{name: {name}, labels: {labels}}}");
        cluster
            .apply(&format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {metadata}\n"
            ))
            .unwrap();
    }
}

/// Whether the operator of a namespace may do something.
fn may(cluster: &Cluster, operator_in: &str, verb: &str, what: &str, namespace: &[&str]) -> bool {
    let account = format!("--as=system:serviceaccount:{operator_in}:tidewheel-operator");
    let output = cluster
        .kubectl()
        .args(["auth", "can-i", "--quiet", verb, what, &account])
        .args(namespace)
        .output()
        .unwrap();
    output.status.success()
}

#[test]
fn an_operator_of_some_namespaces_has_rights_in_these_only() {
    let cluster = with_kinds();
    namespaces(cluster, &["rights", "rights-shop", "rights-other"]);
    let values = ["operator.replicas=0", "watchNamespaces={rights-shop}"];
    let install = || {
        cluster
            .install_operator("rights", "rights", &values)
            .unwrap()
    };
    let said = install();
    assert!(
        said.contains("looks after the namespaces rights-shop."),
        "{said}"
    );
    // And again, as an upgrade.
    install();

    for (verb, what) in [
        ("list", "secrets"),
        ("watch", "pipelines.tidewheel.dev"),
        ("create", "deployments.apps"),
        ("create", "events.events.k8s.io"),
    ] {
        for (namespace, expected) in [
            ("--namespace=rights-shop", true),
            ("--namespace=rights-other", false),
            ("--namespace=rights", false),
            ("--all-namespaces", false),
        ] {
            let allowed = may(cluster, "rights", verb, what, &[namespace]);
            assert_eq!(allowed, expected, "{verb} {what} {namespace}");
        }
    }
    let lease = "leases.coordination.k8s.io/tidewheel-operator";
    assert!(may(
        cluster,
        "rights",
        "update",
        lease,
        &["--namespace=rights"]
    ));
    let foreign = "leases.coordination.k8s.io/another";
    assert!(!may(
        cluster,
        "rights",
        "update",
        foreign,
        &["--namespace=rights"]
    ));
    let everywhere = [
        "get",
        "clusterroles,clusterrolebindings",
        "--selector=app.kubernetes.io/instance=rights",
        "--output=name",
    ];
    assert_eq!(cluster.run_kubectl(&everywhere).unwrap(), "");

    cluster
        .run_helm(&["uninstall", "rights", "--namespace=rights", "--wait"])
        .unwrap();
    let left = [
        "get",
        "all,configmaps,serviceaccounts,roles,rolebindings,poddisruptionbudgets",
        "--all-namespaces",
        "--selector=app.kubernetes.io/instance=rights",
        "--output=name",
    ];
    assert_eq!(cluster.run_kubectl(&left).unwrap(), "");
}
