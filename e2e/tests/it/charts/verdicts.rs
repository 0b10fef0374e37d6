//! The API server and our own judge agree, which the crate of the kinds tests with the same cases.
#[path = "../../../../crds/tests/it/verdicts/cases.rs"]
mod cases;

use std::fmt::Write;

use serde_json::{Value, json};
use tidewheel_e2e::cluster::Cluster;

use self::cases::{Case, Verdicts};
use super::with_kinds;

const NAMESPACE: &str = "verdicts";

fn document(kind: &str, number: usize, spec: &Value) -> String {
    let resource = json!({
        "apiVersion": "tidewheel.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": format!("case-{number}"), "namespace": NAMESPACE},
        "spec": spec,
    });
    format!("---\n{resource}\n")
}

/// All messages of rules in the kinds' schemas.
fn rules(cluster: &Cluster) -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                let rules = members.get("x-kubernetes-validations");
                let rules = rules.and_then(Value::as_array).into_iter().flatten();
                found.extend(rules.filter_map(|rule| Some(rule["message"].as_str()?.to_owned())));
                members.values().for_each(|value| collect(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for kind in ["eventsources", "pipelines", "sinks"] {
        let name = format!("crd/{kind}.tidewheel.dev");
        let crd = cluster
            .run_kubectl(&["get", &name, "--output=json"])
            .unwrap();
        collect(&serde_json::from_str(&crd).unwrap(), &mut found);
    }
    found
}

/// What the API server says about documents: all that is printed. It keeps them where `dry_run` is `none`.
fn judged(cluster: &Cluster, verb: &str, dry_run: &str, documents: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), documents).unwrap();
    let dry_run = format!("--dry-run={dry_run}");
    let output = cluster
        .kubectl()
        .args([verb, &dry_run, "--filename"])
        .arg(file.path())
        .output()
        .unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
    format!("{out}{err}")
}

/// What is said of one case: the lines from the one that names it to the one that names another.
fn about(said: &str, number: usize) -> String {
    let name = format!("case-{number}\"");
    let mut lines = said.lines().skip_while(|line| !line.contains(&name));
    let first = lines.next().unwrap_or_default();
    let rest = lines.take_while(|line| line.starts_with('*'));
    std::iter::once(first)
        .chain(rest)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_api_server_accepts_and_refuses_what_check_does() {
    let cluster = with_kinds();
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n");
    cluster.apply(&namespace).unwrap();
    let verdicts = Verdicts::read();
    let (mut before, mut created, mut replaced) = (String::new(), String::new(), String::new());
    for (number, case) in verdicts.cases.iter().enumerate() {
        let kind = verdicts.kind_name(case);
        let (spec, old) = verdicts.specs(case);
        let new = if let Some(old) = old {
            before += &document(kind, number, &old);
            &mut replaced
        } else {
            &mut created
        };
        *new += &document(kind, number, &spec);
    }
    let before = judged(cluster, "apply", "none", &before);
    let said = judged(cluster, "create", "server", &created)
        + &judged(cluster, "replace", "server", &replaced);

    let rules = rules(cluster);
    let (mut wrong, mut changed, mut by_rule) = (String::new(), 0, 0);
    for (number, case) in verdicts.cases.iter().enumerate() {
        if verdicts.specs(case).1.is_some() {
            // What could never have been there cannot be changed.
            if !["created", "configured", "unchanged"]
                .iter()
                .any(|done| before.contains(&format!("/case-{number} {done}\n")))
            {
                continue;
            }
            changed += 1;
        }
        let accepted = ["created", "replaced"]
            .iter()
            .any(|done| said.contains(&format!("/case-{number} {done} (server dry run)")));
        let about = about(&said, number);
        if accepted != is_accepted(case) {
            writeln!(wrong, "{}: accepted is {accepted}: {about}", case.promise).unwrap();
        }
        // Where something else is wrong as well, rules are not asked.
        let [refused] = case.refused.as_slice() else {
            continue;
        };
        if let Some(rule) = rules.iter().find(|rule| refused.ends_with(*rule)) {
            by_rule += 1;
            if !about.contains(rule) {
                writeln!(wrong, "{}: {rule:?} is not said: {about}", case.promise).unwrap();
            }
        }
    }
    // Or an operator goes on looking after them.
    let delete = ["delete", "namespace", NAMESPACE, "--wait=false"];
    cluster.run_kubectl(&delete).unwrap();
    assert!(wrong.is_empty(), "{wrong}");
    assert!(changed > 20 && by_rule > 30, "{changed} {by_rule}");
}

fn is_accepted(case: &Case) -> bool {
    case.refused.is_empty() || case.stricter
}
