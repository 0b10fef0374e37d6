//! The cluster's network: a namespace with a bridge that has the node's address, and no way out.
use std::{net::Ipv4Addr, path::Path, process::Command};

use crate::cluster::{
    error::ClusterError,
    run::{run, write},
};

/// The node's address: Kubernetes, Kafka and PostgreSQL listen here.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);
const NODE_NETWORK: &str = "10.10.0.1/24";
/// What pods get addresses from.
pub(crate) const PODS: &str = "10.20.0.0/16";
/// What Services get addresses from.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// The first of them is the API server's.
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

const STEPS: [&[&str]; 5] = [
    &["link", "set", "lo", "up"],
    // Not every kernel has `dummy`.
    &["link", "add", "node", "type", "bridge"],
    &["address", "add", NODE_NETWORK, "dev", "node"],
    &["link", "set", "node", "up"],
    // Or processes on the node would have no route for Services; kube-proxy gives their packets another destination.
    &["route", "add", SERVICES, "dev", "node"],
];

/// Makes it, in the namespace of this process.
pub(crate) fn make() -> Result<(), ClusterError> {
    for step in STEPS {
        let doing = format!("ip {}", step.join(" "));
        run(Command::new("ip").args(step), &doing)?;
    }
    write(Path::new("/proc/sys/net/ipv4/ip_forward"), "1")
}
