//! Pods of the image, and what they reach.
use std::{net::TcpListener, process::Command, time::Duration};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use tidewheel_e2e::{cluster::Cluster, not_tried};

use super::shared;

/// Makes a namespace in which only pods run that ask for nothing.
fn restricted(cluster: &Cluster, namespace: &str) {
    let labels = "{pod-security.kubernetes.io/enforce: restricted}";
    let metadata = format!("{{name: {namespace}, labels: {labels}}}");
    cluster
        .apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {metadata}\n"
        ))
        .unwrap();
    // Made by a controller, a moment later.
    wait(cluster, namespace, "serviceaccount/default", "create");
}

fn wait(cluster: &Cluster, namespace: &str, what: &str, until: &str) {
    let condition = format!("--for={until}");
    let arguments = [
        "wait",
        "--namespace",
        namespace,
        what,
        &condition,
        "--timeout=180s",
    ];
    if let Err(error) = cluster.run_kubectl(&arguments) {
        let about = [
            "get",
            "pods,events",
            "--namespace",
            namespace,
            "--output=wide",
        ];
        panic!(
            "{error}\n{}",
            cluster.run_kubectl(&about).unwrap_or_default()
        );
    }
}

/// A pod that is never started again, with a root file system that cannot be written, without any right or account.
pub(crate) fn pod(
    namespace: &str,
    name: &str,
    image: &str,
    arguments: &[&str],
    more: &str,
) -> String {
    format!(
        r#"apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: main
      image: {image}
      imagePullPolicy: IfNotPresent
      args: {arguments:?}
      securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
{more}"#
    )
}

/// Runs a pod of the tidewheel image to its good end and returns what it printed.
fn run(cluster: &Cluster, namespace: &str, name: &str, arguments: &[&str], more: &str) -> String {
    let pod = pod(namespace, name, cluster.image(), arguments, more);
    cluster.apply(&pod).unwrap();
    let name = format!("pod/{name}");
    // Whether it ends well or not.
    wait(
        cluster,
        namespace,
        &name,
        "jsonpath={.status.containerStatuses[0].state.terminated}",
    );
    let code = "--output=jsonpath={.status.containerStatuses[0].state.terminated.exitCode}";
    let code = ["get", &name, "--namespace", namespace, code];
    let printed = cluster
        .run_kubectl(&["logs", &name, "--namespace", namespace])
        .unwrap();
    assert_eq!(cluster.run_kubectl(&code).unwrap(), "0", "{printed}");
    printed
}

#[test]
fn a_restricted_pod_without_account_or_writable_files_runs_the_program() {
    let cluster = shared();
    restricted(cluster, "program");
    let version = run(cluster, "program", "version", &["--version"], "");
    assert_eq!(
        version,
        format!("tidewheel {}\n", env!("CARGO_PKG_VERSION"))
    );
    let volumes = [
        "get",
        "pod/version",
        "--namespace",
        "program",
        "--output=jsonpath={.spec.volumes}",
    ];
    assert_eq!(
        cluster.run_kubectl(&volumes).unwrap(),
        "",
        "no token of an account is mounted"
    );
    let help = run(cluster, "program", "help", &["--help"], "");
    assert!(help.contains("Usage: tidewheel"), "{help}");

    // That the namespace is as strict as it says.
    let lax = pod("program", "lax", cluster.image(), &["--version"], "")
        .replace("drop: [ALL]", "add: [NET_ADMIN]");
    let refused = cluster.apply(&lax).unwrap_err().to_string();
    assert!(refused.contains("violates PodSecurity"), "{refused}");
}

/// A source, a table, and how one becomes the other.
const RESOURCES: &str = r#"
      apiVersion: tidewheel.dev/v1alpha1
      kind: EventSource
      metadata: {name: clicks, namespace: reach}
      spec:
        schema:
          fields:
            - {name: id, type: uuid, required: true, generate: Uuid}
            - {name: ts, type: timestamp, required: true}
        eventTime: {field: ts, maxOutOfOrder: 10s}
        key: [id]
        http: {}
      ---
      apiVersion: tidewheel.dev/v1alpha1
      kind: Sink
      metadata: {name: warehouse, namespace: reach}
      spec:
        postgres: {connection: {secretRef: {name: warehouse, key: url}}, schema: reach}
      ---
      apiVersion: tidewheel.dev/v1alpha1
      kind: Pipeline
      metadata: {name: copy, namespace: reach}
      spec:
        sources: [{name: clicks}]
        outputs:
          - {name: clicks, from: clicks, postgres: {sink: warehouse}}
