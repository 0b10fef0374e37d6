//! What a worker shows at `/metrics`, as far as scaling looks at it. Pure.
use std::collections::{BTreeMap, BTreeSet};

/// A task, as the worker that has it shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Task {
    /// The first offset that is not covered yet; none before the task has begun.
    pub(crate) next_offset: Option<u64>,
    /// Offsets up to the end of the partition; none while the log does not answer.
    pub(crate) lag: Option<u64>,
    /// Whether it cannot go on.
    pub(crate) is_blocked: bool,
    /// Whether it cannot go on before somebody has mended something.
    pub(crate) needs_mending: bool,
}

/// An input and one of its partitions.
pub(crate) type TaskKey = (String, u32);

/// What a worker shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Shown {
    /// Its tasks.
    pub(crate) tasks: BTreeMap<TaskKey, Task>,
    /// `<namespace>/<name>` of the Sinks that tasks wait for, because they do not answer.
    pub(crate) awaited_sinks: Vec<String>,
    /// Inputs that it has a part in, or is about to.
    pub(crate) inputs: BTreeSet<String>,
    /// Inputs that it has left to workers of a newer plan.
    pub(crate) superseded: BTreeSet<String>,
    /// What changed steps could not compute anew, by step.
    pub(crate) not_recomputed: BTreeMap<String, Windows>,
}

/// Windows, by the event time at which they begin, as Unix time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Windows {
    /// The first one; none: nobody knows of any before them.
    pub(crate) from: Option<f64>,
    /// The first one after them.
    pub(crate) until: f64,
}

/// Reads what a worker shows of a pipeline (`<namespace>/<name>`) in Prometheus' text format. What is of no interest or cannot be read is
/// left out.
#[must_use]
pub(crate) fn read(text: &str, pipeline: &str) -> Shown {
    let mut shown = Shown::default();
    let samples = text.lines().filter_map(sample);
    for (name, labels, value) in samples {
        let label = |name: &str| labels.get(name).map(String::as_str);
        if label("pipeline") != Some(pipeline) {
            continue;
        }
        if !shown.take_of_worker(name, label, value) {
            shown.take_of_task(name, label, value);
        }
    }
    shown
}

impl Shown {
    /// Whether it is about the worker as a whole.
    fn take_of_worker<'a>(
        &mut self,
        name: &str,
        label: impl Fn(&str) -> Option<&'a str>,
        value: f64,
    ) -> bool {
        let named = |of: &str| label(of).map(str::to_owned);
        match name {
            "tidewheel_worker_blocked_by_sink" => {
                let sink = named("sink").filter(|_| value > 0.0);
                self.awaited_sinks.extend(sink);
            }
            "tidewheel_worker_tasks" => {
                let inputs = match label("membership") {
                    Some("superseded") => &mut self.superseded,
                    _ => &mut self.inputs,
                };
                inputs.extend(named("input"));
            }
            "tidewheel_step_not_recomputed_from_timestamp_seconds" => {
                if let Some(step) = named("step") {
                    self.not_recomputed.entry(step).or_default().from = Some(value);
                }
            }
            "tidewheel_step_not_recomputed_until_timestamp_seconds" => {
                if let Some(step) = named("step") {
                    self.not_recomputed.entry(step).or_default().until = value;
                }
            }
            _ => return false,
        }
        true
    }

    fn take_of_task<'a>(
        &mut self,
        name: &str,
        label: impl Fn(&str) -> Option<&'a str>,
        value: f64,
    ) {
        let set: fn(&mut Task, f64) = match name {
            "tidewheel_task_next_offset" => |task, value| task.next_offset = Some(value as u64),
            "tidewheel_task_lag_records" => |task, value| task.lag = Some(value as u64),
            "tidewheel_task_blocked" => |task, value| task.is_blocked = value > 0.0,
            "tidewheel_task_needs_mending" => |task, value| task.needs_mending = value > 0.0,
            _ => return,
        };
        let partition = label("partition").and_then(|partition| partition.parse().ok());
        if let (Some(input), Some(partition)) = (label("input"), partition) {
            let key = (input.to_owned(), partition);
            set(self.tasks.entry(key).or_default(), value);
        }
    }
}

type Sample<'a> = (&'a str, BTreeMap<&'a str, String>, f64);

