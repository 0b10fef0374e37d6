//! A real Prometheus beside a cluster, told what to do by a real Prometheus Operator, as in clusters that have both.
//!
//! The operator runs on this machine, and makes of ServiceMonitors and PrometheusRules what it makes everywhere: a Secret with the
//! configuration of Prometheus, and ConfigMaps with its rules. Instead of a pod, whose image would have to be fetched, a process in the
//! cluster's network reads them.
mod discovery;

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    cache,
    cluster::{Cluster, ClusterError, Place},
    ports,
    server::{ServerError, io},
    supervised::Supervised,
};

/// What `scripts/servers.sh` puts into the cache.
const PROMETHEUS: &str = "prometheus";
const OPERATOR: &str = "prometheus-operator-0.85.0";

/// The program that tests rules.
///
/// # Errors
/// [`ServerError::NotInstalled`] where it is not there.
pub fn promtool() -> Result<PathBuf, ServerError> {
    cache::installed(PROMETHEUS, "promtool")
}

/// The folder with the kinds of the Prometheus Operator.
///
/// # Errors
/// [`ServerError::NotInstalled`] where they are not there.
pub fn kinds() -> Result<PathBuf, ServerError> {
    cache::installed(OPERATOR, "kinds")
}

/// A Prometheus Operator at work in a cluster, until it is dropped.
pub struct PrometheusOperator {
    _server: Supervised,
}

impl PrometheusOperator {
    /// Starts it. Its kinds must be there.
    ///
    /// # Errors
    /// [`ServerError`] where it does not start.
    pub fn start(cluster: &Cluster) -> Result<Self, ServerError> {
        let program = cache::installed(OPERATOR, "prometheus-operator")?;
        let mut server = Supervised::new("prometheus-operator", "tidewheel-prometheus-")?;
        let [port] = ports::free()?;
        let mut command = Command::new("env");
        command
            .arg(format!("KUBECONFIG={}", cluster.kubeconfig()))
            .arg(program)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--kubelet-endpoints=false");
        server.start(command, || {
            Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        Ok(Self { _server: server })
    }
}

/// A Prometheus in the network of a cluster, until it is dropped.
pub struct Prometheus {
    server: Supervised,
    place: Place,
}

/// In the network of each cluster the same one.
const PORT: u16 = 9_090;

impl Prometheus {
    /// Starts it with a configuration as the Prometheus Operator writes it, and files with rules by their names. It reads from the pods that
    /// are there now.
    ///
    /// # Errors
    /// [`ClusterError`] where it does not start, or somebody else has made the cluster.
    pub fn start(
        cluster: &Cluster,
        configuration: &str,
        rules: &BTreeMap<String, String>,
    ) -> Result<Self, ClusterError> {
        let program = cache::installed(PROMETHEUS, "prometheus")?;
        let place = cluster.place().ok_or_else(|| ClusterError::Missing {
            what: "a way into the network of the cluster, which somebody else has made".to_owned(),
            how: "unset TIDEWHEEL_KUBECONFIG, and a cluster is made here".to_owned(),
        })?;
        let mut server = Supervised::new("prometheus", "tidewheel-prometheus-")?;
        let folder = server.folder().to_owned();
        let configuration = configuration.replace(SHARD, "0");
        let mut configuration: Value =
            serde_yaml::from_str(&configuration).map_err(|error| ServerError::Io {
                doing: "reading Prometheus' configuration",
                error: std::io::Error::other(error),
            })?;
        for namespace in find_in_files(&mut configuration, &folder) {
            let found = discovery::in_namespace(cluster, &namespace)?;
            write(&file_of(&folder, &namespace), &found.to_string())?;
        }
        write(&folder.join("prometheus.yaml"), &configuration.to_string())?;
        for (name, text) in rules {
            write(&folder.join(RULES).join(name), text)?;
        }
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", place.network()?.display()))
            .arg(program)
            .arg(format!(
                "--config.file={}/prometheus.yaml",
                folder.display()
            ))
            .arg(format!("--storage.tsdb.path={}/data", folder.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{PORT}"));
        server.start(command, || {
            Ok(ask(place, "/-/ready").is_ok_and(|said| said.contains(" 200 ")))
        })?;
        Ok(Self {
            server,
            place: place.clone(),
        })
    }

    /// What it answers to a GET, without the head.
    ///
    /// # Errors
    /// [`ServerError`] where it does not answer.
    pub fn get(&self, path: &str) -> Result<String, ServerError> {
        let answer = ask(&self.place, path).map_err(io("asking Prometheus"))?;
        match answer.split_once("\r\n\r\n") {
            Some((_, body)) => Ok(body.to_owned()),
            None => Err(self.server.failed("gave no answer")),
        }
    }
}

/// What the Prometheus Operator leaves to the environment of a pod, of which there is one here.
const SHARD: &str = "$(SHARD)";
/// The folder with rules.
const RULES: &str = "rules";

/// Debian's Prometheus cannot ask an API server: whatever it would ask for is in files, one for each namespace. Returns the namespaces.
fn find_in_files(configuration: &mut Value, folder: &Path) -> Vec<String> {
    let rules = folder.join(RULES).join("*.yaml");
    configuration["rule_files"] = json!([rules.display().to_string()]);
    let mut all = Vec::new();
    let jobs = configuration["scrape_configs"].as_array_mut();
    for job in jobs.into_iter().flatten().filter_map(Value::as_object_mut) {
        let asked = job.remove("kubernetes_sd_configs").unwrap_or_default();
        let asked = asked.as_array().into_iter().flatten();
        let names = asked.flat_map(|asked| asked["namespaces"]["names"].as_array());
        let names: Vec<String> = names.flatten().filter_map(text).collect();
        let files: Vec<String> = names
            .iter()
            .map(|name| file_of(folder, name).display().to_string())
            .collect();
        job.insert("file_sd_configs".to_owned(), json!([{"files": files}]));
        all.extend(names);
    }
    all.sort();
    all.dedup();
    all
}

fn file_of(folder: &Path, namespace: &str) -> PathBuf {
    folder.join(format!("{namespace}.json"))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Writes a file and the folder that it is in.
fn write(path: &Path, text: &str) -> Result<(), ServerError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io("making a folder for Prometheus"))?;
    }
    std::fs::write(path, text).map_err(io("writing a file for Prometheus"))
}

/// What it answers to a GET, head and all.
fn ask(place: &Place, path: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(place.relay())?;
    // The first line says where to.
    write!(
        stream,
        "127.0.0.1:{PORT}\nGET {path} HTTP/1.0\r\nHost: prometheus\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_asked_for_is_in_files() {
        let mut configuration = json!({
            "rule_files": ["/etc/prometheus/rules/prometheus-real-rulefiles-0/*.yaml"],
            "scrape_configs": [{
                "job_name": "a",
                "kubernetes_sd_configs": [{"role": "endpoints", "namespaces": {"names": ["shop"]}}],
                "relabel_configs": [],
            }],
        });
        let namespaces = find_in_files(&mut configuration, Path::new("/f"));
        assert_eq!(namespaces, ["shop"]);
        let expected = json!({
            "rule_files": ["/f/rules/*.yaml"],
            "scrape_configs": [{
                "job_name": "a",
                "file_sd_configs": [{"files": ["/f/shop.json"]}],
                "relabel_configs": [],
            }],
        });
        assert_eq!(configuration, expected);
    }
}
