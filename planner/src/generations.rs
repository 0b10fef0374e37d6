//! Generations: which version of each aggregate step and of each row output writes.
//!
//! A pipeline's generations topic ([`PipelineNames::generations`]) holds one value, the [`Allotment`], under the key [`KEY`]. Workers
//! write it, under the transactional id [`PipelineNames::allotter`]; whoever makes topics reads it to know which topics of
//! partials a plan will ask for ([`partials_topics`]). Both follow [`Allotment::of`], so that they cannot differ.
//!
//! ```text
//!  plan ──┐
//!         ├── Allotment::of ──► what is allotted once the plan runs: an equal fingerprint keeps its number,
//! known ──┘                     another one counts on, a new step begins with 1
//! ```
//!
//! A *fingerprint* is a digest of fields that are written out one by one, and never of how a type happens to be printed: it is
//! the same in every build.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fingerprint::{digest, event_schema};
use crate::names::PipelineNames;
use crate::plan::{
    Aggregate, Column, ColumnType, Output, Plan, Relation, StepKind, TableKind, Target, Topic,
    Window,
};

/// The key of the allotment in a pipeline's generations topic.
pub const KEY: &str = "plan";

const VERSION: u8 = 1;

/// What is allotted to a pipeline: the value of [`KEY`], as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allotment {
    version: u8,
    /// Counts the changes of `steps` and `outputs`.
    pub revision: i64,
    /// The highest [`Plan::revision`] that was allotted; none while no plan had one.
    pub plan_revision: Option<i64>,
    /// Aggregate steps by name, those that are no longer there included: their numbers are not given out again.
    pub steps: BTreeMap<String, AllottedStep>,
    /// Row outputs by name, those that are no longer there included.
    pub outputs: BTreeMap<String, AllottedOutput>,
    /// Sources by name, those that are no longer there included: where reading begins is decided once.
    #[serde(default)]
    pub sources: BTreeMap<String, AllottedSource>,
}

/// Where a pipeline begins to read a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllottedSource {
    /// By partition, the offset at which it begins. Those that are not listed begin at their oldest retained event: all of a source that is
    /// read from `Earliest`, and whatever partition is added later.
    pub first: Vec<i64>,
}

/// The generation of an aggregate step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllottedStep {
    /// What it computes and for which outputs.
    pub fingerprint: String,
    /// Number of the generation, from 1.
    pub number: i64,
    /// Windows that start before this belong to earlier generations, ms; none: all are this generation's.
    pub cut_ms: Option<i64>,
    /// Size of its windows, ms.
    pub size_ms: i64,
    /// How far the starts of its windows are apart, ms, where they overlap; none: each begins where the one before it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<i64>,
    /// Its windows are sessions, with this gap, ms; none: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_ms: Option<i64>,
    /// Allowed lateness, ms.
    pub allowed_ms: i64,
    /// Windows of the generations before that were open, and of which retention had taken events: they stay as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_recomputed: Option<NotRecomputed>,
    /// Of sessions: up to when there may be rows of generations before that this one does not write again, ms; none: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_until_ms: Option<i64>,
    /// How many partitions each source that feeds it had when the generation began, by source: all of them are waited for before a
    /// window is emitted, those that are added later from when they first speak.
    #[serde(default)]
    pub feeders: BTreeMap<String, i32>,
    /// The oldest offset of each partition of its sources when the cut was decided, or where its task went on if that was gone, by source, where
    /// windows of earlier generations are computed anew: what retention takes after that was promised to this one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub oldest: BTreeMap<String, Vec<i64>>,
    /// The outputs that its windows go to. Whoever writes to one of them next follows on it, under whatever name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub outputs: BTreeSet<String>,
    /// The newest plan does not have it. Where it comes back it is a new generation: its progress was let go.
    #[serde(default)]
    pub retired: bool,
}

/// Windows that a changed step should compute anew and cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotRecomputed {
    /// The start of the first of them, ms; none: nothing before them was final.
    pub from_ms: Option<i64>,
    /// They start before this, ms.
    pub until_ms: i64,
}