"#;
const MOUNTS: &str = "      volumeMounts: [{name: specs, mountPath: /specs}, {name: warehouse, mountPath: /secrets/warehouse}]
  volumes: [{name: specs, configMap: {name: specs}}, {name: warehouse, secret: {secretName: warehouse}}]
";

#[test]
fn a_pod_reaches_kafka_and_postgresql_by_their_service_names() {
    let cluster = shared();
    restricted(cluster, "reach");
    let url = cluster.postgres_in_pods();
    cluster
        .apply(&format!(
            "apiVersion: v1
kind: ConfigMap
metadata: {{name: specs, namespace: reach}}
data:
  all.yaml: |{RESOURCES}---
apiVersion: v1
kind: Secret
metadata: {{name: warehouse, namespace: reach}}
stringData: {{url: \"{url}\"}}
"
        ))
        .unwrap();
    let arguments = [
        "provision",
        "/specs",
        "--kafka",
        cluster.kafka_in_pods(),
        "--secrets",
        "/secrets",
    ];
    let made = run(cluster, "reach", "provision", &arguments, MOUNTS);
    assert!(made.contains("reach.clicks"), "{made}");
    // A dry run that ends well has found nothing to do: topics and tables are there.
    let dry = [arguments.as_slice(), &["--dry-run"]].concat();
    run(cluster, "reach", "look", &dry, MOUNTS);

    // And it is the same Kafka that this machine reaches.
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.kafka())
        .create()
        .unwrap();
    let topics = client
        .fetch_metadata(None, Duration::from_secs(30))
        .unwrap();
    let names: Vec<&str> = topics.topics().iter().map(|topic| topic.name()).collect();
    assert!(names.contains(&"reach.clicks"), "{names:?}");
}

/// Whether a pod can connect to an address, and what is said where it cannot.
fn connects(cluster: &Cluster, host: &str, port: u16) -> Result<(), String> {
    let port = port.to_string();
    let connect = [
        "/bin/busybox",
        "nc",
        "-w",
        "5",
        host,
        &port,
        "-e",
        "/bin/busybox",
        "true",
    ];
    let exec = ["exec", "--namespace", "outside", "shell", "--"];
    let arguments = [exec.as_slice(), &connect].concat();
    let result = cluster.run_kubectl(&arguments);
    result.map(drop).map_err(|error| error.to_string())
}

/// All IPv4 addresses of this machine but loopback's.
fn addresses() -> Vec<String> {
    let output = Command::new("ip")
        .args(["-4", "-oneline", "address"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let address = |line: &str| {
        let with_mask = line.split_whitespace().nth(3)?;
        Some(with_mask.split('/').next()?.to_owned())
    };
    let addresses = text.lines().filter_map(address);
    addresses
        .filter(|address| !address.starts_with("127."))
        .collect()
}

#[test]
fn a_pod_reaches_services_and_the_api_server_and_nothing_outside() {
    let cluster = shared();
    restricted(cluster, "outside");
    let shell = pod(
        "outside",
        "shell",
        cluster.toolbox_image(),
        &["sleep", "3600"],
        "      command: [/bin/busybox]\n",
    );
    // The image of a given cluster may begin as root.
    let shell = shell.replace("runAsNonRoot: true", "runAsNonRoot: true, runAsUser: 65532");
    cluster.apply(&shell).unwrap();
    wait(cluster, "outside", "pod/shell", "condition=Ready");
    connects(cluster, "kafka.servers.svc", 9092).unwrap();
    connects(cluster, "postgres.servers.svc.cluster.local", 5432).unwrap();
    connects(cluster, "kubernetes.default.svc", 443).unwrap();

    if cluster.place().is_none() {
        not_tried(
            "what pods of the given cluster reach beyond it is for whoever made it to decide",
        );
        return;
    }
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for address in addresses() {
        connects(cluster, &address, port).expect_err(&address);
    }
    // An address that documentation has for itself, and a name that somebody else would have to know.
    connects(cluster, "192.0.2.1", 80).unwrap_err();
    let unknown = connects(cluster, "example.com", 80).unwrap_err();
    assert!(unknown.contains("bad address"), "{unknown}");
}
