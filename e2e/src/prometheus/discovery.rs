//! What a Prometheus that can ask an API server finds there: every port of every endpoint of a namespace's Services, with the labels of
//! its role `endpoints` that the Prometheus Operator makes use of.
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, ClusterError};

/// All of a namespace, as a file of `file_sd_configs`.
pub(super) fn in_namespace(cluster: &Cluster, namespace: &str) -> Result<Value, ClusterError> {
    let list = |kind: &str| -> Result<Vec<Value>, ClusterError> {
        let get = ["get", kind, "--namespace", namespace, "--output=json"];
        let said = cluster.run_kubectl(&get)?;
        let mut list: Value = serde_json::from_str(&said).unwrap_or_default();
        Ok(serde_json::from_value(list["items"].take()).unwrap_or_default())
    };
    let (services, slices, pods) = (list("services")?, list("endpointslices")?, list("pods")?);
    Ok(targets(&services, &slices, &pods))
}

fn targets(services: &[Value], slices: &[Value], pods: &[Value]) -> Value {
    let mut targets = Vec::new();
    for slice in slices {
        let service = &slice["metadata"]["labels"]["kubernetes.io/service-name"];
        let Some(service) = named(services, service) else {
            continue;
        };
        for endpoint in items(&slice["endpoints"]) {
            let pod = named(pods, &endpoint["targetRef"]["name"]);
            let address = endpoint["addresses"][0].as_str().unwrap_or_default();
            for port in items(&slice["ports"]) {
                targets.push(json!({
                    "targets": [format!("{address}:{}", port["port"])],
                    "labels": labels(service, port, pod),
                }));
            }
        }
    }
    targets.into()
}

fn labels(service: &Value, port: &Value, pod: Option<&Value>) -> Map<String, Value> {
    let mut labels = Map::new();
    let mut say = |name: &str, value: &Value| {
        let name = format!("__meta_kubernetes_{name}");
        labels.insert(name, value.as_str().unwrap_or_default().into());
    };
    say("namespace", &service["metadata"]["namespace"]);
    say("service_name", &service["metadata"]["name"]);
    for (name, value) in service["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let is_kept = |c: char| c.is_ascii_alphanumeric();
        let name = name.replace(|c| !is_kept(c), "_");
        say(&format!("service_label_{name}"), value);
        say(&format!("service_labelpresent_{name}"), &json!("true"));
    }
    say("endpoint_port_name", &port["name"]);
    if let Some(pod) = pod {
        say("endpoint_address_target_kind", &json!("Pod"));
        say("endpoint_address_target_name", &pod["metadata"]["name"]);
        say("pod_name", &pod["metadata"]["name"]);
        say("pod_container_name", &pod["spec"]["containers"][0]["name"]);
        say("pod_phase", &pod["status"]["phase"]);
    }
    labels
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn named<'a>(objects: &'a [Value], name: &Value) -> Option<&'a Value> {
    objects
        .iter()
        .find(|object| object["metadata"]["name"] == *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_of_each_endpoint_is_a_target_with_what_is_known_of_service_and_pod() {
        let services = [
            json!({"metadata": {"name": "a-metrics", "namespace": "shop", "labels": {"tidewheel.dev/source": "a"}}}),
        ];
        let pods = [json!({
            "metadata": {"name": "a-1"},
            "spec": {"containers": [{"name": "ingest"}]},
            "status": {"phase": "Running"},
        })];
        let slice = |service: &str| {
            json!({
                "metadata": {"labels": {"kubernetes.io/service-name": service}},
                "ports": [{"name": "operations", "port": 9090}],
                "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"name": "a-1"}}],
            })
        };
        let expected = json!([{"targets": ["10.0.0.1:9090"], "labels": {
            "__meta_kubernetes_namespace": "shop",
            "__meta_kubernetes_service_name": "a-metrics",
            "__meta_kubernetes_service_label_tidewheel_dev_source": "a",
            "__meta_kubernetes_service_labelpresent_tidewheel_dev_source": "true",
            "__meta_kubernetes_endpoint_port_name": "operations",
            "__meta_kubernetes_endpoint_address_target_kind": "Pod",
            "__meta_kubernetes_endpoint_address_target_name": "a-1",
            "__meta_kubernetes_pod_name": "a-1",
            "__meta_kubernetes_pod_container_name": "ingest",
            "__meta_kubernetes_pod_phase": "Running",
        }}]);
        let found = targets(&services, &[slice("a-metrics"), slice("gone")], &pods);
        assert_eq!(found, expected);
    }
}