/// The generation of a row output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllottedOutput {
    /// What it writes.
    pub fingerprint: String,
    /// Number of the generation, from 1.
    pub number: i64,
    /// The newest plan does not have it.
    #[serde(default)]
    pub retired: bool,
}

impl AllottedStep {
    /// Its windows.
    pub fn window(&self) -> Window {
        match self.gap_ms {
            Some(gap_ms) => Window::Session { gap_ms },
            None => Window::overlapping(self.size_ms, self.every_ms.unwrap_or(self.size_ms)),
        }
    }
}

impl Allotment {
    /// What is allotted once `plan` runs, `known` being what was allotted before. Steps whose number is new have no cut and no feeders,
    /// and sources that are new are left out: that follows from what is in the log, which the worker finds out.
    ///
    /// # Errors
    /// A newer plan has taken over. See [`Plan::revision`].
    pub fn of(plan: &Plan, known: Option<&Self>) -> Result<Self, NewerPlan> {
        let next = Self {
            version: VERSION,
            revision: known.map_or(0, |known| known.revision),
            plan_revision: known
                .and_then(|known| known.plan_revision)
                .max(plan.revision),
            steps: next_steps(plan, known),
            outputs: next_outputs(plan, known),
            sources: known.map_or_else(BTreeMap::new, |known| known.sources.clone()),
        };
        let is_changed =
            known.is_none_or(|known| known.steps != next.steps || known.outputs != next.outputs);
        if !is_changed {
            return Ok(next);
        }
        match (
            plan.revision,
            known.and_then(|allotment| allotment.plan_revision),
        ) {
            (Some(ours), Some(theirs)) if ours < theirs => Err(NewerPlan { ours, theirs }),
            _ => Ok(Self {
                revision: next.revision + 1,
                ..next
            }),
        }
    }

    /// Whose windows a new generation of a step takes over that writes to `outputs`, by name: those of earlier generations of it, and of steps
    /// that wrote to the same outputs.
    pub fn before<'a>(
        &'a self,
        name: &'a str,
        outputs: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = (&'a String, &'a AllottedStep)> {
        self.steps
            .iter()
            .filter(move |(of, other)| *of == name || !outputs.is_disjoint(&other.outputs))
    }

    /// Reads a value of the generations topic.
    ///
    /// # Errors
    /// It is damaged, or a newer build has written it.
    pub fn decode(value: &[u8]) -> Result<Self, UnreadableAllotment> {
        let allotment: Self = serde_json::from_slice(value).map_err(|error| {
            UnreadableAllotment(format!("it is damaged or from a newer build: {error}"))
        })?;
        if allotment.version == VERSION {
            Ok(allotment)
        } else {
            let version = allotment.version;
            Err(UnreadableAllotment(format!(
                "its version {version} is not known to this build, which reads {VERSION}"
            )))
        }
    }

