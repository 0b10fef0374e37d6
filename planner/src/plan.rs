//! The typed plan: what the planner makes of a Pipeline and what the engine runs.
//!
//! ```mermaid
//! flowchart LR
//!   source --> rows[row-wise steps] --> dedup[deduplicate] --> partial[partial aggregate]
//!   dedup --> rowout[(row output)]
//!   partial -- partials topic, hashed by group key --> merge --> result[HAVING, arithmetic, row-wise steps] --> windowout[(window output)]
//! ```
//!
//! Everything left of the partials topic is stage 1 (a task per source partition), everything right of it stage 2
//! (a task per partition of the partials topic).
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;

pub use crate::window::Window;

/// A validated pipeline.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Namespace of the Pipeline.
    pub namespace: String,
    /// Name of the Pipeline.
    pub name: String,
    /// Age of the resource as whoever resolved it counts it, for example its `metadata.generation`: of two plans that differ, the one
    /// with the lower number is old and no longer runs. None: it is the newest there is.
    pub revision: Option<i64>,
    /// The sources it reads, in the order of the spec.
    pub sources: Vec<Source>,
    /// The steps in an order in which each follows what it reads.
    pub steps: Vec<Step>,
    /// The outputs, in the order of the spec.
    pub outputs: Vec<Output>,
    /// How long dead letters are kept.
    pub dead_letter_retention_ms: u64,
}

impl Plan {
    /// `<namespace>/<name>` of the Pipeline.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The Sinks (`<namespace>/<name>`) that it has tables in, each once for every table.
    pub fn table_sinks(&self) -> impl Iterator<Item = &str> {
        let tables = self
            .outputs
            .iter()
            .filter(|output| output.table().is_some());
        tables.map(|output| output.sink.as_str())
    }

    /// The aggregate step whose windows the rows of a relation are made of; none where they are rows of events.
    pub fn aggregate_behind(&self, relation: Relation) -> Option<usize> {
        let Relation::Step(step) = relation else {
            return None;
        };
        match (self.steps[step].stage, &self.steps[step].kind) {
            (_, StepKind::Aggregate(_)) => Some(step),
            (Stage::Two(aggregate), _) => Some(aggregate),
            (Stage::One, _) => None,
        }
    }

    /// What an aggregate step computes; none of other steps.
    pub fn aggregate(&self, step: usize) -> Option<&Aggregate> {
        match &self.steps.get(step)?.kind {
            StepKind::Aggregate(aggregate) => Some(aggregate),
            StepKind::Rows(_) | StepKind::Deduplicate(_) => None,
        }
    }

    /// The aggregate step whose windows another one aggregates; none where that one aggregates events.
    pub fn fed_by(&self, step: usize) -> Option<usize> {
        match (self.steps[step].stage, &self.steps[step].kind) {
            (Stage::Two(inner), StepKind::Aggregate(_)) => Some(inner),
            _ => None,
        }
    }

    /// The aggregate steps that aggregate the windows of this one, in order.
    pub fn fed_from(&self, step: usize) -> impl Iterator<Item = usize> {
        (0..self.steps.len()).filter(move |&outer| self.fed_by(outer) == Some(step))
    }

    /// The aggregate steps that windows over windows tie to this one, itself included, in order: it alone where there are none.
    pub fn chain(&self, step: usize) -> Vec<usize> {
        let mut first = step;
        while let Some(inner) = self.fed_by(first) {
            first = inner;
        }
        let mut chain = vec![first];
        for outer in 0..self.steps.len() {
            // Each step follows what it reads.
            if self
                .fed_by(outer)
                .is_some_and(|inner| chain.contains(&inner))
            {
                chain.push(outer);
            }
        }
        chain
    }

    /// The existing topics that it reads.
    pub fn existing_topics(&self) -> impl Iterator<Item = &str> {
        let foreign = self.sources.iter().filter(|source| source.foreign);
        foreign.map(|source| source.topic.as_str())
    }

    /// The same plan, with the partitions that existing topics have, by name: whoever makes its topics asks for them first. It stays the
    /// same plan, and its workers ask for themselves.
    #[must_use]
    pub fn with_partitions(&self, found: &BTreeMap<String, u32>) -> Self {
        let mut plan = self.clone();
        for source in plan.sources.iter_mut().filter(|source| source.foreign) {
            if let Some(&partitions) = found.get(&source.topic) {
                source.partitions = partitions;
            }
        }
        plan
    }
}

/// What a step or an output reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Index into [`Plan::sources`].
    Source(usize),
    /// Index into [`Plan::steps`].
    Step(usize),
}

