//! Making clusters and putting them away.
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;
use tidewheel_e2e::cluster::{ClusterError, Place, environment};

use super::{holder, leftovers, name, start, tidewheel};

#[test]
fn nothing_is_left_of_a_cluster_with_running_pods() {
    let before = leftovers::nameless();
    let cluster = start("a");
    let image = format!("--image={}", cluster.toolbox_image());
    cluster
        .run_kubectl(&[
            "run",
            "sleeper",
            &image,
            "--image-pull-policy=Never",
            "--",
            "sleep",
            "3600",
        ])
        .unwrap();
    cluster
        .run_kubectl(&[
            "wait",
            "pod/sleeper",
            "--for=condition=Ready",
            "--timeout=180s",
        ])
        .unwrap();
    // Or the search would prove nothing.
    let found = leftovers::of(&name("a"));
    for kind in ["folder ", "cgroup ", "/proc/"] {
        assert!(
            found.iter().any(|thing| thing.starts_with(kind)),
            "{found:#?}"
        );
    }
    drop(cluster);
    leftovers::assert_none(&name("a"));
    assert_eq!(leftovers::nameless(), before);
}

/// The command as a person gives it.
fn command(what: &str, of: &str) -> Command {
    let mut command = Command::new(holder());
    command
        .args([what, "--name", &name(of)])
        .stdin(Stdio::null());
    // Of these tests, each makes its own, from packages.
    for variable in ["TIDEWHEEL_KUBECONFIG", "TIDEWHEEL_CLUSTER"] {
        command.env_remove(variable);
    }
    command
}

/// Starts to make a cluster; what it says can be read.
fn begin(of: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut up = command("up", of)
        .arg("--tidewheel")
        .arg(tidewheel())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(up.stderr.take().unwrap()).lines();
    let of = of.to_owned();
    let said = said.map_while(Result::ok);
    (up, said.inspect(move |line| println!("{of}: {line}")))
}

#[test]
fn nothing_is_left_when_the_maker_is_killed_in_the_middle() {
    for moment in ["PostgreSQL answers", "the API server answers"] {
        let (mut up, mut said) = begin("b");
        said.find(|line| line.contains(moment)).unwrap();
        assert!(!leftovers::of(&name("b")).is_empty());
        up.kill().unwrap();
        up.wait().unwrap();
        leftovers::assert_none(&name("b"));
    }
}

#[test]
fn putting_away_ends_what_lost_its_maker_and_its_holder() {
    let (mut up, mut said) = begin("c");
    said.find(|line| line.contains("containerd has the images"))
        .unwrap();
    let place = Place::new(&name("c")).unwrap();
    let holder = std::fs::read_to_string(place.folder().join("lock")).unwrap();
    let mut kill = Command::new("kill");
    kill.args(["-KILL", &holder, &up.id().to_string()]);
    assert!(kill.status().unwrap().success());
    up.wait().unwrap();
    assert!(!leftovers::of(&name("c")).is_empty());
    let down = command("down", "c").output().unwrap();
    assert!(down.status.success(), "{down:?}");
    leftovers::assert_none(&name("c"));
}

#[test]
fn a_cluster_outlives_the_command_that_made_it_until_it_is_put_away() {
    let (mut up, said) = begin("d");
    let said: Vec<String> = said.collect();
    assert!(up.wait().unwrap().success(), "{said:#?}");
    let place = Place::new(&name("d")).unwrap();
    let environment = environment(&place).unwrap();
    let nodes = kubectl(&environment, &["get", "nodes"]);
    assert!(
        String::from_utf8_lossy(&nodes.stdout).contains(" Ready "),
        "{nodes:?}"
    );

    let again = command("up", "d").output().unwrap();
    let told = said_by(&again);
    assert!(
        !again.status.success() && told.contains("there is a cluster named"),
        "{told}"
    );

    // Whoever names it is given it.
    let mut given = command("up", "e");
    given.env("TIDEWHEEL_KUBECONFIG", &environment["KUBECONFIG"]);
    let asked = given.output().unwrap();
    assert!(
        said_by(&asked).contains("missing: the variable TIDEWHEEL_KAFKA"),
        "{asked:?}"
    );
    let used = given.envs(&environment).output().unwrap();
    assert!(used.status.success(), "{used:?}");
    assert!(said_by(&used).contains("none is made here"), "{used:?}");
    leftovers::assert_none(&name("e"));

    assert!(command("down", "d").status().unwrap().success());
    leftovers::assert_none(&name("d"));
    // There is nothing to do the second time.
    assert!(command("down", "d").status().unwrap().success());
}

fn said_by(command: &Output) -> String {
    let [out, err] = [&command.stdout, &command.stderr].map(|said| String::from_utf8_lossy(said));
    format!("{out}{err}")
}

fn kubectl(environment: &BTreeMap<String, String>, arguments: &[&str]) -> Output {
    Command::new(Path::new(&environment["TIDEWHEEL_PROGRAMS"]).join("kubectl"))
        .env("KUBECONFIG", &environment["KUBECONFIG"])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn everything_that_is_missing_is_named_with_how_to_get_it() {
    let empty = TempDir::new().unwrap();
    let up = command("up", "f")
        .env("PATH", empty.path())
        .env("TIDEWHEEL_CACHE", empty.path())
        .output()
        .unwrap();
    let said = String::from_utf8(up.stderr).unwrap();
    assert!(!up.status.success());
    for missing in [
        "missing: containerd (Debian's package containerd)",
        "missing: buildah (Debian's package buildah)",
        "missing: Kubernetes, in",
        "do this: scripts/prerequisites.sh cluster",
    ] {
        assert!(said.contains(missing), "{said}");
    }
    leftovers::assert_none(&name("f"));
}

#[test]
fn a_name_that_cannot_be_part_of_a_path_is_refused() {
    for name in [
        "",
        "a/b",
        "..",
        "Upper",
        "a-name-that-is-longer-than-it-may-be",
    ] {
        let refused = Place::new(name);
        assert!(matches!(refused, Err(ClusterError::Name { .. })), "{name}");
    }
}
