//! The tasks of a pipeline without I/O: what one writes to the log the next one reads, and tables are maps.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use tidewheel_engine::stage1::{Recovered, SourceSetup, SourceTask, StartAt};
use tidewheel_engine::stage2::{RecoveredStep, StepSetup, StepTask};
use tidewheel_engine::{Effects, Generations, Ledger, Refusal};
use tidewheel_log::{NewRecord, Record};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Aggregate, Plan, StepKind, TableKind};
use tidewheel_planner::{judge, load, problem};

/// 2026-01-01T00:00:00Z, ms.
pub(crate) const T0: i64 = 1_767_225_600_000;
pub(crate) const MINUTE: i64 = 60_000;

/// A row of a table: column and text of its value; NULLs are left out.
pub(crate) type Row = BTreeMap<String, String>;

/// Plans `steps` over `clicks`; each output is named after the step that it takes.
pub(crate) fn plan(steps: &str, outputs: &[&str]) -> Arc<Plan> {
    plan_over(include_str!("base.yaml"), steps, outputs)
}

/// The same with another source `clicks` and sink `warehouse`.
pub(crate) fn plan_over(base: &str, steps: &str, outputs: &[&str]) -> Arc<Plan> {
    let outputs: String = outputs
        .iter()
        .map(|from| {
            format!("    - {{name: {from}, from: {from}, postgres: {{sink: warehouse}}}}\n")
        })
        .collect();
    let pipeline = format!(
        "apiVersion: tidewheel.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: kpis, namespace: shop}}\nspec:\n  \
         sources: [{{name: clicks}}]\n  steps:\n{steps}\n  outputs:\n{outputs}"
    );
    let (_, mut plans, problems) = judge(load::load_texts([
        ("base.yaml", base),
        ("kpis.yaml", pipeline.as_str()),
    ]));
    plans
        .pop()
        .unwrap_or_else(|| panic!("{}", problem::render(&problems)))
        .into()
}

/// The plan of the only pipeline in `specs`.
pub(crate) fn plan_of(specs: &str) -> Arc<Plan> {
    let (_, mut plans, problems) = judge(load::load_texts([("specs.yaml", specs)]));
    let plan = plans.pop();
    plan.unwrap_or_else(|| panic!("{}", problem::render(&problems)))
        .into()
}

/// A record of the source: an event as JSON, appended `append_ms` after [`T0`].
pub(crate) fn record(offset: i64, append_ms: i64, event: &str) -> Record {
    Record {
        offset,
        append_time_ms: T0 + append_ms,
        key: Some(format!("k{offset}").into()),
        value: Some(Bytes::copy_from_slice(event.as_bytes())),
        headers: Vec::new(),
    }
}

/// A record that came at [`T0`], with this value as it is.
pub(crate) fn raw(offset: i64, value: Option<&[u8]>) -> Record {
    Record {
        offset,
        append_time_ms: T0,
        key: None,
        value: value.map(Bytes::copy_from_slice),
        headers: Vec::new(),
    }
}

/// A record as a log has it that appended it at `offset`, as many ms after [`T0`].
pub(crate) fn appended(offset: i64, record: &NewRecord) -> Record {
    Record {
        offset,
        append_time_ms: T0 + offset,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.clone(),
    }
}

/// An event `ms` after [`T0`] with further members.
pub(crate) fn event(id: &str, ms: i64, members: &str) -> String {
    let comma = if members.is_empty() { "" } else { ", " };
    format!("{{\"id\": \"{id}\", \"ts\": {}{comma}{members}}}", T0 + ms)
}

/// A pipeline with one source and at most one aggregate step, which windows over windows may follow.
pub(crate) struct Pipeline {
    pub(crate) plan: Arc<Plan>,
    pub(crate) names: PipelineNames,
    pub(crate) sources: Vec<SourceTask>,
    pub(crate) steps: Vec<StepTask>,
    /// What each partition of the partials topic holds.
    pub(crate) partials: Vec<Vec<Record>>,
    /// What the tasks of the aggregate step have sent to a step over its windows.
    pub(crate) fed: Vec<NewRecord>,
    pub(crate) dead: Vec<NewRecord>,
    /// What went to topics of outputs.
    pub(crate) published: Vec<NewRecord>,
    /// Newest values of state topics: topic, partition, key.
    pub(crate) state: BTreeMap<(String, i32, Bytes), Bytes>,
    /// Tables by output: rows by the text of their key.
    pub(crate) tables: BTreeMap<String, BTreeMap<String, Row>>,
    pub(crate) clock_ms: i64,
    /// Which rows the tables refuse.
    pub(crate) refuses: fn(&Row) -> bool,
    /// What they have refused of each partition of the partials.
    pub(crate) refused: Vec<Vec<Refusal>>,
}

