//! A role as a process.
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tidewheel_e2e::Usage;

use crate::Failure;

/// A role at work; it is killed when this is dropped.
pub(crate) struct Role {
    child: Child,
    operations: String,
    /// Where it takes events, if it does.
    pub(crate) events: Option<String>,
}

impl Role {
    pub(super) fn start(command: &mut Command) -> Result<Self, Failure> {
        let takes_events = command.get_args().any(|argument| argument == "ingest");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let said = child.stderr.take().ok_or("the role has no stderr")?;
        let mut lines = BufReader::new(said).lines();
        let mut role = Self {
            child,
            operations: String::new(),
            events: None,
        };
        while role.operations.is_empty() || (takes_events && role.events.is_none()) {
            let line = lines.next().ok_or("the role ended while starting")??;
            let line: Value = serde_json::from_str(&line)?;
            let (message, address) = (&line["fields"]["message"], &line["fields"]["address"]);
            let address = address.as_str().unwrap_or_default();
            match message.as_str().unwrap_or_default() {
                "probes and metrics are served" => address.clone_into(&mut role.operations),
                "events are taken" => role.events = Some(address.to_owned()),
                _ => {}
            }
        }
        // What it says after that is only worth having where something is wrong.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("\"WARN\"") || line.contains("\"ERROR\"") {
                    eprintln!("{line}");
                }
            }
        });
        Ok(role)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has used of the machine.
    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.child.id()).unwrap_or_default()
    }

    /// The values of a metric for an input, one for each of its tasks.
    pub(crate) async fn metric(&self, name: &str, input: &str) -> Result<Vec<f64>, Failure> {
        self.values(name, &format!("input=\"{input}\"")).await
    }

    /// The values of a metric whose labels hold a text.
    async fn values(&self, name: &str, label: &str) -> Result<Vec<f64>, Failure> {
        let url = format!("http://{}/metrics", self.operations);
        let text = reqwest::get(url).await?.text().await?;
        let values = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(label))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok());
        Ok(values.collect())
    }

    /// The sum of a metric over all of its series.
    pub(crate) async fn sum(&self, name: &str) -> Result<f64, Failure> {
        let values = self.values(name, "");
        Ok(values.await?.iter().sum())
    }

    /// Waits until every input is assigned.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        let url = format!("http://{}/readyz", self.operations);
        for _ in 0..1_200 {
            if reqwest::get(&url).await?.status().is_success() {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Err("the role is not ready after a minute".into())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
