//! The Deployment of a role, and its pods.
use serde_json::{Value, json};

use super::specs::{SERVERS_FILE, SPECS_FILE};
use super::{
    Child, ChildKind, KafkaAccess, OPERATIONS_PORT, Role, SECRETS_DIGEST, Workload, child, extend,
};

/// How long a process may take to end by itself, s.
const GRACE_SECONDS: u32 = 25;
/// How long a pod may take to end: its process first sees connections go elsewhere, and has some seconds to spare.
const TERMINATION_SECONDS: u32 = GRACE_SECONDS + 15;
/// How long a pod goes on before it is told to end, so that whoever sends has heard that it is no longer there, s.
const SENDERS_NOTICE_SECONDS: u32 = 5;
/// After how long without progress a rollout counts as failing, s.
const PROGRESS_DEADLINE_SECONDS: u32 = 180;

const SPECS: &str = "/etc/tidewheel/specs";
const KAFKA: &str = "/etc/tidewheel/kafka";
const SECRETS: &str = "/etc/tidewheel/secrets";

/// Pods of a role, which read the ConfigMap `specs`. How many there are is for the caller to say.
pub(super) fn deployment(workload: &Workload<'_>, role: Role, specs: &Child) -> Child {
    let strategy = match role {
        // A new pod is ready before an old one goes.
        Role::Ingest | Role::Worker => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
        }
        // Two would make events at the same time.
        Role::Generate => json!({"type": "Recreate"}),
    };
    let body = json!({"spec": {
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
        "selector": {"matchLabels": role.selector(workload.owner)},
        "strategy": strategy,
        "template": template(workload, role, specs),
    }});
    let name = role.workload(&workload.owner.name);
    child(ChildKind::Deployment, workload.owner, role, name, body)
}

fn template(workload: &Workload<'_>, role: Role, specs: &Child) -> Value {
    let settings = workload.settings;
    let mut labels = json!(settings.pod_labels);
    extend(&mut labels, role.labels(workload.owner));
    let mut annotations = json!(settings.pod_annotations);
    annotations[SECRETS_DIGEST] = workload.secrets_digest.as_str().into();
    let mounts = mounts(workload, specs);
    let mut spec = json!({
        "serviceAccountName": role.workload(&workload.owner.name),
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": TERMINATION_SECONDS,
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container(workload, role, &mounts)],
        "volumes": mounts.iter().map(|mount| mount.volume.clone()).collect::<Vec<_>>(),
    });
    if !settings.image_pull_secrets.is_empty() {
        spec["imagePullSecrets"] = json!(settings.image_pull_secrets);
    }
    if !settings.node_selector.is_empty() {
        spec["nodeSelector"] = json!(settings.node_selector);
    }
    if !settings.tolerations.is_empty() {
        spec["tolerations"] = json!(settings.tolerations);
    }
    if role == Role::Ingest {
        spec["topologySpreadConstraints"] = json!([{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": role.selector(workload.owner)},
        }]);
    }
    json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": spec})
}

fn container(workload: &Workload<'_>, role: Role, mounts: &[Mount]) -> Value {
    let settings = workload.settings;
    let mut ports =
        vec![json!({"name": "operations", "containerPort": OPERATIONS_PORT, "protocol": "TCP"})];
    if role == Role::Ingest {
        ports.insert(
            0,
            json!({"name": "http", "containerPort": 8080, "protocol": "TCP"}),
        );
    }
    let mut environment = vec![
        json!({"name": "TIDEWHEEL_SPECS", "value": SPECS}),
        json!({"name": "TIDEWHEEL_KAFKA", "value": KAFKA}),
        json!({"name": "TIDEWHEEL_GRACE", "value": GRACE_SECONDS.to_string()}),
    ];
    if !workload.secrets.is_empty() {
        environment.push(json!({"name": "TIDEWHEEL_SECRETS", "value": SECRETS}));
    }
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": "operations"},
            "periodSeconds": period,
            "timeoutSeconds": 5,
            "failureThreshold": failures,
        })
    };
    let mut container = json!({
        "name": role.as_str(),
        "image": settings.image,
        "args": [role.as_str()],
        "ports": ports,
        "env": environment,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "readinessProbe": probe("/readyz", 5, 3),
        "livenessProbe": probe("/healthz", 10, 6),
        "volumeMounts": mounts.iter().map(Mount::mount).collect::<Vec<_>>(),
    });
    let resources = match workload.resources {
        Some(resources) => json!(resources),
        None => role.settings(settings).resources.clone(),
    };
    if resources
        .as_object()
        .is_some_and(|resources| !resources.is_empty())
    {
        container["resources"] = resources;
    }
    if let Some(policy) = &settings.image_pull_policy {
        container["imagePullPolicy"] = policy.as_str().into();
    }
    if role == Role::Ingest {
        container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": SENDERS_NOTICE_SECONDS}}});
    }
    container
}

/// A volume, and where it is.
struct Mount {
    volume: Value,
    path: String,
}

impl Mount {
    fn mount(&self) -> Value {
        json!({"name": self.volume["name"], "mountPath": self.path, "readOnly": true})
    }
}

fn mounts(workload: &Workload<'_>, specs: &Child) -> Vec<Mount> {
    let of_specs = |file: &str| json!({"name": specs.name, "items": [{"key": file, "path": file}]});
    let kafka = match workload.kafka {
        KafkaAccess::Servers(_) => json!({"name": "kafka", "configMap": of_specs(SERVERS_FILE)}),
        KafkaAccess::Secret(name) => json!({"name": "kafka", "secret": {"secretName": name}}),
    };
    let mount = |volume, path: &str| Mount {
        volume,
        path: path.to_owned(),
    };
    let mut mounts = vec![
        mount(
            json!({"name": "specs", "configMap": of_specs(SPECS_FILE)}),
            SPECS,
        ),
        mount(kafka, KAFKA),
    ];
    // By number: a Secret may have a longer name than a volume.
    mounts.extend(
        workload
            .secrets
            .iter()
            .enumerate()
            .map(|(index, (name, keys))| {
                let mut secret = json!({"secretName": name});
                if !keys.is_empty() {
                    let items = keys.iter().map(|key| json!({"key": key, "path": key}));
                    secret["items"] = items.collect();
                }
                let volume = json!({"name": format!("secret-{index}"), "secret": secret});
                mount(volume, &format!("{SECRETS}/{name}"))
            }),
    );
    mounts
}
