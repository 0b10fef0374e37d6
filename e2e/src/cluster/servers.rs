//! Kafka and PostgreSQL beside the cluster, and the Services by which pods reach them.
use std::fmt::Write as _;

use crate::{
    cluster::{
        error::ClusterError,
        hold::ClusterPorts,
        images::{TIDEWHEEL, TOOLBOX},
        network::NODE,
        place::Place,
        programs::Programs,
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
const KAFKA_PORT: u16 = 9092;

/// Starts Kafka: on loopback at the port that the machine outside has for it, and at the address that pods know.
pub(crate) fn start_kafka(ports: ClusterPorts) -> Result<Kafka, ClusterError> {
    let kafka = Kafka::start(kafka::Options {
        port: Some(ports.kafka),
        also: Some(kafka::Listener {
            bind: (NODE, KAFKA_PORT).into(),
            advertised: KAFKA.to_owned(),
        }),
        ..kafka::Options::default()
    })?;
    Ok(kafka)
}

/// Starts PostgreSQL: on loopback and at the node's address, at the port that the machine outside has for it.
pub(crate) fn start_postgres(ports: ClusterPorts) -> Result<Postgres, ClusterError> {
    let postgres = Postgres::start(postgres::Options {
        port: Some(ports.postgres),
        also: vec![NODE.into()],
        ..postgres::Options::default()
    })?;
    Ok(postgres)
}

/// Makes their Services.
pub(crate) fn publish(
    place: &Place,
    programs: &Programs,
    ports: ClusterPorts,
) -> Result<(), ClusterError> {
    let mut text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n");
    text += &service("kafka", KAFKA_PORT, KAFKA_PORT);
    text += &service("postgres", POSTGRES_PORT, ports.postgres);
    let mut command = programs.kubernetes("kubectl");
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

/// A Service without pods, whose one endpoint is a port of the node.
fn service(name: &str, port: u16, target: u16) -> String {
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
endpoints: [{{addresses: [{NODE}]}}]
"
    )
}

/// Writes down how everything is reached, from this machine and from pods.
pub(crate) fn describe(
    place: &Place,
    programs: &Programs,
    kafka: &Kafka,
    postgres: &Postgres,
) -> Result<(), ClusterError> {
    let mut text = String::new();
    let database = "postgres";
    let in_pods = postgres.url_at(POSTGRES_HOST, POSTGRES_PORT, database);
    for (name, value) in [
        (
            "TIDEWHEEL_PROGRAMS",
            programs.folder().display().to_string(),
        ),
        ("KUBECONFIG", place.kubeconfig().display().to_string()),
        ("TIDEWHEEL_KAFKA", kafka.bootstrap().to_owned()),
        ("TIDEWHEEL_KAFKA_IN_PODS", KAFKA.to_owned()),
        ("TIDEWHEEL_POSTGRES", postgres.url(database)),
        ("TIDEWHEEL_POSTGRES_IN_PODS", in_pods),
        ("TIDEWHEEL_IMAGE", TIDEWHEEL.to_owned()),
        ("TIDEWHEEL_TOOLBOX_IMAGE", TOOLBOX.to_owned()),
    ] {
        // No path or URL here has a quote: the former are ours, the latter encode it.
        let _ = writeln!(text, "export {name}='{value}'");
    }
    text += "export PATH=\"$TIDEWHEEL_PROGRAMS:$PATH\"\n";
    write(&place.environment(), &text)
}