/// The name, labels and value of a line.
fn sample(line: &str) -> Option<Sample<'_>> {
    if !line.starts_with("tidewheel_") {
        return None;
    }
    let (name, rest) = line.split_once('{')?;
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    while let Some((label, after)) = rest.split_once("=\"") {
        let (value, after) = quoted(after)?;
        labels.insert(label.trim_start_matches([',', ' ']), value);
        rest = after;
        if rest.starts_with('}') {
            break;
        }
    }
    let value = rest.strip_prefix('}')?.split_whitespace().next()?;
    Some((name, labels, value.parse().ok()?))
}

/// The text up to the closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP tidewheel_task_next_offset The first offset.
# TYPE tidewheel_task_next_offset gauge
tidewheel_task_next_offset{input="clicks",partition="0",pipeline="shop/kpis"} 1200
tidewheel_task_next_offset{input="clicks",partition="1",pipeline="shop/kpis"} 7 1700000000000
tidewheel_task_lag_records{input="clicks",partition="0",pipeline="shop/kpis"} 30
tidewheel_task_blocked{input="clicks",partition="0",pipeline="shop/kpis"} 0
tidewheel_task_blocked{input="clicks",partition="1",pipeline="shop/kpis"} 1
tidewheel_task_needs_mending{input="clicks",partition="1",pipeline="shop/kpis"} 1
tidewheel_task_blocked{input="clicks",partition="2",pipeline="shop/kpis"} 0
tidewheel_task_lag_records{input="clicks",partition="0",pipeline="shop/others"} 99
tidewheel_worker_blocked_by_sink{pipeline="shop/kpis",sink="shop/warehouse"} 1
tidewheel_worker_blocked_by_sink{pipeline="shop/kpis",sink="shop/hot"} 0
tidewheel_worker_tasks{input="clicks",membership="member",pipeline="shop/kpis"} 3
tidewheel_worker_tasks{input="hourly",membership="superseded",pipeline="shop/kpis"} 0
tidewheel_step_not_recomputed_from_timestamp_seconds{pipeline="shop/kpis",step="hourly"} 3600
tidewheel_step_not_recomputed_until_timestamp_seconds{pipeline="shop/kpis",step="hourly"} 7200
tidewheel_output_fates_total{detail="a \"quoted\" {text}\\",fate="filtered",pipeline="shop/kpis"} 5
process_cpu_seconds_total 3
"#;

    #[test]
    fn tasks_of_the_pipeline_are_read_and_nothing_else() {
        let shown = read(TEXT, "shop/kpis");
        let task = |next_offset, lag, is_blocked| Task {
            next_offset,
            lag,
            is_blocked,
            needs_mending: is_blocked,
        };
        let tasks = [
            (("clicks".to_owned(), 0), task(Some(1200), Some(30), false)),
            (("clicks".to_owned(), 1), task(Some(7), None, true)),
            (("clicks".to_owned(), 2), task(None, None, false)),
        ];
        assert_eq!(shown.tasks, tasks.into());
        assert_eq!(shown.awaited_sinks, ["shop/warehouse"]);
        assert_eq!(shown.inputs, ["clicks".to_owned()].into());
        assert_eq!(shown.superseded, ["hourly".to_owned()].into());
        let windows = Windows {
            from: Some(3_600.0),
            until: 7_200.0,
        };
        assert_eq!(
            shown.not_recomputed,
            [("hourly".to_owned(), windows)].into()
        );
    }

    #[test]
    fn quotes_and_braces_in_labels_are_text() {
        let line = TEXT.lines().find(|line| line.contains("quoted"));
        let (name, labels, value) = line.and_then(sample).unwrap_or_default();
        assert_eq!(
            (name, labels["detail"].as_str(), value),
            ("tidewheel_output_fates_total", r#"a "quoted" {text}\"#, 5.0)
        );
    }

    #[test]
    fn what_is_no_metric_is_nothing() {
        for text in [
            "",
            "<html>",
            "tidewheel_task_blocked",
            "tidewheel_task_blocked{",
            "tidewheel_task_blocked{input=\"a",
            "tidewheel_task_blocked{input=\"a\"",
            "tidewheel_task_blocked{input=\"a\"} x",
            "tidewheel_task_blocked{pipeline=\"p\",input=\"a\",partition=\"-1\"} 1",
        ] {
            assert_eq!(read(text, "p"), Shown::default(), "{text}");
        }
    }
}
