//! Every alert fires when it should and not otherwise, as Prometheus' own test of rules finds, and is documented.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeSet;
use std::process::Command;

use super::*;

const SUBJECTS: [(Subject, &str); 4] = [
    (
        Subject::Ingest,
        include_str!("../../tests/alerts/ingest.yaml"),
    ),
    (
        Subject::Generator,
        include_str!("../../tests/alerts/generator.yaml"),
    ),
    (
        Subject::Pipeline,
        include_str!("../../tests/alerts/pipeline.yaml"),
    ),
    (
        Subject::Operator,
        include_str!("../../tests/alerts/operator.yaml"),
    ),
];

/// The alerts that the cases are about.
fn of(subject: Subject) -> Alerts<'static> {
    let (namespace, name, job) = match subject {
        Subject::Ingest => ("shop", "clicks", "clicks-ingest-metrics"),
        Subject::Generator => ("shop", "clicks", "clicks-generate-metrics"),
        Subject::Pipeline => ("shop", "kpis", "kpis-worker-metrics"),
        Subject::Operator => ("tidewheel", "tidewheel-operator", "tidewheel-operator"),
    };
    Alerts {
        subject,
        namespace,
        name,
        job,
        runs: true,
        catch_up_seconds: 30.0,
        runbooks: "docs/alerts.md",
    }
}

/// The rules of a subject, one by one.
fn rules(alerts: &Alerts<'_>) -> Vec<Value> {
    let groups = alerts.rules();
    let groups = groups["groups"].as_array().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    rules.cloned().collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn all() -> Vec<Value> {
    let subjects = SUBJECTS.iter();
    subjects
        .flat_map(|(subject, _)| rules(&of(*subject)))
        .collect()
}

#[test]
fn alerts_fire_when_they_should_and_at_no_other_time() {
    let promtool = tidewheel_e2e::prometheus::promtool().unwrap();
    for (subject, cases) in SUBJECTS {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("rules.yaml", &of(subject).rules().to_string());
        write("cases.yaml", cases);
        for arguments in [
            ["check", "rules", "rules.yaml"],
            ["test", "rules", "cases.yaml"],
        ] {
            let output = Command::new(&promtool)
                .args(arguments)
                .current_dir(folder.path())
                .output()
                .unwrap();
            let [out, err] =
                [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
            assert!(output.status.success(), "{subject:?}: {out}{err}");
        }
    }
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    for (subject, cases) in SUBJECTS {
        let cases: Value = serde_yaml::from_str(cases).unwrap();
        let cases = cases["tests"].as_array().unwrap();
        let looks = cases
            .iter()
            .flat_map(|case| case["alert_rule_test"].as_array().unwrap());
        let looks: BTreeSet<(String, bool)> = looks
            .map(|look| {
                (
                    text(&look["alertname"]),
                    look["exp_alerts"].as_array().unwrap().is_empty(),
                )
            })
            .collect();
        for rule in rules(&of(subject)) {
            for is_silent in [false, true] {
                let look = (text(&rule["alert"]), is_silent);
                assert!(looks.contains(&look), "{look:?}");
            }
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_whose_it_is_and_what_to_do() {
    for rule in all() {
        let labels = &rule["labels"];
        assert!(
            ["critical", "warning"].contains(&text(&labels["severity"]).as_str()),
            "{rule}"
        );
        assert!(labels["namespace"].is_string(), "{rule}");
        let anchor = text(&rule["alert"]).to_lowercase();
        assert_eq!(
            text(&rule["annotations"]["runbook_url"]),
            format!("docs/alerts.md#{anchor}")
        );
        for about in ["summary", "description"] {
            let said = text(&rule["annotations"][about]);
            assert!(said.len() > 20 && !said.contains("${"), "{said}");
        }
    }
}

#[test]
fn every_alert_is_documented_and_no_other() {
    let page = include_str!("../../../docs/alerts.md");
    let documented: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(str::to_owned)
        .collect();
    let alerts: BTreeSet<String> = all().iter().map(|rule| text(&rule["alert"])).collect();
    assert_eq!(documented, alerts);
}

#[test]
fn alerts_are_made_of_metrics_that_are_there() {
    let page = include_str!("../../../docs/metrics.md");
    let mut found = BTreeSet::new();
    for rule in all() {
        let expression = text(&rule["expr"]);
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics = words.filter(|word| word.starts_with("tidewheel_"));
        found.extend(metrics.map(str::to_owned));
    }
    assert!(found.len() > 10, "{found:?}");
    for metric in found {
        assert!(page.contains(&format!("| `{metric}` |")), "{metric}");
    }
}

#[test]
fn what_is_suspended_is_not_missed() {
    let names = |runs| {
        let alerts = Alerts {
            runs,
            ..of(Subject::Pipeline)
        };
        rules(&alerts)
            .iter()
            .map(|rule| text(&rule["alert"]))
            .collect::<Vec<_>>()
    };
    let missing = "TidewheelPipelineNotRunning".to_owned();
    assert!(names(true).contains(&missing));
    assert!(!names(false).contains(&missing));
    assert_eq!(names(false).len() + 1, names(true).len());
}
