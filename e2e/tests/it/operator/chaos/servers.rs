//! Three brokers and a PostgreSQL in pods, of the programs of this machine.
//!
//! A shell is the first process of each and starts the server again when it ends: the kubelet would wait longer each time.
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tidewheel_e2e::{cluster::Cluster, kafka, postgres};

pub(super) const NAMESPACE: &str = "servers-of-three";
pub(super) const BROKERS: usize = 3;
const KAFKA_PORT: u16 = 9092;
const POSTGRES_PORT: u16 = 5432;
const PASSWORD: &str = "correct-horse";
/// Of the memory that PostgreSQL's data are in.
const DISK: &str = "3Gi";
/// What takes all room that is left on it.
const BALLAST: &str = "/data/ballast";

const MANIFESTS: &str = include_str!("servers.yaml");

/// Starts them and waits until they answer.
pub(super) fn start(cluster: &Cluster) {
    let (mounts, volumes) = of_this_machine();
    let voters = (0..BROKERS).map(|index| format!("{}@{}:9093", index + 1, host(index)));
    let yaml = MANIFESTS
        .replace("TOOLBOX", cluster.toolbox_image())
        .replace("BROKERS", &BROKERS.to_string())
        .replace("VOTERS", &voters.collect::<Vec<_>>().join(","))
        .replace(
            "CLASS_PATH",
            &kafka::class_path().unwrap().display().to_string(),
        )
        .replace("JAVA", &java().display().to_string())
        .replace(
            "PROGRAMS",
            &postgres::programs().unwrap().display().to_string(),
        )
        .replace("PASSWORD", PASSWORD)
        .replace("DISK", DISK)
        .replace("NAMESPACE", NAMESPACE)
        .replace("MOUNTS", &mounts)
        .replace("VOLUMES", &volumes);
    cluster.apply(&yaml).unwrap();
    for set in ["statefulset/kafka", "statefulset/postgres"] {
        let rollout = ["rollout", "status", set, "--timeout=240s", "--namespace"];
        if let Err(error) = cluster.run_kubectl(&[&rollout[..], &[NAMESPACE]].concat()) {
            panic!("{error}\n{}", about(cluster));
        }
    }
}

/// `bootstrap.servers` in pods.
pub(super) fn bootstrap() -> String {
    let brokers = (0..BROKERS).map(|index| format!("{}:{KAFKA_PORT}", host(index)));
    brokers.collect::<Vec<_>>().join(",")
}

/// The URL of the database in pods.
pub(super) fn database() -> String {
    database_at(
        &format!("postgres.{NAMESPACE}.svc.cluster.local"),
        POSTGRES_PORT,
    )
}

/// The URL of the database from this machine.
pub(super) fn database_from_here(cluster: &Cluster) -> String {
    let address = address_of_service(cluster, NAMESPACE, "postgres", POSTGRES_PORT);
    let url = database_at("127.0.0.1", cluster.reach(address).unwrap());
    // Nobody waits for one that is held.
    format!("{url}?connect_timeout=2")
}

fn database_at(host: &str, port: u16) -> String {
    format!("postgres://tidewheel:{PASSWORD}@{host}:{port}/postgres")
}

pub(super) fn address_of_service(
    cluster: &Cluster,
    namespace: &str,
    service: &str,
    port: u16,
) -> SocketAddr {
    let get = ["get", "service", service, "--namespace", namespace];
    let address = ["--output=jsonpath={.spec.clusterIP}"];
    let address = cluster.run_kubectl(&[&get[..], &address].concat());
    SocketAddr::new(address.unwrap().parse().unwrap(), port)
}

/// The addresses of all brokers' pods.
pub(super) fn broker_addresses(cluster: &Cluster) -> Vec<String> {
    let get = [
        "get",
        "pods",
        "--selector=app=kafka",
        "--namespace",
        NAMESPACE,
    ];
    let path = "--output=jsonpath={.items[*].status.podIP}";
    let addresses = cluster.run_kubectl(&[&get[..], &[path]].concat()).unwrap();
    addresses.split(' ').map(str::to_owned).collect()
}

/// Takes all room that is left on PostgreSQL's disk.
pub(super) fn fill_disk(cluster: &Cluster) {
    // The second ends with an error when there is no room left, which is what it is for.
    let fill = format!(
        "/bin/busybox fallocate -l $(/bin/busybox df -k /data | /bin/busybox awk 'END {{print $4}}')K {BALLAST}
        /bin/busybox dd if=/dev/zero of={BALLAST}.rest bs=4k || true"
    );
    in_database(cluster, &fill);
}

pub(super) fn empty_disk(cluster: &Cluster) {
    in_database(
        cluster,
        &format!("/bin/busybox rm -f {BALLAST} {BALLAST}.rest"),
    );
}

fn in_database(cluster: &Cluster, script: &str) {
    let exec = ["exec", "postgres-0", "--namespace", NAMESPACE, "--"];
    let shell = ["/bin/busybox", "sh", "-c", script];
    cluster.run_kubectl(&[&exec[..], &shell].concat()).unwrap();
}

/// What can be seen of them.
pub(super) fn about(cluster: &Cluster) -> String {
    let pods = ["get", "pods,events", "--namespace", NAMESPACE];
    let mut text = cluster.run_kubectl(&pods).unwrap_or_default();
    for app in ["app=kafka", "app=postgres"] {
        let logs = [
            "logs",
            "--tail=30",
            "--selector",
            app,
            "--namespace",
            NAMESPACE,
        ];
        text += &cluster.run_kubectl(&logs).unwrap_or_default();
    }
    text
}

fn host(index: usize) -> String {
    format!("kafka-{index}.kafka.{NAMESPACE}.svc.cluster.local")
}

/// The folders of this machine that hold the programs, their libraries and their settings, as mounts and as volumes.
fn of_this_machine() -> (String, String) {
    let mut folders: Vec<PathBuf> = ["/usr", "/lib", "/lib64"].map(PathBuf::from).into();
    let settings = fs::read_dir("/etc").unwrap().flatten();
    // Java's own are links to them.
    folders.extend(settings.map(|entry| entry.path()).filter(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("java-"))
    }));
    let class_path = kafka::class_path().unwrap();
    let more = [
        class_path.parent().unwrap().to_owned(),
        postgres::programs().unwrap(),
        java(),
    ];
    for folder in more {
        if !folders.iter().any(|known| folder.starts_with(known)) {
            folders.push(folder);
        }
    }
    let (mut mounts, mut volumes) = (String::new(), String::new());
    for (index, folder) in folders.iter().filter(|folder| folder.exists()).enumerate() {
        let folder = folder.display();
        mounts += &format!("{{name: here-{index}, mountPath: {folder}, readOnly: true}}, ");
        volumes += &format!("{{name: here-{index}, hostPath: {{path: {folder}}}}}, ");
    }
    (mounts, volumes)
}

/// Java's folder.
fn java() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let programs = std::env::split_paths(&path).map(|folder| folder.join("java"));
    let program = programs.into_iter().find(|program| program.is_file());
    let program = fs::canonicalize(program.unwrap()).unwrap();
    // FOLDER/bin/java
    let folder = program.parent().and_then(Path::parent);
    folder.unwrap().to_owned()
}
