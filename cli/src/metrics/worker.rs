//! What the workers of this process do, a series for each task and output.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily, MetricType};
use tidewheel_engine::Ledger;
use tidewheel_worker::{Control, Membership, Status, TaskKey, TaskStatus};
use tokio_util::task::AbortOnDropHandle;

use super::family::Declared;

/// How often the log is asked where the inputs end.
const LOOK_EVERY: Duration = Duration::from_secs(5);

const TASK_LABELS: &[&str] = &["pipeline", "input", "partition"];
const FATE_LABELS: &[&str] = &["pipeline", "name", "input", "partition", "fate", "detail"];
const STEP_LABELS: &[&str] = &["pipeline", "step"];
const READ_LABELS: &[&str] = &["pipeline", "name", "input", "partition"];

/// A number of a task, where it has one.
type Value = fn(&TaskStatus) -> Option<f64>;

const TASK_VALUES: [(Declared, Value); 8] = [
    (
        task_gauge(
            "tidewheel_task_next_offset",
            "The first offset of the input's partition that is not covered yet.",
        ),
        |task| task.has_begun().then_some(task.next_offset as f64),
    ),
    (
        task_gauge(
            "tidewheel_task_watermark_seconds",
            "The watermark, as Unix time; absent before the first event.",
        ),
        |task| Some(task.watermark_ms? as f64 / 1_000.0),
    ),
    (
        task_gauge(
            "tidewheel_task_blocked",
            "1 while the task cannot go on, 0 otherwise.",
        ),
        |task| Some(f64::from(u8::from(task.blocked.is_some()))),
    ),
    (
        task_gauge(
            "tidewheel_task_needs_mending",
            "1 while the task cannot go on before somebody has mended what the log of the process names, 0 otherwise.",
        ),
        |task| Some(f64::from(u8::from(task.blocked_until_mended))),
    ),
    (
        task_gauge(
            "tidewheel_task_open_windows",
            "Windows with contributions that were not emitted, all sessions as one; of tasks of aggregate steps.",
        ),
        |task| (task.stage == 2).then_some(task.open_windows.len() as f64),
    ),
    (
        task_gauge(
            "tidewheel_task_state_bytes",
            "Memory of window state; of tasks of aggregate steps.",
        ),
        |task| (task.stage == 2).then_some(task.state_bytes as f64),
    ),
    (
        task_counter(
            "tidewheel_task_records_total",
            "Records taken by this process; those of an attempt that failed may be taken again.",
        ),
        |task| Some(task.work.records as f64),
    ),
    (
        task_counter(
            "tidewheel_task_attempts_total",
            "Attempts begun by this process: one, and one more each time the task began again from its state.",
        ),
        |task| Some(task.work.attempts as f64),
    ),
];

const LAG: Declared = task_gauge(
    "tidewheel_task_lag_records",
    "Offsets between the task's next one and the end of its partition, which is at most five seconds old.",
);
const COMMITS: Declared = Declared {
    name: "tidewheel_task_commit_seconds",
    help: "How long batches took to commit, to sinks and log together; its count is the number of batches.",
    kind: MetricType::HISTOGRAM,
    labels: TASK_LABELS,
};
const TASKS: Declared = gauge(
    "tidewheel_worker_tasks",
    "Tasks that this process has, by input and by what it is to the input's consumer group: joining, member, superseded (by a newer plan).",
    &["pipeline", "input", "membership"],
);
const BLOCKED_BY_SINK: Declared = gauge(
    "tidewheel_worker_blocked_by_sink",
    "Tasks of this process that wait for a sink that does not answer.",
    &["pipeline", "sink"],
);
const NOT_RECOMPUTED_FROM: Declared = gauge(
    "tidewheel_step_not_recomputed_from_timestamp_seconds",
    "Event time, as Unix time, of the first window that a changed step should have computed anew, and could not because events, or rows that it is made of, are gone. Not there where nothing was final before, or nothing is missing.",
    STEP_LABELS,
);
const NOT_RECOMPUTED_UNTIL: Declared = gauge(
    "tidewheel_step_not_recomputed_until_timestamp_seconds",
    "Event time, as Unix time, of the first window after those. Not there where nothing is missing.",
    STEP_LABELS,
);
const OUTPUT_READ: Declared = counter(
    "tidewheel_output_read_total",
    "Ledger of an output: what came in, since the pipeline began.",
    READ_LABELS,
);
const OUTPUT_FATES: Declared = counter(
    "tidewheel_output_fates_total",
    "Ledger of an output: what became of it, since the pipeline began.",
    FATE_LABELS,
);
const STEP_READ: Declared = counter(
    "tidewheel_step_read_total",
    "Ledger of an aggregate step: records of the sources, or rows of the windows that it aggregates, since the pipeline began.",
    READ_LABELS,
);
const STEP_FATES: Declared = counter(
    "tidewheel_step_fates_total",
    "Ledger of an aggregate step: what became of the records; `written` went into windows.",
    FATE_LABELS,
);