/// A source of events.
#[derive(Debug, Clone)]
pub struct Source {
    /// Name of the EventSource, which is also its name in SQL.
    pub name: String,
    /// Topic that holds its events: `<namespace>.<name>`, or an existing one.
    pub topic: String,
    /// Whether the topic is somebody else's: it is never altered, its partitions and its retention are its own, and its records have
    /// the timestamps that their producers gave them.
    pub foreign: bool,
    /// Where the schemas are that its records name.
    pub registry: Option<SchemaRegistry>,
    /// Declared partitions of the topic; of a foreign one those that are assumed: see [`Plan::with_partitions`].
    pub partitions: u32,
    /// How long the topic keeps events; says nothing of a foreign one.
    pub retention_ms: u64,
    /// How events are decoded; `events.arrow_schema()` is what SQL sees.
    pub events: Arc<tidewheel_decode::EventSchema>,
    /// Columns that make the message key (indices into `events.fields`).
    pub key: Vec<usize>,
    /// Index of the event-time column in `events.fields`.
    pub event_time: usize,
    /// How far behind the newest event time the watermark stays.
    pub max_out_of_order_ms: u64,
    /// How far ahead of its append time an event may claim to be.
    pub max_future_ms: u64,
    /// After how long at its end a partition counts as idle.
    pub idle_after_ms: u64,
    /// Where the pipeline starts to read, the first time only.
    pub start: Start,
}

impl Source {
    /// How far behind the newest event time the watermark stays, ms.
    pub fn out_of_order_ms(&self) -> i64 {
        i64::try_from(self.max_out_of_order_ms).unwrap_or(i64::MAX)
    }
}

/// A schema registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaRegistry {
    /// Its address.
    pub url: String,
    /// The Secret with what it wants to be shown, in the namespace of the pipeline.
    pub secret: Option<String>,
}

/// Where reading begins when nothing was read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The oldest retained event.
    Earliest,
    /// Only what is appended from now on.
    Latest,
    /// The first event appended at or after this time (ms since the epoch).
    At(i64),
}

/// A named step.
#[derive(Debug, Clone)]
pub struct Step {
    /// Name, as other steps and outputs refer to it.
    pub name: String,
    /// Columns of its rows.
    pub schema: SchemaRef,
    /// Where it runs.
    pub stage: Stage,
    /// What it does.
    pub kind: StepKind,
    /// Hex digest over its meaning, its inputs' fingerprints and the state format. Equal fingerprints may share state.
    pub fingerprint: String,
}

/// Which task runs a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The tasks of source partitions. Aggregate steps are here too: their partial half runs in stage 1.
    One,
    /// The tasks of the partials of this aggregate step (index into [`Plan::steps`]). Aggregate steps over its windows are here: these tasks
    /// run their partial half.
    Two(usize),
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum StepKind {
    /// Row-wise SQL: any number of rows out for each row in, each decided by that row alone.
    Rows(RowProgram),
    /// Drops rows whose key was appended before, within a horizon.
    Deduplicate(Deduplicate),
    /// Windowed aggregation.
    Aggregate(Box<Aggregate>),
}

impl StepKind {
    /// The relations that the step reads.
    pub fn reads(&self) -> &[Relation] {
        match self {
            Self::Rows(program) => &program.inputs,
            Self::Deduplicate(step) => std::slice::from_ref(&step.from),
            Self::Aggregate(aggregate) => &aggregate.argument.inputs,
        }
    }
}

/// Row-wise SQL, compiled to expressions that are evaluated batch by batch, without any I/O.
#[derive(Debug, Clone)]
pub struct RowProgram {
    /// The relations it reads; [`RowNode::Input`] is an index into this list.
    pub inputs: Vec<Relation>,
    /// The root of the tree.
    pub root: RowNode,
    /// Columns that it yields.
    pub schema: SchemaRef,
}

/// A node of a [`RowProgram`].
#[derive(Debug, Clone)]
pub enum RowNode {
    /// The rows of `RowProgram::inputs[i]`, whole.
    Input(usize),
    /// No rows at all (what `WHERE false` becomes).
    Empty(SchemaRef),
    /// Computes each column by an expression over the input's columns.
    Project {
        /// Where the rows come from.
        input: Box<RowNode>,
        /// One expression for each column of `schema`.
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        /// Columns that come out.
        schema: SchemaRef,
    },
    /// Keeps the rows for which the predicate is true (not false, not null).
    Filter {
        /// Where the rows come from.
        input: Box<RowNode>,
        /// A boolean expression over the input's columns.
        predicate: Arc<dyn PhysicalExpr>,
    },
    /// All rows of all inputs (UNION ALL), columns by position, already of equal types.
    Union {
        /// At least one.
        inputs: Vec<RowNode>,
        /// Columns that come out.
        schema: SchemaRef,
    },
    /// One row for each element of a list column (rows with an empty or null list yield none).
    Unnest {
        /// Where the rows come from.
        input: Box<RowNode>,
        /// Index of the list column, which the element takes the place of.
        column: usize,
        /// Columns that come out.
        schema: SchemaRef,
    },
}

