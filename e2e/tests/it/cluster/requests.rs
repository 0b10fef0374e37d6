//! What an account has asked of the API server.
use tidewheel_e2e::{cluster::Request, not_tried};

use super::shared;

#[test]
fn all_requests_of_an_account_are_known_with_their_answers() {
    let cluster = shared();
    if cluster.place().is_none() {
        not_tried("the log of the given cluster's API server is for whoever made it to read");
        return;
    }
    cluster
        .apply(
            "apiVersion: v1
kind: Namespace
metadata: {name: requests}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: requests}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: requests}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: requests}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: words, namespace: requests}
data: {one: word}
",
        )
        .unwrap();
    let token = ["create", "token", "reader", "--namespace", "requests"];
    let token = cluster.run_kubectl(&token).unwrap();
    let server = [
        "config",
        "view",
        "--output=jsonpath={.clusters[0].cluster.server}",
    ];
    let server = cluster.run_kubectl(&server).unwrap();
    // Without the administrator's certificate, which would count for more than the token.
    let get = |path: &str| {
        cluster
            .kubectl()
            .env("KUBECONFIG", "/dev/null")
            .args(["--server", &server, "--token", token.trim()])
            .args(["--insecure-skip-tls-verify", "get", "--raw", path])
            .output()
            .unwrap()
    };
    let words = get("/api/v1/namespaces/requests/configmaps/words");
    assert!(words.status.success(), "{words:?}");
    let secrets = get("/api/v1/namespaces/requests/secrets");
    assert!(!secrets.status.success(), "{secrets:?}");

    let request = |verb: &str, resource: &str, name: &str, status| Request {
        verb: verb.to_owned(),
        group: String::new(),
        resource: resource.to_owned(),
        namespace: "requests".to_owned(),
        name: name.to_owned(),
        status,
    };
    let requests = cluster.requests_of("requests", "reader").unwrap();
    let expected = [
        request("get", "configmaps", "words", 200),
        request("list", "secrets", "", 403),
    ];
    assert_eq!(requests, expected);
}
