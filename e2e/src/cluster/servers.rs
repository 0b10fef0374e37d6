//! Kafka and PostgreSQL beside the cluster, and the Services by which pods reach them.
use std::{fmt::Write as _, net::Ipv4Addr, path::Path, process::Command, thread};

use crate::{
    cluster::{
        error::ClusterError,
        images::TIDEWHEEL,
        place::Place,
        run::{run_with, write},
    },
    kafka::{self, Kafka},
    postgres::{self, Postgres},
};

/// The namespace of the Services.
const NAMESPACE: &str = "servers";
/// Kafka's address in pods.
const KAFKA: &str = "kafka.servers.svc.cluster.local:9092";
/// PostgreSQL's host in pods.
const POSTGRES_HOST: &str = "postgres.servers.svc.cluster.local";
/// PostgreSQL's port in pods.
const POSTGRES_PORT: u16 = 5432;
/// Kafka's port, in pods and at the address where its endpoint is.
pub(crate) const KAFKA_PORT: u16 = 9092;

/// Starts Kafka: on loopback at the port that the machine outside has for it, any one unless given, and at an address that pods reach.
pub(crate) fn start_kafka(address: Ipv4Addr, port: Option<u16>) -> Result<Kafka, ClusterError> {
    let kafka = Kafka::start(kafka::Options {
        port,
        also: Some(kafka::Listener {
            bind: (address, KAFKA_PORT).into(),
            advertised: KAFKA.to_owned(),
        }),
        ..kafka::Options::default()
    })?;
    Ok(kafka)
}

/// Workers of many tests write there at the same time, each over a connection for every task.
const MAX_CONNECTIONS: &str = "500";

/// Starts PostgreSQL: on loopback and at an address that pods reach, at the port that the machine outside has for it, any one unless given.
pub(crate) fn start_postgres(
    address: Ipv4Addr,
    port: Option<u16>,
) -> Result<Postgres, ClusterError> {
    let postgres = Postgres::start(postgres::Options {
        port,
        also: vec![address.into()],
        settings: vec![("max_connections".to_owned(), MAX_CONNECTIONS.to_owned())],
        ..postgres::Options::default()
    })?;
    Ok(postgres)
}

/// Makes their Services, with endpoints at `address`.
pub(crate) fn publish(
    place: &Place,
    kubectl: &Path,
    address: Ipv4Addr,
    postgres_port: u16,
) -> Result<(), ClusterError> {
    let mut text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n");
    text += &service("kafka", KAFKA_PORT, address, KAFKA_PORT);
    text += &service("postgres", POSTGRES_PORT, address, postgres_port);
    let mut command = Command::new(kubectl);
    command
        .arg(format!("--kubeconfig={}", place.kubeconfig().display()))
        .args(["apply", "--filename=-"]);
    run_with(
        &mut command,
        &text,
        "making the Services of Kafka and PostgreSQL",
    )
    .map(drop)
}

/// A Service without pods, whose one endpoint is a port at an address.
fn service(name: &str, port: u16, address: Ipv4Addr, target: u16) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec: {{ports: [{{port: {port}, targetPort: {target}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: {NAMESPACE}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: {target}}}]
endpoints: [{{addresses: [{address}]}}]
"
    )
}

/// Writes down how everything is reached, from this machine and from pods. `programs` is the folder of kubectl and helm, and
/// `toolbox` the image of a shell.
pub(crate) fn describe(
    place: &Place,
    programs: Option<&Path>,
    toolbox: &str,
    kafka: &Kafka,
    postgres: &Postgres,
) -> Result<(), ClusterError> {
    let mut text = String::new();
    let database = "postgres";
    let in_pods = postgres.url_at(POSTGRES_HOST, POSTGRES_PORT, database);
    for (name, value) in [
        ("KUBECONFIG", place.kubeconfig().display().to_string()),
        ("TIDEWHEEL_KAFKA", kafka.bootstrap().to_owned()),
        ("TIDEWHEEL_KAFKA_IN_PODS", KAFKA.to_owned()),
        ("TIDEWHEEL_POSTGRES", postgres.url(database)),
        ("TIDEWHEEL_POSTGRES_IN_PODS", in_pods),
        ("TIDEWHEEL_IMAGE", TIDEWHEEL.to_owned()),
        ("TIDEWHEEL_TOOLBOX_IMAGE", toolbox.to_owned()),
    ] {
        // No path or URL here has a quote: the former are ours, the latter encode it.
        let _ = writeln!(text, "export {name}='{value}'");
    }
    if let Some(programs) = programs {
        let _ = writeln!(text, "export TIDEWHEEL_PROGRAMS='{}'", programs.display());
        text += "export PATH=\"$TIDEWHEEL_PROGRAMS:$PATH\"\n";
    }
    write(&place.environment(), &text)
}

/// The result of a thread, such as one that starts a server; a panic there goes on here.
pub(crate) fn joined<T>(
    thread: thread::ScopedJoinHandle<'_, Result<T, ClusterError>>,
) -> Result<T, ClusterError> {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