impl Pipeline {
    /// Tasks for `partitions` partitions of the source.
    pub(crate) fn new(plan: Arc<Plan>, partitions: i32) -> Self {
        let sources = (0..partitions)
            .map(|partition| {
                let setup = source_setup(&plan, partition, partitions);
                SourceTask::begin(setup, Recovered::default(), &StartAt::default()).unwrap()
            })
            .collect();
        let steps: Vec<StepTask> = (0..partials_partitions(&plan))
            .map(|partition| {
                StepTask::begin(
                    step_setup(&plan, partition, partitions),
                    &RecoveredStep::default(),
                )
                .unwrap()
            })
            .collect();
        Self {
            names: PipelineNames::new(&plan.namespace, &plan.name),
            partials: vec![Vec::new(); steps.len()],
            refused: vec![Vec::new(); steps.len()],
            sources,
            steps,
            fed: Vec::new(),
            dead: Vec::new(),
            published: Vec::new(),
            state: BTreeMap::new(),
            tables: BTreeMap::new(),
            clock_ms: T0,
            refuses: |_| false,
            plan,
        }
    }

    /// Takes records of a source partition through both stages.
    pub(crate) fn send(&mut self, partition: usize, records: &[Record]) {
        let partials = self.take(partition, records);
        self.deliver(partials);
    }

    /// Takes records of a source partition through stage 1; the partials are the caller's to deliver.
    pub(crate) fn take(&mut self, partition: usize, records: &[Record]) -> Vec<NewRecord> {
        let mut rest = records;
        let mut partials = Vec::new();
        while let Some(last) = rest.last() {
            let effects = self.sources[partition]
                .process(rest, last.offset + 1, self.clock_ms)
                .unwrap();
            let (taken, left) = rest.split_at(effects.consumed);
            assert!(!taken.is_empty(), "the task takes something");
            let committed: Vec<usize> = effects.writes.iter().map(|write| write.output).collect();
            let refusals = self.write(&effects);
            let mut log = effects.log;
            log.extend(self.sources[partition].seal(taken, &committed, &refusals));
            partials.extend(self.append(log));
            rest = left;
        }
        partials
    }

    /// Hands partials to the tasks of stage 2.
    pub(crate) fn deliver(&mut self, partials: Vec<NewRecord>) {
        for partial in partials {
            let partition = partial.partition.unwrap() as usize;
            let offset = self.partials[partition].len() as i64;
            let record = Record {
                offset,
                append_time_ms: self.clock_ms,
                key: partial.key,
                value: partial.value,
                headers: partial.headers,
            };
            self.partials[partition].push(record.clone());
            self.merge(partition, &[record]);
        }
    }

    /// Hands records of a partials topic to its task.
    pub(crate) fn merge(&mut self, partition: usize, records: &[Record]) {
        let end = records.last().unwrap().offset + 1;
        let effects = self.steps[partition]
            .process(records, end, self.clock_ms)
            .unwrap();
        assert_eq!(effects.consumed, records.len());
        let committed: Vec<usize> = effects.writes.iter().map(|write| write.output).collect();
        let refusals = self.write(&effects);
        let mut log = effects.log;
        log.extend(self.steps[partition].seal(&committed, &refusals));
        self.refused[partition].extend(refusals);
        let fed = self.append(log);
        self.fed.extend(fed);
    }

    /// Lifts every source partition's watermark.
    pub(crate) fn decree(&mut self, watermark_ms: i64) {
        for partition in 0..self.sources.len() {
            let effects = self.sources[partition].decree(watermark_ms).unwrap();
            let partials = self.append(effects.log);
            self.deliver(partials);
        }
    }

    /// Closes every window that holds an event.
    pub(crate) fn close(&mut self) {
        if let Some(closing_ms) = self
            .sources
            .iter()
            .filter_map(SourceTask::closing_watermark_ms)
            .max()
        {
            self.decree(closing_ms);
        }
    }

    /// The rows of an output's table, by key.
    pub(crate) fn rows(&self, output: &str) -> Vec<Row> {
        self.tables
            .get(output)
            .map(|rows| rows.values().cloned().collect())
            .unwrap_or_default()
    }

    /// What the rows of an output hold in a column, or `-`.
    pub(crate) fn column(&self, output: &str, name: &str) -> Vec<String> {
        let rows = self.rows(output);
        let values = rows.iter().map(|row| row.get(name));
        let texts = values.map(|value| value.map_or("-", String::as_str).to_owned());
        texts.collect()
    }

    /// The dead letters: reason, step or `-`, offset.
    pub(crate) fn dead_letters(&self) -> Vec<(String, String, i64)> {
        let of = |letter: &NewRecord| {
            let value = |name: &str| header(letter, name).unwrap_or_else(|| "-".to_owned());
            (
                value("tidewheel-reason"),
                value("tidewheel-step"),
                value("tidewheel-offset").parse().unwrap(),
            )
        };
        self.dead.iter().map(of).collect()
    }