/// Drops duplicates: a row whose `by` equals that of a row of a record appended at most `within_ms` before, in the same partition.
#[derive(Debug, Clone)]
pub struct Deduplicate {
    /// What it reads.
    pub from: Relation,
    /// Columns of `from` that identify an event.
    pub by: Vec<usize>,
    /// The horizon, in append time.
    pub within_ms: u64,
}

/// Windowed aggregation, cut in two: `argument` and `calls` make partials in stage 1, `calls` and `result` make rows in stage 2.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// Rows in; out come the group columns first, then what the calls take as arguments.
    /// It has exactly one input. Where `argument_sees_window` is set, that input has two more columns at its end,
    /// `window_start` and `window_end`.
    pub argument: RowProgram,
    /// Whether `argument` computes with the window's bounds. Not where windows overlap: an event is aggregated once for all of its windows.
    pub argument_sees_window: bool,
    /// How many of `argument.schema`'s first columns are the group key (the window itself not counted).
    pub group_columns: usize,
    /// The schema that `calls` and `filters` are bound to: `argument.schema` and [`ORDER_COLUMNS`].
    pub call_schema: SchemaRef,
    /// The aggregate functions. Where windows are sessions one more, the last: the time of the last event.
    pub calls: Vec<Call>,
    /// The windows.
    pub window: Window,
    /// How late an event may be, and what becomes of those that are later.
    pub late: Late,
    /// Columns of a partial: `_window` (start of the pane, ms: that of the window where windows do not overlap, of sessions the first event), group columns, the state columns of each call in turn, `_contributions`.
    pub partial_schema: SchemaRef,
    /// What `result` reads: group columns, `window_start`, `window_end`, then one column for each call.
    pub merged_schema: SchemaRef,
    /// HAVING and arithmetic over aggregates: `merged_schema` in (its only input, whose [`Relation`] is not to be looked at), the step's rows out.
    pub result: RowProgram,
    /// Partitions of the partials topic.
    pub partitions: u32,
}

/// One call of an aggregate function.
#[derive(Debug, Clone)]
pub struct Call {
    /// The function with its arguments bound to [`Aggregate::call_schema`].
    pub function: Arc<AggregateFunctionExpr>,
    /// `FILTER (WHERE ...)`, bound to the same schema.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
}

/// Columns the engine appends after `argument.schema` to order `first_value` and `last_value` by event time,
/// ties broken by the place in the log: `_event_time` (timestamp), `_partition` (Int32, which of all source partitions that feed the step), `_offset` (Int64), `_ordinal` (Int32, the row within its record).
pub const ORDER_COLUMNS: [&str; 4] = ["_event_time", "_partition", "_offset", "_ordinal"];

/// Late data of an aggregate step. A row counts while the watermark of its partition is below window end + `allowed_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// How far the watermark may have passed a window's end.
    pub allowed_ms: i64,
    /// What else.
    pub policy: LatePolicy,
}

/// What an aggregate step does about late rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatePolicy {
    /// Emit when the watermark passes the window's end and again whenever an allowed late row changes it; later rows are dead letters.
    Amend,
    /// Emit once, when the watermark passes window end + allowed; later rows are dead letters.
    DeadLetter,
    /// Emit once, when the watermark passes window end + allowed; later rows are counted and dropped.
    Drop,
}

/// A named output.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its identity: progress and ledger hang on it.
    pub name: String,
    /// What it writes.
    pub from: Relation,
    /// `<namespace>/<name>` of its Sink.
    pub sink: String,
    /// Where its rows go.
    pub target: Target,
}

/// Where the rows of an output go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A table, which keeps its progress itself.
    Table(Table),
    /// A topic, which is written in the transactions of the tasks: their progress is its progress.
    Topic(Topic),
}

impl Output {
    /// The table that it fills, where it fills one.
    pub fn table(&self) -> Option<&Table> {
        match &self.target {
            Target::Table(table) => Some(table),
            Target::Topic(_) => None,
        }
    }

    /// The topic that it fills, where it fills one.
    pub fn topic(&self) -> Option<&Topic> {
        match &self.target {
            Target::Table(_) => None,
            Target::Topic(topic) => Some(topic),
        }
    }

