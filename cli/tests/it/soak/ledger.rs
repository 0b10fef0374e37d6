//! Counts by fate, as the state topics have them and as the batch query counts.
use std::collections::BTreeMap;

use serde_json::Value;

/// Counts by fate, of which none is zero: `written`, `filtered.STEP`, `dead_lettered.REASON`, ...
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger(BTreeMap<String, u64>);

impl Ledger {
    pub(crate) fn add(&mut self, fate: &str, count: u64) {
        if count > 0 {
            *self.0.entry(fate.to_owned()).or_default() += count;
        }
    }

    /// Adds what a task has counted.
    pub(crate) fn add_all(&mut self, counted: &Value) {
        for (fate, count) in counted.as_object().unwrap() {
            match count {
                Value::Object(parts) => {
                    for (part, count) in parts {
                        self.add(&format!("{fate}.{part}"), count.as_u64().unwrap());
                    }
                }
                count => self.add(fate, count.as_u64().unwrap()),
            }
        }
    }
}