    /// The value as it stands in the generations topic.
    pub fn encode(&self) -> Vec<u8> {
        // Texts and numbers under text keys: there is nothing that JSON could not say.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The generation that each aggregate step of `plan` will run with, by name.
///
/// # Errors
/// A newer plan has taken over: this one will not run.
pub fn step_numbers(
    plan: &Plan,
    known: Option<&Allotment>,
) -> Result<BTreeMap<String, i64>, NewerPlan> {
    let next = Allotment::of(plan, known)?;
    let current = next.steps.into_iter().filter(|(_, step)| !step.retired);
    Ok(current.map(|(name, step)| (name, step.number)).collect())
}

/// The topics of partials that `plan` will run with, and how many partitions each has.
///
/// # Errors
/// A newer plan has taken over: this one will not run.
pub fn partials_topics(
    plan: &Plan,
    known: Option<&Allotment>,
) -> Result<Vec<(String, u32)>, NewerPlan> {
    let names = PipelineNames::new(&plan.namespace, &plan.name);
    let numbers = step_numbers(plan, known)?;
    let topic = |(step, aggregate): (usize, &Aggregate)| {
        let name = &plan.steps[step].name;
        let number = numbers.get(name)?;
        Some((names.partials(name, *number), aggregate.partitions))
    };
    Ok(aggregates(plan).filter_map(topic).collect())
}

fn aggregates(plan: &Plan) -> impl Iterator<Item = (usize, &Aggregate)> {
    plan.steps
        .iter()
        .enumerate()
        .filter_map(|(index, step)| match &step.kind {
            StepKind::Aggregate(aggregate) => Some((index, aggregate.as_ref())),
            _ => None,
        })
}

fn next_steps(plan: &Plan, known: Option<&Allotment>) -> BTreeMap<String, AllottedStep> {
    let mut steps = known.map_or_else(BTreeMap::new, |known| known.steps.clone());
    steps.values_mut().for_each(|step| step.retired = true);
    for (index, aggregate) in aggregates(plan) {
        let name = &plan.steps[index].name;
        let fingerprint = step_fingerprint(plan, index);
        let before = known.and_then(|known| known.steps.get(name));
        let goes_on = before.filter(|before| before.fingerprint == fingerprint && !before.retired);
        if let Some(step) = goes_on {
            steps.insert(name.clone(), step.clone());
            continue;
        }
        let outputs: BTreeSet<String> = outputs_of(plan, index)
            .map(|output| output.name.clone())
            .collect();
        let before = known
            .into_iter()
            .flat_map(|known| known.before(name, &outputs));
        let newest = before.map(|(_, before)| before.number).max();
        let step = AllottedStep {
            fingerprint,
            // Sinks refuse lower numbers than they have seen.
            number: newest.map_or(1, |newest| newest + 1),
            cut_ms: None,
            size_ms: aggregate.window.size_ms(),
            every_ms: match aggregate.window {
                Window::Hopping { every_ms, .. } => Some(every_ms),
                Window::Tumbling { .. } | Window::Session { .. } => None,
            },
            gap_ms: match aggregate.window {
                Window::Session { gap_ms } => Some(gap_ms),
                Window::Tumbling { .. } | Window::Hopping { .. } => None,
            },
            allowed_ms: aggregate.late.allowed_ms,
            not_recomputed: None,
            rows_until_ms: None,
            feeders: BTreeMap::new(),
            oldest: BTreeMap::new(),
            outputs,
            retired: false,
        };
        steps.insert(name.clone(), step);
    }
    steps
}

fn next_outputs(plan: &Plan, known: Option<&Allotment>) -> BTreeMap<String, AllottedOutput> {
    let mut outputs = known.map_or_else(BTreeMap::new, |known| known.outputs.clone());
    outputs
        .values_mut()
        .for_each(|output| output.retired = true);
    let of_rows = |output: &&Output| *output.kind() == TableKind::Rows;
    for output in plan.outputs.iter().filter(of_rows) {
        let fingerprint = output_fingerprint(plan, output);
        let before = known.and_then(|known| known.outputs.get(&output.name));
        let goes_on = before.filter(|before| before.fingerprint == fingerprint && !before.retired);
        let allotted = goes_on.cloned().unwrap_or(AllottedOutput {
            fingerprint,
            number: before.map_or(1, |before| before.number + 1),
            retired: false,
        });
        outputs.insert(output.name.clone(), allotted);
    }
    outputs
}

/// The step itself and everything that its windows are made into: a change of any of it computes windows anew. Steps that windows over windows
/// tie to each other do so together, whichever of them has changed: the outer ones are made of rows that the inner ones write once.
fn step_fingerprint(plan: &Plan, step: usize) -> String {
    let own = own_fingerprint(plan, step);
    let chain = plan.chain(step);
    if chain.len() == 1 {
        return own;
    }
    let mut fields = vec!["chain".to_owned(), own];
    for member in chain {
        // Under another name it would have nothing of what the inner ones have written.
        fields.extend([
            plan.steps[member].name.clone(),
            own_fingerprint(plan, member),
        ]);
    }
    digest(fields.iter().map(String::as_str))
}

fn own_fingerprint(plan: &Plan, step: usize) -> String {
    let mut fields = vec!["step".to_owned(), plan.steps[step].fingerprint.clone()];
    // Another number of partitions sends groups to other tasks than those that have their state.
    let partitions = plan.aggregate(step).map(|aggregate| aggregate.partitions);
    fields.extend(partitions.map(|partitions| partitions.to_string()));
    for output in outputs_of(plan, step) {
        fields.extend(["output", &output.name, &output.sink].map(str::to_owned));
        if let Relation::Step(from) = output.from {
            fields.push(plan.steps[from].fingerprint.clone());
        }
        fields.extend(target_fields(&output.target));
    }
    digest(fields.iter().map(String::as_str))
}

/// The outputs that the windows of an aggregate step go to.
fn outputs_of(plan: &Plan, step: usize) -> impl Iterator<Item = &Output> {
    plan.outputs
        .iter()
        .filter(move |output| plan.aggregate_behind(output.from) == Some(step))
}

fn output_fingerprint(plan: &Plan, output: &Output) -> String {
    let mut fields = vec!["output".to_owned()];
    match output.from {
        Relation::Step(step) => {
            fields.extend(["step".to_owned(), plan.steps[step].fingerprint.clone()]);
        }
        Relation::Source(source) => {
            let source = &plan.sources[source];
            fields.extend(["source", &source.topic].map(str::to_owned));
            fields.extend(event_schema(&source.events, &source.key));
        }
    }
    fields.extend(target_fields(&output.target));
    digest(fields.iter().map(String::as_str))
}

fn target_fields(target: &Target) -> Vec<String> {
    match target {
        Target::Table(table) => {
            let mut fields: Vec<String> = ["table", &table.schema, &table.name]
                .map(str::to_owned)
                .into();
            fields.extend(kind_fields(&table.kind));
            fields.extend(table.columns.iter().flat_map(column_fields));
            fields
        }
        Target::Topic(topic) => topic_fields(topic),
    }
}

fn topic_fields(topic: &Topic) -> Vec<String> {
    let mut fields: Vec<String> = ["topic", &topic.name].map(str::to_owned).into();
    fields.extend(kind_fields(&topic.kind));
    fields.push(topic.key.len().to_string());
    fields.extend(topic.key.iter().map(usize::to_string));
    fields.push(topic.headers.len().to_string());
    for header in &topic.headers {
        fields.extend([header.name.clone(), header.column.to_string()]);
    }
    fields.extend(topic.columns.iter().flat_map(column_fields));
    fields
}

fn kind_fields(kind: &TableKind) -> Vec<String> {
    match kind {
        TableKind::Rows => vec!["rows".to_owned()],
        TableKind::Windows { key } => {
            let mut fields = vec!["windows".to_owned(), key.len().to_string()];
            fields.extend(key.iter().cloned());
            fields
        }
    }
}

fn column_fields(column: &Column) -> [String; 3] {
    let null = if column.nullable { "null" } else { "not null" };
    [
        column.name.clone(),
        type_name(column.data_type),
        null.to_owned(),
    ]
}

fn type_name(data_type: ColumnType) -> String {
    match data_type {
        ColumnType::Text => "text".to_owned(),
        ColumnType::Bigint => "bigint".to_owned(),
        ColumnType::Double => "double".to_owned(),
        ColumnType::Boolean => "boolean".to_owned(),
        ColumnType::Timestamp => "timestamp".to_owned(),
        ColumnType::Uuid => "uuid".to_owned(),
        ColumnType::Json => "json".to_owned(),
        ColumnType::Numeric { precision, scale } => format!("numeric({precision},{scale})"),
        ColumnType::Date => "date".to_owned(),
    }
}

/// A newer plan of the pipeline, which differs, has taken over: this one is not to run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewerPlan {
    /// Revision of the plan that was to run.
    pub ours: i64,
    /// Revision of the plan that has taken over.
    pub theirs: i64,
}

impl fmt::Display for NewerPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the plan of revision {} has been followed by revision {}, which differs: end this worker, or apply the pipeline again as it is to be",
            self.ours, self.theirs
        )
    }
}

impl std::error::Error for NewerPlan {}

/// A stored allotment cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableAllotment(String);

impl fmt::Display for UnreadableAllotment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pipeline's allotment of generations: {}", self.0)
    }
}

impl std::error::Error for UnreadableAllotment {}