const fn gauge(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Declared {
    Declared {
        name,
        help,
        kind: MetricType::GAUGE,
        labels,
    }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Declared {
    Declared {
        name,
        help,
        kind: MetricType::COUNTER,
        labels,
    }
}

const fn task_gauge(name: &'static str, help: &'static str) -> Declared {
    gauge(name, help, TASK_LABELS)
}

const fn task_counter(name: &'static str, help: &'static str) -> Declared {
    counter(name, help, TASK_LABELS)
}

/// What the workers of this process do. Clones share everything.
#[derive(Clone)]
pub(crate) struct WorkerMetrics {
    workers: Arc<Mutex<BTreeMap<String, Watched>>>,
    descs: Arc<[Desc]>,
}

/// A worker that is shown.
struct Watched {
    control: Control,
    /// `<namespace>/<name>` of the sinks that its pipeline writes.
    sinks: BTreeSet<String>,
    /// Where the input of each task ends, as it was seen last.
    ends: Arc<Mutex<BTreeMap<TaskKey, i64>>>,
    _looking: AbortOnDropHandle<()>,
}

impl WorkerMetrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let values = TASK_VALUES.iter().map(|(declared, _)| declared);
        let others = [
            &LAG,
            &COMMITS,
            &TASKS,
            &BLOCKED_BY_SINK,
            &NOT_RECOMPUTED_FROM,
            &NOT_RECOMPUTED_UNTIL,
            &OUTPUT_READ,
            &OUTPUT_FATES,
            &STEP_READ,
            &STEP_FATES,
        ];
        let descs: Result<Vec<Desc>, _> = values.chain(others).map(Declared::desc).collect();
        Ok(Self {
            workers: Arc::default(),
            descs: descs?.into(),
        })
    }

    /// Shows a worker from now on, in the place of one of the same pipeline (`<namespace>/<name>`).
    pub(crate) fn watch(&self, pipeline: &str, control: Control, sinks: BTreeSet<String>) {
        let ends = Arc::new(Mutex::new(BTreeMap::new()));
        let looking = tokio::spawn(look(control.clone(), ends.clone()));
        let watched = Watched {
            control,
            sinks,
            ends,
            _looking: AbortOnDropHandle::new(looking),
        };
        self.workers.lock().insert(pipeline.to_owned(), watched);
    }

    /// Shows the worker of a pipeline no longer.
    pub(crate) fn forget(&self, pipeline: &str) {
        self.workers.lock().remove(pipeline);
    }
}

