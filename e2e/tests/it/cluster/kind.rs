//! Clusters by kind: on stand-ins for Docker, kind, kubectl and Helm, and on the real ones where they are.
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tidewheel_e2e::{cache, cluster::Place, not_tried};

use super::{holder, leftovers, name, tidewheel};

/// Held by the test whose machine is there: whoever makes a cluster looks for those that others have left behind, and asks its Docker
/// engine after them. Tests leave some behind on purpose.
static TURN: Mutex<()> = Mutex::new(());

/// A machine with stand-ins in PATH, a cache of its own, and what is real besides: Kafka and PostgreSQL.
struct Machine {
    folder: TempDir,
    name: String,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    /// With a Docker engine that answers. Tests differ in `number`: pods would reach Kafka at an address of loopback with it.
    fn new(of: &str, number: u8) -> Self {
        let machine = Self {
            folder: TempDir::new().unwrap(),
            name: name(of),
            // A test that failed has put away what it had.
            _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner),
        };
        fs::create_dir(machine.folder.path().join("state")).unwrap();
        for program in ["docker", "kind", "kubectl", "helm"] {
            let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cluster/stand-ins");
            // Each finds its state beside where it is called. A copy that is just written cannot run while another test starts a process.
            symlink(real.join(program), machine.folder.path().join(program)).unwrap();
        }
        let cache = machine.folder.path().join("cache");
        fs::create_dir(&cache).unwrap();
        let kafka = cache::folder().unwrap().join("kafka-4.3.1");
        symlink(kafka, cache.join("kafka-4.3.1")).unwrap();
        // One that others do not have, so that they leave alone what this one has.
        machine.set("engine", &format!("ENGINE:{}\n", machine.name));
        // Whoever runs these tests beside us has other processes.
        let own = u8::try_from(std::process::id() % 200).unwrap() + 20;
        machine.set("gateway", &format!("127.{own}.{number}.1"));
        machine
    }

    /// Where the cluster has its folder.
    fn place(&self) -> PathBuf {
        let place = Place::new(&self.name).unwrap().folder();
        if place.starts_with("/var/cache") {
            return place;
        }
        // That of a user other than root is in the cache, and this machine has another.
        let clusters = self.folder.path().join("cache/clusters");
        clusters.join(&self.name)
    }

    fn state(&self, name: &str) -> PathBuf {
        self.folder.path().join("state").join(name)
    }

    fn set(&self, name: &str, value: &str) {
        fs::write(self.state(name), value).unwrap();
    }

    fn unset(&self, name: &str) {
        fs::remove_file(self.state(name)).unwrap();
    }

    /// What the stand-ins were called with, without what differs from run to run.
    fn calls(&self) -> String {
        let calls = fs::read_to_string(self.state("calls")).unwrap_or_default();
        let gateway = fs::read_to_string(self.state("gateway")).unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut calls = calls
            .replace(&self.place().display().to_string(), "PLACE")
            .replace(&self.name, "NAME")
            .replace(&gateway, "GATEWAY")
            .replace(&repository.display().to_string(), "REPOSITORY")
            .replace("REPOSITORY/e2e/..", "REPOSITORY");
        for folder in [".building-", "tidewheel-"] {
            let cache = format!("{}/cache/images/{folder}", self.folder.path().display());
            while let Some(at) = calls.find(&cache) {
                let end = calls[at..]
                    .find(['\n', ' '])
                    .map_or(calls.len(), |end| at + end);
                let file = calls[at..end].rsplit('/').next().unwrap().to_owned();
                let file = match folder {
                    ".building-" => format!("BUILDING/{file}"),
                    _ => "ARCHIVE".to_owned(),
                };
                calls.replace_range(at..end, &file);
            }
        }
        calls
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(holder());
        let path = std::env::var("PATH").unwrap();
        command
            .args(arguments)
            .env("PATH", format!("{}:{path}", self.folder.path().display()))
            .env("TIDEWHEEL_CACHE", self.folder.path().join("cache"))
            .stdin(Stdio::null());
        for variable in [
            "TIDEWHEEL_KUBECONFIG",
            "TIDEWHEEL_CLUSTER",
            "TIDEWHEEL_KIND_IMAGE",
        ] {
            command.env_remove(variable);
        }
        command
    }

    fn up(&self) -> Command {
        let mut command = self.command(&["up", "--with", "kind", "--name", &self.name]);
        command.arg("--tidewheel").arg(self.small_program());
        command
    }

    /// A program in place of tidewheel: nobody runs it, and it is quickly put into an image.
    fn small_program(&self) -> PathBuf {
        let program = self.folder.path().join("tidewheel");
        fs::copy("/bin/true", &program).unwrap();
        program
    }

    fn down(&self) -> Output {
        self.command(&["down", "--name", &self.name])
            .output()
            .unwrap()
    }

    fn assert_nothing_is_left(&self) {
        leftovers::assert_none(&self.name);
        assert!(!self.place().exists());
        for thing in ["node", "network"] {
            assert!(
                !self.state(thing).exists(),
                "the {thing} is left:\n{}",
                self.calls()
            );
        }
    }

    /// A command that makes the cluster, and has come to where kind begins to make the node, which takes for ever.
    fn up_to_kind(&self) -> Child {
        self.set("slow", "");
        let log = self.folder.path().join("up.log");
        let file = fs::File::create(&log).unwrap();
        let mut up = self.up();
        up.stdout(file.try_clone().unwrap()).stderr(file);
        let mut up = up.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(240);
        while !self.state("begun").exists() {
            let said = || format!("{}{}", fs::read_to_string(&log).unwrap(), self.calls());
            assert_eq!(up.try_wait().unwrap(), None, "{}", said());
            assert!(Instant::now() < deadline, "{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        up
    }
}

impl Drop for Machine {
    /// A test that fails leaves nothing either.
    fn drop(&mut self) {
        let _ = self.command(&["down", "--name", &self.name]).output();
    }
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    format!("{out}{err}")
}

#[test]
fn a_cluster_by_kind_is_made_with_docker_kind_kubectl_and_helm_and_put_away_with_them() {
    let machine = Machine::new("ka", 1);
    let up = machine.up().output().unwrap();
    let text = said(&up);
    assert!(up.status.success(), "{text}");
    for part in [
        "a cluster by kind: it was asked for",
        "kind has made the node",
        "the operator is ready",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let environment = fs::read_to_string(machine.place().join("environment")).unwrap();
    let value = |name: &str| {
        let mut lines = environment.lines();
        let value = lines.find_map(|line| line.strip_prefix(&format!("export {name}=")));
        value.unwrap_or_default().trim_matches('\'').to_owned()
    };
    let applied = fs::read_to_string(machine.state("applied")).unwrap();
    let gateway = fs::read_to_string(machine.state("gateway")).unwrap();
    assert!(
        applied.contains(&format!("endpoints: [{{addresses: [{gateway}]}}]")),
        "{applied}"
    );
    assert_eq!(
        value("KUBECONFIG"),
        machine.place().join("kubeconfig").display().to_string()
    );
    assert_eq!(
        value("TIDEWHEEL_KAFKA_IN_PODS"),
        "kafka.servers.svc.cluster.local:9092"
    );
    let postgres = value("TIDEWHEEL_POSTGRES");
    let postgres = port_of(&postgres);
    assert!(
        applied.contains(&format!("ports: [{{port: {postgres}}}]")),
        "{applied}"
    );
    insta::assert_snapshot!(
        machine
            .calls()
            .replace(&format!(" {postgres}\n"), " PORT\n")
    );

    let again = machine.up().output().unwrap();
    assert!(
        said(&again).contains("there is a cluster named"),
        "{again:?}"
    );
    machine.set("calls", "");
    let down = machine.down();
    assert!(down.status.success(), "{}", said(&down));
    insta::assert_snapshot!(machine.calls());
    machine.assert_nothing_is_left();
}

/// The port in `postgres://user:password@host:port/database`.
fn port_of(url: &str) -> &str {
    let (_, rest) = url.rsplit_once(':').unwrap();
    rest.split_once('/').unwrap().0
}

#[test]
fn docker_builds_the_image_from_the_same_dockerfile_and_files() {
    let machine = Machine::new("kb", 2);
    machine.set("refuses", "");
    let up = machine
        .up()
        .arg("--kind-image")
        .arg("kindest/node:none")
        .output()
        .unwrap();
    let text = said(&up);
    assert!(
        text.contains(r#"failed to pull image "kindest/node:none""#),
        "{text}"
    );
    let dockerfile = fs::read_to_string(machine.state("Dockerfile")).unwrap();
    assert!(
        dockerfile.starts_with("FROM scratch AS build\nCOPY . /\nFROM scratch\n"),
        "{dockerfile}"
    );
    let files = fs::read_to_string(machine.state("context")).unwrap();
    insta::assert_snapshot!(files);
    machine.assert_nothing_is_left();
}

#[test]
fn where_pods_would_not_reach_this_machine_it_is_said_why_and_nothing_is_left() {
    let machine = Machine::new("kg", 7);
    let here = fs::read_to_string(machine.state("gateway")).unwrap();
    for (gateway, firewall, expected) in [
        // An address that documentation has for itself.
        (
            "192.0.2.1",
            false,
            "missing: the address 192.0.2.1 of Docker's network on this machine",
        ),
        (
            here.as_str(),
            true,
            "missing: a way from containers to 127.",
        ),
    ] {
        machine.set("gateway", gateway);
        if firewall {
            machine.set("firewall", "");
        }
        let up = machine.up().output().unwrap();
        let text = said(&up);
        assert!(!up.status.success() && text.contains(expected), "{text}");
        machine.assert_nothing_is_left();
    }
}

#[test]
fn nothing_is_left_when_the_maker_is_killed_while_kind_makes_the_node() {
    let machine = Machine::new("kc", 3);
    let mut up = machine.up_to_kind();
    up.kill().unwrap();
    up.wait().unwrap();
    machine.assert_nothing_is_left();
}

#[test]
fn putting_away_waits_for_what_kind_has_begun_and_nobody_holds_any_more() {
    let machine = Machine::new("kd", 4);
    let mut up = machine.up_to_kind();
    let holder = fs::read_to_string(machine.place().join("lock")).unwrap();
    let up_too = up.id().to_string();
    let killed = Command::new("kill")
        .args(["-KILL", &holder, &up_too])
        .status();
    assert!(killed.unwrap().success());
    up.wait().unwrap();
    assert!(machine.place().exists());
    let down = machine.down();
    assert!(down.status.success(), "{}", said(&down));
    machine.assert_nothing_is_left();
}

#[test]
fn what_kind_needs_is_named_and_so_is_an_engine_that_does_not_answer() {
    let machine = Machine::new("ke", 5);
    machine.unset("engine");
    fs::remove_file(machine.folder.path().join("helm")).unwrap();
    let mut up = machine.up();
    // Without what this machine has besides.
    let bare = machine.folder.path().join("bare");
    fs::create_dir(&bare).unwrap();
    for program in ["bash", "env", "dirname", "docker", "kubectl"] {
        let own = machine.folder.path().join(program);
        let real = Path::new("/usr/bin").join(program);
        symlink(if own.exists() { own } else { real }, bare.join(program)).unwrap();
    }
    symlink(machine.folder.path().join("state"), bare.join("state")).unwrap();
    let up = up.env("PATH", &bare).output().unwrap();
    let text = said(&up);
    assert!(!up.status.success());
    for part in [
        "missing: kind in PATH (https://kind.sigs.k8s.io)",
        "missing: setsid in PATH (Debian's package util-linux)",
        "missing: helm in PATH",
        "missing: an engine of Docker that answers: ",
        "Cannot connect to the Docker daemon",
        "do this: install what is named, start Docker",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    machine.assert_nothing_is_left();
}

#[test]
fn a_cluster_whose_docker_has_gone_is_not_forgotten() {
    let machine = Machine::new("kf", 6);
    fs::create_dir_all(machine.place()).unwrap();
    fs::copy(machine.state("engine"), machine.place().join("kind")).unwrap();
    let kind = machine.folder.path().join("kind");
    let hidden = machine.folder.path().join("hidden");
    fs::rename(&kind, &hidden).unwrap();
    if !is_in_path("kind") {
        let down = machine.down();
        assert!(
            said(&down).contains("missing: kind in PATH"),
            "{}",
            said(&down)
        );
        assert!(machine.place().exists());
    }
    fs::rename(&hidden, &kind).unwrap();
    let engine = fs::read_to_string(machine.state("engine")).unwrap();
    machine.set("engine", "ENGINE:another\n");
    let down = machine.down();
    let text = said(&down);
    assert!(
        text.contains("missing: the Docker engine that has"),
        "{text}"
    );
    assert!(machine.place().exists());
    machine.set("engine", &engine);
    machine.set("node", "");
    machine.set("network", "");
    assert!(machine.down().status.success());
    machine.assert_nothing_is_left();
}

#[test]
fn rows_come_out_of_a_cluster_that_kind_has_made() {
    let answers = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command.output().is_ok_and(|output| output.status.success())
    };
    if !answers("docker", &["version"]) || !answers("kind", &["version"]) {
        not_tried(
            "rows_come_out_of_a_cluster_that_kind_has_made: there is no Docker engine that answers, or no kind",
        );
        return;
    }
    let name = name("kr");
    let mut up = Command::new(holder())
        .args(["up", "--with", "kind", "--name", &name, "--tidewheel"])
        .arg(tidewheel())
        .env_remove("TIDEWHEEL_KUBECONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(up.stderr.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        println!("kind: {line}");
    }
    let made = up.wait().unwrap();
    let demo = made.success().then(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/cluster-demo.sh");
        let mut demo = Command::new("timeout");
        demo.arg("900").arg(script).arg(&name).output().unwrap()
    });
    // Whatever has become of it.
    let down = Command::new(holder())
        .args(["down", "--name", &name])
        .output()
        .unwrap();
    let demo = demo.expect("the cluster is not made");
    println!("{}", said(&demo));
    assert!(demo.status.success());
    assert!(said(&demo).contains("events, each once"));
    assert!(down.status.success(), "{}", said(&down));
    leftovers::assert_none(&name);
    let filter = format!("name=tidewheel-{name}");
    for what in [["ps", "--all"], ["network", "ls"]] {
        let mut docker = Command::new("docker");
        docker.args(what).args(["--quiet", "--filter", &filter]);
        let left = docker.output().unwrap();
        assert!(left.stdout.is_empty(), "{what:?}: {left:?}");
    }
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
