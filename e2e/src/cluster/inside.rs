//! What runs in the cluster's namespaces: makes everything in order, says when it is there, and then keeps it.
use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use crate::{
    cluster::{
        control_plane::ControlPlane,
        error::ClusterError,
        hold::ClusterPorts,
        identity::Identities,
        images::{TIDEWHEEL, TIDEWHEEL_NEXT, TOOLBOX},
        mounts,
        network::{self, NODE},
        node::Node,
        place::Place,
        programs::Programs,
        relay,
        run::run,
        said::Said,
        servers,
    },
    supervised::Supervised,
};

/// How long the node may take to be ready, on a machine that has other things to do.
const READY_WITHIN: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Makes a cluster around this process, which must be in namespaces of its own, and keeps it until this process is killed.
///
/// # Errors
/// [`ClusterError`] for the first step that fails.
pub fn inside(place: &Place, ports: ClusterPorts, images: &[PathBuf]) -> Result<(), ClusterError> {
    let started = Instant::now();
    let step = |what: &str| {
        Said::Step(format!("{what} ({:.1} s)", started.elapsed().as_secs_f64())).tell();
    };
    mounts::make(place)?;
    network::make()?;
    relay::serve(&place.relay())?;
    let programs = &Programs::find()?;
    let identities = &Identities::make(place.folder().join("identities"), ports.api)?;
    identities.kubeconfig(
        "tidewheel-admin",
        Some("system:masters"),
        &place.kubeconfig(),
    )?;
    let control_plane = ControlPlane {
        place,
        programs,
        identities,
        api_port: ports.api,
    };
    let node = Node {
        place,
        programs,
        identities,
    };

    // What does not need each other at once: each takes seconds, most of it waiting.
    let (kubernetes, kafka, postgres) = thread::scope(|scope| {
        let kafka = scope.spawn(|| {
            servers::start_kafka(NODE, Some(ports.kafka)).inspect(|_| step("Kafka answers"))
        });
        let postgres = scope.spawn(|| {
            servers::start_postgres(NODE, Some(ports.postgres))
                .inspect(|_| step("PostgreSQL answers"))
        });
        let containerd = scope.spawn(|| {
            let containerd = node.start_containerd()?;
            for image in images {
                node.import(image)?;
            }
            node.tag(TIDEWHEEL, TIDEWHEEL_NEXT)?;
            step("containerd has the images");
            Ok(containerd)
        });
        let kubernetes = start_kubernetes(&control_plane, &node, &step);
        let parts = kubernetes.and_then(|mut parts| {
            parts.push(servers::joined(containerd)?);
            Ok(parts)
        });
        (parts, servers::joined(kafka), servers::joined(postgres))
    });
    let (mut parts, kafka, postgres) = (kubernetes?, kafka?, postgres?);
    parts.push(node.start_kubelet()?);
    let kubectl = programs.folder().join("kubectl");
    servers::publish(place, &kubectl, NODE, ports.postgres)?;
    wait_until_ready(place, programs, &mut parts)?;
    step("the node is ready");
    servers::describe(place, Some(programs.folder()), TOOLBOX, &kafka, &postgres)?;
    Said::Ready.tell();
    loop {
        // All of it is dropped, if ever, by the kernel.
        thread::park();
    }
}

fn start_kubernetes(
    control_plane: &ControlPlane<'_>,
    node: &Node<'_>,
    step: &impl Fn(&str),
) -> Result<Vec<Supervised>, ClusterError> {
    let mut parts = Vec::from(control_plane.start_api()?);
    step("the API server answers");
    parts.extend(control_plane.start_controllers()?);
    parts.push(node.start_proxy()?);
    parts.push(node.start_names()?);
    Ok(parts)
}

/// Until pods can run: the node is ready, and there is an account for them.
fn wait_until_ready(
    place: &Place,
    programs: &Programs,
    parts: &mut [Supervised],
) -> Result<(), ClusterError> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let mut node = programs.kubernetes("kubectl");
        node.arg(format!("--kubeconfig={}", place.kubeconfig().display()))
            .args(["get", "nodes", "--output"])
            .arg(r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#);
        let mut account = programs.kubernetes("kubectl");
        account
            .arg(format!("--kubeconfig={}", place.kubeconfig().display()))
            .args(["get", "serviceaccount", "default"]);
        let state = run(&mut node, "asking after the node")?;
        if state == "True" && run(&mut account, "asking for an account").is_ok() {
            return Ok(());
        }
        for part in &mut *parts {
            part.still_runs()?;
        }
        if Instant::now() > deadline {
            return Err(ClusterError::Failed {
                doing: "waiting for the node to be ready".to_owned(),
                said: format!(
                    "its state is {state:?}; see {}",
                    place.part("kubelet").display()
                ),
            });
        }
        thread::sleep(LOOK_EVERY);
    }
}
