//! A real Prometheus beside a cluster, told what to do by a real Prometheus Operator, as in clusters that have both.
//!
//! The operator runs on this machine, and makes of ServiceMonitors and PrometheusRules what it makes everywhere: a Secret with the
//! configuration of Prometheus, and ConfigMaps with its rules. Instead of a pod, whose image would have to be fetched, a process in the
//! cluster's network reads them.
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cache,
    cluster::{Cluster, Place},
    ports,
    server::{ServerError, io},
    supervised::Supervised,
};

/// What `scripts/servers.sh` puts there, in the cache.
const PROMETHEUS: &str = "prometheus";
const OPERATOR: &str = "prometheus-operator-0.85.0";

/// The program that tests rules.
///
/// # Errors
/// [`ServerError::NotInstalled`] where it is not there.
pub fn promtool() -> Result<PathBuf, ServerError> {
    installed(PROMETHEUS, "promtool")
}

/// The folder with the kinds of the Prometheus Operator.
///
/// # Errors
/// [`ServerError::NotInstalled`] where they are not there.
pub fn kinds() -> Result<PathBuf, ServerError> {
    installed(OPERATOR, "kinds")
}

fn installed(what: &str, file: &str) -> Result<PathBuf, ServerError> {
    let folder = cache::folder()?.join(what);
    let path = folder.join(file);
    if folder.join("complete").is_file() && path.exists() {
        return Ok(path);
    }
    let what = format!("{file} is not there: {}", path.display());
    Err(ServerError::NotInstalled { what })
}

/// A Prometheus Operator at work in a cluster, until it is dropped.
pub struct PrometheusOperator(#[expect(dead_code, reason = "it is ended with this")] Supervised);

impl PrometheusOperator {
    /// Starts it. Its kinds must be there.
    ///
    /// # Errors
    /// [`ServerError`] where it does not start.
    pub fn start(cluster: &Cluster) -> Result<Self, ServerError> {
        let program = installed(OPERATOR, "prometheus-operator")?;
        let mut server = Supervised::new("prometheus-operator", "tidewheel-prometheus-")?;
        let [port] = ports::free()?;
        let mut command = Command::new("env");
        command
            .arg(format!("KUBECONFIG={}", cluster.kubeconfig()))
            .arg(program)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--kubelet-endpoints=false");
        server.start(command, || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        Ok(Self(server))
    }
}

/// A Prometheus in the network of a cluster, until it is dropped.
pub struct Prometheus {
    server: Supervised,
    place: Place,
    port: u16,
}

/// Everywhere in the cluster's network the same one.
const PORT: u16 = 9_090;
/// Where the Prometheus Operator mounts rules.
const RULES: &str = "/etc/prometheus/rules/";

impl Prometheus {
    /// Starts it with a configuration as the Prometheus Operator writes it, and files with rules by their names.
    ///
    /// # Errors
    /// [`ServerError`] where it does not start.
    pub fn start(
        place: &Place,
        configuration: &str,
        rules: &BTreeMap<String, String>,
    ) -> Result<Self, ServerError> {
        let program = installed(PROMETHEUS, "prometheus")?;
        let mut server = Supervised::new("prometheus", "tidewheel-prometheus-")?;
        let folder = server.folder().to_owned();
        let folder_of_rules = folder.join("rules");
        std::fs::create_dir_all(&folder_of_rules).map_err(io("making a folder for rules"))?;
        for (name, text) in rules {
            std::fs::write(folder_of_rules.join(name), text).map_err(io("writing rules"))?;
        }
        let configuration = on_the_node(configuration, &place.kubeconfig(), &folder_of_rules);
        let file = folder.join("prometheus.yaml");
        std::fs::write(&file, configuration).map_err(io("writing Prometheus' configuration"))?;
        let network = place.network().map_err(|error| ServerError::Io {
            doing: "looking for the cluster's network",
            error: std::io::Error::other(error),
        })?;
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", network.display()))
            .arg(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{PORT}"));
        let ready = || Ok(ask(place, PORT, "/-/ready").is_ok_and(|said| said.contains(" 200 ")));
        server.start(command, ready)?;
        Ok(Self {
            server,
            place: place.clone(),
            port: PORT,
        })
    }

    /// What it answers to a GET, without the head.
    ///
    /// # Errors
    /// [`ServerError`] where it does not answer.
    pub fn get(&self, path: &str) -> Result<String, ServerError> {
        let answer = ask(&self.place, self.port, path).map_err(io("asking Prometheus"))?;
        match answer.split_once("\r\n\r\n") {
            Some((_, body)) => Ok(body.to_owned()),
            None => Err(self.server.failed("gave no answer")),
        }
    }
}

/// A configuration that is for a pod, for a process on the node: it is told how the API server is reached, and finds the rules elsewhere.
fn on_the_node(configuration: &str, kubeconfig: &Path, rules: &Path) -> String {
    let mut lines = Vec::new();
    for line in configuration.lines() {
        let found = line.find(RULES);
        lines.push(match found {
            Some(at) => format!("{}{}/*.yaml", &line[..at], rules.display()),
            // What the operator leaves to the pod's environment.
            None => line.replace("$(SHARD)", "0"),
        });
        if let Some(indent) = line.find("- role: ") {
            let indent = " ".repeat(indent + 2);
            lines.push(format!("{indent}kubeconfig_file: {}", kubeconfig.display()));
        }
    }
    lines.join("\n") + "\n"
}

/// What a server in the cluster's network answers to a GET, head and all.
fn ask(place: &Place, port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(place.relay())?;
    // The first line says where to.
    write!(
        stream,
        "127.0.0.1:{port}\nGET {path} HTTP/1.0\r\nHost: prometheus\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_for_a_pod_becomes_one_for_the_node() {
        let text = "rule_files:
- /etc/prometheus/rules/prometheus-real-rulefiles-0/*.yaml
scrape_configs:
- job_name: a
  kubernetes_sd_configs:
  - role: endpoints
    namespaces: {names: [shop]}
  relabel_configs:
  - regex: $(SHARD)
";
        let expected = "rule_files:
- /r/*.yaml
scrape_configs:
- job_name: a
  kubernetes_sd_configs:
  - role: endpoints
    kubeconfig_file: /k
    namespaces: {names: [shop]}
  relabel_configs:
  - regex: 0
";
        assert_eq!(
            on_the_node(text, Path::new("/k"), Path::new("/r")),
            expected
        );
    }
}
