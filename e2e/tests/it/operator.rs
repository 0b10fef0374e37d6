//! The operator, installed by its chart on a real cluster: what becomes of resources that people apply.
mod chains;
mod changes;
mod chaos;
mod conditions;
mod deletion;
mod drift;
mod first;
mod flow;
mod forms;
mod forwarded;
mod generated;
mod hangs;
mod keys;
mod killed;
mod kinds;
mod leader;
mod many;
mod monitors;
mod orders;
mod quiet;
mod quota;
mod references;
mod registries;
mod rights;
mod rolling;
mod scaling;
mod sender;
mod shop;
mod stand;
mod topics;
mod turns;
mod upgrade;

use std::sync::Once;

use tidewheel_e2e::cluster::{Cluster, NAMESPACE, put_away};

use self::{shop::Shop, turns::Turn};
use crate::{charts::with_kinds, cluster::start};

/// Where the operator is installed in a cluster that is a test's own.
const TOOLS: &str = "tools";

/// The cluster, with the operator at work.
fn with_operator() -> &'static Cluster {
    static INSTALLED: Once = Once::new();
    let cluster = with_kinds();
    INSTALLED.call_once(|| install(cluster));
    cluster
}

/// Deletes a pod as a node does that is cut off: it says no farewell. `wait` is for how long kubectl waits until it is gone.
fn delete_at_once(cluster: &Cluster, namespace: &str, pod: &str, wait: &str) {
    let delete = ["delete", "pod", pod, "--namespace", namespace];
    let now = ["--grace-period=0", "--force", wait];
    cluster.run_kubectl(&[&delete[..], &now].concat()).unwrap();
}

fn install(cluster: &Cluster) {
    // Many workloads share the node.
    let values = [
        "workloads.worker.resources.requests.cpu=20m",
        "workloads.ingest.resources.requests.cpu=20m",
    ];
    if let Err(error) = cluster.install_operator("tidewheel", NAMESPACE, &values) {
        panic!("{error}\n{}", about(cluster, NAMESPACE));
    }
}

/// A cluster of a test's own, until this is dropped: it knows the three kinds, and has a namespace for the operator.
struct OwnCluster {
    cluster: &'static Cluster,
    _turn: Turn,
}

impl OwnCluster {
    fn start(name: &'static str) -> Self {
        let turn = Turn::take();
        let own = Self {
            // Whoever waits for something in it does so in threads of their own. What is left of it is a few names.
            cluster: Box::leak(Box::new(start(name))),
            _turn: turn,
        };
        own.cluster.install_kinds().unwrap();
        Shop::on(own.cluster, TOOLS);
        own
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        let put_away = self.cluster.place().map(put_away);
        // A test that fails says why; the cluster ends with this process at the latest.
        if let Some(Err(error)) = put_away
            && !std::thread::panicking()
        {
            panic!("{error}");
        }
    }
}

/// Installs the operator in a test's own cluster, for one namespace.
fn install_for(shop: &Shop, values: &[&str]) {
    let watch = format!("watchNamespaces={{{}}}", shop.name);
    let values = [&[watch.as_str()][..], values].concat();
    if let Err(error) = shop.cluster.install_operator("tidewheel", TOOLS, &values) {
        panic!("{error}\n{}", about(shop.cluster, TOOLS));
    }
}

/// What can be seen of the operator in a namespace.
fn about(cluster: &Cluster, namespace: &str) -> String {
    let pods = ["get", "pods,events", "--namespace", namespace];
    let logs = [
        "logs",
        "--namespace",
        namespace,
        "--selector=app.kubernetes.io/name=tidewheel",
        "--tail=25",
    ];
    let [pods, logs] =
        [&pods[..], &logs].map(|command| cluster.run_kubectl(command).unwrap_or_default());
    format!("{pods}\n{logs}")
}