    /// What its rows are.
    pub fn kind(&self) -> &TableKind {
        match &self.target {
            Target::Table(table) => &table.kind,
            Target::Topic(topic) => &topic.kind,
        }
    }

    /// The columns of its rows, those that a table has beyond them included.
    pub fn columns(&self) -> &[Column] {
        match &self.target {
            Target::Table(table) => &table.columns,
            Target::Topic(topic) => &topic.columns,
        }
    }
}

/// A topic of an output. Rows are JSON objects; where they come from (`_generation`, `_partition`, `_offset`, and `_ordinal` or `_revision`)
/// stands in headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Name, as it stands on the cluster.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// What becomes of old records.
    pub cleanup: TopicCleanup,
    /// The members of its objects.
    pub columns: Vec<Column>,
    /// What rows mean. Of windows the newest record of a key counts, and a key without a value has no row.
    pub kind: TableKind,
    /// The columns that make the message key (indices into `columns`); none: records have no key.
    pub key: Vec<usize>,
    /// Headers with values of columns.
    pub headers: Vec<HeaderColumn>,
}

impl Topic {
    /// Largest record that is written: its key, value and headers, in bytes. What Kafka takes unless told otherwise, with room for what its
    /// protocol adds.
    pub const MAX_RECORD_BYTES: usize = 1_000_000;
}

/// What becomes of old records of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicCleanup {
    /// They go when they are older than this.
    Retention {
        /// Age by append time, ms.
        ms: u64,
    },
    /// The newest record of each key stays.
    Compact,
}

/// A header that holds the value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderColumn {
    /// Name of the header.
    pub name: String,
    /// Index into the columns of the rows.
    pub column: usize,
}

/// A table of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Schema (namespace of tables) in the database.
    pub schema: String,
    /// Name of the table.
    pub name: String,
    /// Columns, those of the rows first, then ours (`_...`).
    pub columns: Vec<Column>,
    /// What rows mean.
    pub kind: TableKind,
    /// How long rows stay, from their append time or from the start of their window. None: for ever.
    pub retention_ms: Option<u64>,
}

/// When the log appended the record that a row comes from: a column of tables of rows that are kept for a time.
pub const APPEND_TIME: &str = "_append_time";

/// What the rows of an output are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableKind {
    /// Rows are appended. Ours in tables: `_generation`, `_partition`, `_offset`, `_ordinal` (Bigint); and [`APPEND_TIME`] (Timestamp) where
    /// they are kept for a time.
    Rows,
    /// Rows of windows, upserted by key and only forward. Ours in tables: `_generation`, `_partition`, `_offset`, `_revision` (Bigint).
    Windows {
        /// Names of the columns that identify a row: `window_start` and the group columns. NULLs are equal.
        key: Vec<String>,
    },
}

impl Table {
    /// Names of the columns that identify a row of windows; none for other rows.
    pub fn key(&self) -> &[String] {
        match &self.kind {
            TableKind::Rows => &[],
            TableKind::Windows { key } => key,
        }
    }

    /// Whether a column is one of ours.
    pub fn is_ours(&self, column: &str) -> bool {
        column == APPEND_TIME || self.kind.position_columns().contains(&column)
    }

    /// Whether rows have the column [`APPEND_TIME`].
    pub fn has_append_time(&self) -> bool {
        matches!(self.kind, TableKind::Rows) && self.retention_ms.is_some()
    }
}

impl TableKind {
    /// Names of our columns, which say where a row comes from. They are never NULL.
    pub fn position_columns(&self) -> &'static [&'static str] {
        match self {
            Self::Rows => &["_generation", "_partition", "_offset", "_ordinal"],
            Self::Windows { .. } => &["_generation", "_partition", "_offset", "_revision"],
        }
    }

    /// What the rows are, in a word: `rows` or `windows`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Windows { .. } => "windows",
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type.
    pub data_type: ColumnType,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// Types of columns that every sink can store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 without NUL. Arrow: Utf8.
    Text,
    /// 64-bit signed. Arrow: Int64.
    Bigint,
    /// IEEE 754 double. Arrow: Float64.
    Double,
    /// Arrow: Boolean.
    Boolean,
    /// Microseconds in UTC. Arrow: Timestamp(Microsecond, "+00:00").
    Timestamp,
    /// Lower-case canonical text. Arrow: Utf8 with the metadata `tidewheel.type=uuid`.
    Uuid,
    /// JSON text. Arrow: Utf8 with the metadata `tidewheel.type=json`.
    Json,
    /// Exact decimal. Arrow: Decimal128.
    Numeric {
        /// Digits in all, at most 38.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// A calendar date. Arrow: Date32.
    Date,
}