/// Asks the log where the input of every task ends, again and again.
async fn look(control: Control, ends: Arc<Mutex<BTreeMap<TaskKey, i64>>>) {
    loop {
        match control.ends().await {
            Ok(found) => *ends.lock() = found,
            // What is not known is not shown: neither as zero nor as what it was.
            Err(error) => {
                tracing::debug!(%error, "the lag is not known");
                ends.lock().clear();
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Collector for WorkerMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        for (pipeline, watched) in self.workers.lock().iter() {
            let status = watched.control.status();
            families.tasks(pipeline, &status, &watched.ends.lock());
            families.worker(pipeline, &status, watched);
        }
        families.done()
    }
}

/// The metrics of a moment, by name.
#[derive(Default)]
struct Families(BTreeMap<&'static str, (Option<Declared>, Vec<Metric>)>);

impl Families {
    fn add(&mut self, declared: &Declared, series: Metric) {
        let family = self.0.entry(declared.name).or_default();
        family.0 = Some(*declared);
        family.1.push(series);
    }

    fn tasks(&mut self, pipeline: &str, status: &Status, ends: &BTreeMap<TaskKey, i64>) {
        for (key, task) in status {
            let partition = key.1.to_string();
            let labels = [pipeline, key.0.as_str(), partition.as_str()];
            for (declared, value) in &TASK_VALUES {
                if let Some(value) = value(task) {
                    self.add(declared, declared.value(&labels, value));
                }
            }
            if let Some(&end) = ends.get(key).filter(|_| task.has_begun()) {
                let lag = (end - task.next_offset).max(0);
                self.add(&LAG, LAG.value(&labels, lag as f64));
            }
            self.add(&COMMITS, COMMITS.histogram(&labels, &task.work.commits));
            for (name, ledger) in &task.ledgers {
                self.ledger(&OUTPUT_READ, &OUTPUT_FATES, labels, name, ledger);
            }
            for (name, ledger) in &task.step_ledgers {
                self.ledger(&STEP_READ, &STEP_FATES, labels, name, ledger);
            }
        }
    }

    fn ledger(
        &mut self,
        read: &Declared,
        fates: &Declared,
        [pipeline, input, partition]: [&str; 3],
        name: &str,
        ledger: &Ledger,
    ) {
        let labels = [pipeline, name, input, partition];
        self.add(read, read.value(&labels, ledger.read as f64));
        let plain = [
            ("written", ledger.written),
            ("tombstone", ledger.tombstone),
            ("duplicate", ledger.duplicate),
            ("late", ledger.late),
            ("earlier_generation", ledger.earlier_generation),
            ("skipped", ledger.skipped),
            ("lost", ledger.lost),
        ];
        let plain = plain.map(|(fate, count)| (fate, "", count));
        let filtered = ledger.filtered.iter();
        let filtered = filtered.map(|(step, &count)| ("filtered", step.as_str(), count));
        let dead = ledger.dead_lettered.iter();
        let dead = dead.map(|(reason, &count)| ("dead_lettered", reason.as_str(), count));
        for (fate, detail, count) in plain.into_iter().chain(filtered).chain(dead) {
            let labels = [pipeline, name, input, partition, fate, detail];
            self.add(fates, fates.value(&labels, count as f64));
        }
    }

    fn worker(&mut self, pipeline: &str, status: &Status, watched: &Watched) {
        for (input, membership) in watched.control.memberships() {
            let count = status.keys().filter(|(of, _)| *of == input).count();
            let membership = match membership {
                Membership::Joining => "joining",
                Membership::Member => "member",
                Membership::Superseded => "superseded",
            };
            let labels = [pipeline, input.as_str(), membership];
            self.add(&TASKS, TASKS.value(&labels, count as f64));
        }
        for sink in &watched.sinks {
            let waits = |task: &&TaskStatus| task.blocked_by_sink.as_ref() == Some(sink);
            let count = status.values().filter(waits).count();
            let series = BLOCKED_BY_SINK.value(&[pipeline, sink], count as f64);
            self.add(&BLOCKED_BY_SINK, series);
        }
        for (step, windows) in watched.control.not_recomputed() {
            let ends = [
                (&NOT_RECOMPUTED_FROM, windows.from_ms),
                (&NOT_RECOMPUTED_UNTIL, Some(windows.until_ms)),
            ];
            for (declared, at_ms) in ends {
                let Some(at_ms) = at_ms else { continue };
                let series = declared.value(&[pipeline, step.as_str()], at_ms as f64 / 1_000.0);
                self.add(declared, series);
            }
        }
    }

    fn done(self) -> Vec<MetricFamily> {
        let families = self.0.into_values();
        families
            .filter_map(|(declared, series)| Some(declared?.family(series)))
            .collect()
    }
}