    /// The ledger of a window output over all partitions of stage 2.
    pub(crate) fn window_ledger(&self, output: &str) -> Ledger {
        let mut sum = Ledger::default();
        self.steps
            .iter()
            .for_each(|step| sum.add(&step.ledgers()[output]));
        sum
    }

    pub(crate) fn aggregate(&self) -> &Aggregate {
        let (_, aggregate) = aggregate_step(&self.plan).unwrap();
        aggregate
    }

    /// The newest value of a key of a task's state.
    pub(crate) fn state_of(&self, input: &str, partition: i32, key: &str) -> Option<Bytes> {
        self.state
            .get(&(
                self.names.state(input),
                partition,
                Bytes::copy_from_slice(key.as_bytes()),
            ))
            .cloned()
    }

    /// All state of a task.
    pub(crate) fn state_map(&self, input: &str, partition: i32) -> BTreeMap<Bytes, Bytes> {
        let topic = self.names.state(input);
        let mine = self
            .state
            .iter()
            .filter(|((of, at, _), _)| *of == topic && *at == partition);
        mine.map(|((_, _, key), value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Applies what goes to the log; the partials are handed back.
    pub(crate) fn append(&mut self, log: Vec<NewRecord>) -> Vec<NewRecord> {
        let mut partials = Vec::new();
        for record in log {
            if record.topic.ends_with(".partials") {
                partials.push(record);
            } else if record.topic == self.names.dead_letters() {
                self.dead.push(record);
            } else if record.topic.ends_with(".state") {
                let key = (record.topic, record.partition.unwrap(), record.key.unwrap());
                match record.value {
                    Some(value) => self.state.insert(key, value),
                    None => self.state.remove(&key),
                };
            } else if record.topic != self.names.watermarks() {
                self.published.push(record);
            }
        }
        partials
    }

    /// Applies what goes to tables, but for what they refuse.
    pub(crate) fn write(&mut self, effects: &Effects) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for write in &effects.writes {
            let output = &self.plan.outputs[write.output];
            let key: Vec<&str> = match output.kind() {
                TableKind::Rows => vec!["_partition", "_offset", "_ordinal"],
                TableKind::Windows { key } => key.iter().map(String::as_str).collect(),
            };
            let key_of = |row: &Row| {
                let parts: Vec<&str> = key
                    .iter()
                    .map(|&name| row.get(name).map_or("NULL", String::as_str))
                    .collect();
                parts.join("|")
            };
            let table = self.tables.entry(output.name.clone()).or_default();
            for row in write.deletes.iter().flat_map(rows_of) {
                table.remove(&key_of(&row));
            }
            for (index, row) in rows_of(&write.rows).into_iter().enumerate() {
                if !(self.refuses)(&row) {
                    table.insert(key_of(&row), row);
                    continue;
                }
                table.remove(&key_of(&row));
                refusals.push(Refusal {
                    output: write.output,
                    origin: write.origin(index),
                    reason: "refused".to_owned(),
                });
            }
        }
        refusals
    }
}

pub(crate) fn source_setup(plan: &Arc<Plan>, partition: i32, partitions: i32) -> SourceSetup {
    SourceSetup {
        plan: plan.clone(),
        generations: Arc::new(Generations {
            revision: 1,
            ..Generations::default()
        }),
        source: 0,
        partition,
        source_partitions: vec![partitions],
    }
}

pub(crate) fn step_setup(plan: &Arc<Plan>, partition: i32, partitions: i32) -> StepSetup {
    StepSetup {
        plan: plan.clone(),
        generations: Arc::new(Generations {
            revision: 1,
            ..Generations::default()
        }),
        step: aggregate_step(plan).unwrap().0,
        partition,
        feeders: (0..partitions)
            .map(|partition| format!("clicks/{partition}"))
            .collect(),
        snapshot_every: Duration::from_secs(5),
    }
}

fn partials_partitions(plan: &Plan) -> i32 {
    aggregate_step(plan).map_or(0, |(_, aggregate)| aggregate.partitions as i32)
}

fn aggregate_step(plan: &Plan) -> Option<(usize, &Aggregate)> {
    plan.steps
        .iter()
        .enumerate()
        .find_map(|(index, step)| match &step.kind {
            StepKind::Aggregate(aggregate) => Some((index, aggregate.as_ref())),
            _ => None,
        })
}

/// The value of a header.
pub(crate) fn header(record: &NewRecord, name: &str) -> Option<String> {
    let header = record.headers.iter().find(|header| header.name == name)?;
    Some(String::from_utf8(header.value.to_vec()).unwrap())
}

pub(crate) fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let options = FormatOptions::default();
    (0..batch.num_rows())
        .map(|row| {
            let fields = batch.schema();
            let columns = fields.fields().iter().zip(batch.columns());
            columns
                .filter(|(_, column)| column.is_valid(row))
                .map(|(field, column)| {
                    let text = ArrayFormatter::try_new(column.as_ref(), &options).unwrap();
                    (field.name().clone(), text.value(row).to_string())
                })
                .collect()
        })
        .collect()
}
