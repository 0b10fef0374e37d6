//! What is an alert: the rules of Prometheus for each subject, in `alerts/*.yaml`. `docs/alerts.md` says what to do about each. Pure.
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

/// What alerts are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// What takes the events of an EventSource.
    Ingest,
    /// What makes the events of an EventSource up.
    Generator,
    /// What runs a Pipeline.
    Pipeline,
    /// The operator itself.
    Operator,
}

/// The alerts about something.
#[derive(Debug, Clone)]
pub(crate) struct Alerts<'a> {
    pub(crate) subject: Subject,
    /// Where it is, and what its resource is called.
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// What Prometheus calls its pods: the name of their Service.
    pub(crate) job: &'a str,
    /// Whether pods should be there: none is missed otherwise.
    pub(crate) runs: bool,
    /// How soon it should have caught up with its sources, s.
    pub(crate) catch_up_seconds: f64,
    /// Where `docs/alerts.md` can be read.
    pub(crate) runbooks: &'a str,
}

impl Subject {
    /// The rules, with the names of parameters in them as in `${namespace}`.
    const fn text(self) -> &'static str {
        match self {
            Self::Ingest => include_str!("alerts/ingest.yaml"),
            Self::Generator => include_str!("alerts/generator.yaml"),
            Self::Pipeline => include_str!("alerts/pipeline.yaml"),
            Self::Operator => include_str!("alerts/operator.yaml"),
        }
    }

    /// The label that names the resource, as metrics have it.
    const fn label(self) -> Option<&'static str> {
        match self {
            Self::Ingest | Self::Generator => Some("source"),
            Self::Pipeline => Some("pipeline"),
            Self::Operator => None,
        }
    }
}

impl Alerts<'_> {
    /// The rules, as a file of Prometheus and the `spec` of a PrometheusRule have them.
    pub(crate) fn rules(&self) -> Value {
        // The files are part of the program: a test reads each.
        let mut rules: Value = serde_yaml::from_str(self.subject.text()).unwrap_or_default();
        let groups = rules["groups"].as_array_mut().into_iter().flatten();
        for group in groups {
            if let Some(rules) = group["rules"].as_array_mut() {
                rules.retain(|rule| self.runs || !is_about_absence(rule));
                rules.iter_mut().for_each(|rule| self.complete(rule));
            }
        }
        rules
    }

    /// Puts in what is the same for all.
    fn complete(&self, rule: &mut Value) {
        let alert = rule["alert"].as_str().unwrap_or_default().to_lowercase();
        // For whoever routes alerts: most of what they are made of has neither.
        rule["labels"]["namespace"] = self.namespace.into();
        if let Some(label) = self.subject.label() {
            rule["labels"][label] = format!("{}/{}", self.namespace, self.name).into();
        }
        rule["annotations"]["runbook_url"] = json!(format!("{}#{alert}", self.runbooks));
        self.fill_in(rule);
    }

    /// Puts parameters in the places of their names.
    fn fill_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                *text = text
                    .replace("${namespace}", self.namespace)
                    .replace("${name}", self.name)
                    .replace("${job}", self.job)
                    .replace("${catch_up_seconds}", &self.catch_up_seconds.to_string());
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill_in(item)),
            Value::Object(members) => members.values_mut().for_each(|value| self.fill_in(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Whether an alert is about pods that are not there.
fn is_about_absence(rule: &Value) -> bool {
    let expression = rule["expr"].as_str().unwrap_or_default();
    expression.trim_start().starts_with("absent(")
}
