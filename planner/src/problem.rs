//! What is wrong with a set of resources, where, and what to write instead.
use std::fmt;

use serde::Serialize;

use crate::resource::ResourceId;

/// One thing that is wrong, or odd, in a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Whether the resources can be run all the same.
    pub severity: Severity,
    /// A stable word for programs.
    pub code: Code,
    /// What is wrong, in one line.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The resource that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceId>,
    /// The step, output, source or field within the resource, such as "step `kpi`".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Path of the member within the resource, such as `spec.steps[1].sql`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Where the offending text is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Whether a problem keeps resources from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

/// A stretch of text within one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The file; none for resources that did not come from a file, whose lines are counted within the SQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length in characters, at least 1.
    pub length: usize,
    /// The whole line.
    pub text: String,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// What kind of problem it is: stable words for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $word)] $name,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

codes! {
    /// A file or folder cannot be read.
    Unreadable = "unreadable",
    /// The text is not YAML.
    YamlSyntax = "yaml-syntax",
    /// A document is not a Kubernetes resource.
    NotAResource = "not-a-resource",
    /// A document of another kind; it is left alone.
    IgnoredKind = "ignored-kind",
    /// There is nothing to run.
    NothingFound = "nothing-found",
    /// Two documents define the same resource.
    DuplicateResource = "duplicate-resource",
    /// The resource breaks the schema or a rule of its kind.
    InvalidField = "invalid-field",
    /// A Secret's data is not base64.
    InvalidSecret = "invalid-secret",

    /// An EventSource that does not exist.
    UnknownSource = "unknown-source",
    /// A Sink that does not exist.
    UnknownSink = "unknown-sink",
    /// A Secret that does not exist.
    UnknownSecret = "unknown-secret",
    /// A step or output reads something that does not exist.
    UnknownInput = "unknown-input",
    /// Two sources or steps of a pipeline share a name.
    DuplicateName = "duplicate-name",
    /// Steps that read each other in a circle.
    Cycle = "cycle",
    /// A step whose rows reach no output.
    UnreadStep = "unread-step",
    /// A source whose events reach no output.
    UnreadSource = "unread-source",
    /// A declared event time, key or field that does not fit together.
    InvalidSource = "invalid-source",
    /// An output whose rows no table can hold.
    UnstorableOutput = "unstorable-output",
    /// Two outputs fill one table.
    SharedTable = "shared-table",
    /// An output that would remove rows before they are final.
    ShortRetention = "short-retention",
    /// An output over a topic whose key, headers or retention do not fit its rows.
    InvalidTopic = "invalid-topic",
    /// An output would write to a topic that something else writes to, or that its own pipeline reads.
    SharedTopic = "shared-topic",
    /// An output and its Sink are of different kinds.
    OtherSinkKind = "other-sink-kind",
    /// Equal rows of a deduplication may be in different partitions.
    UndeterminedKey = "undetermined-key",
    /// A step that cannot read windows.
    WindowedInput = "windowed-input",
    /// A window or lateness that cannot be.
    InvalidWindow = "invalid-window",

    /// The text is not SQL.
    SqlSyntax = "sql-syntax",
    /// More or other than one SELECT.
    NotASelect = "not-a-select",
    /// SQL that a stream cannot answer batch by batch.
    RefusedSql = "refused-sql",
    /// GROUP BY or an aggregate function outside an aggregate step.
    AggregateOutsideStep = "aggregate-outside-step",
    /// An aggregate step that aggregates nothing, or more than once.
    AggregateStep = "aggregate-step",
    /// A function that depends on the clock or on chance.
    VolatileFunction = "volatile-function",
    /// An aggregate function whose state is not bounded or depends on order.
    RefusedAggregate = "refused-aggregate",
    /// A function that does not exist.
    UnknownFunction = "unknown-function",
    /// A relation in SQL that does not exist.
    UnknownTable = "unknown-table",
    /// A column that does not exist.
    UnknownColumn = "unknown-column",
    /// A column that is neither grouped nor aggregated.
    NotGrouped = "not-grouped",
    /// A group column that the result does not contain.
    GroupNotSelected = "group-not-selected",
    /// Types that do not fit.
    TypeMismatch = "type-mismatch",
    /// A constant that is no value of its type, or a call whose constants make it fail for every event.
    InvalidConstant = "invalid-constant",
    /// A column of the result whose type no table can store.
    UnstorableType = "unstorable-type",
    /// A column of the result without a name.
    UnnamedColumn = "unnamed-column",
    /// Two columns of the result share a name.
    DuplicateColumn = "duplicate-column",
    /// A name that is reserved.
    ReservedName = "reserved-name",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Problem {
    /// Whether this keeps the resources from running.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The problem as a person reads it, over several lines: message, place with a caret, resource, help.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.is_error() { "error" } else { "warning" };
        write!(f, "{severity}[{}]: {}", self.code, self.message)?;
        let mut gutter = String::new();
        if let Some(place) = &self.place {
            gutter = " ".repeat(place.line.to_string().len());
            let file = place
                .file
                .as_deref()
                .or(self.field.as_deref())
                .unwrap_or("?");
            write!(f, "\n{gutter}--> {file}:{}:{}", place.line, place.column)?;
            write!(f, "\n{gutter} |\n{} | {}", place.line, place.text)?;
            // Tabs stay tabs, so that the caret stands below its text in any terminal.
            let indent: String = place
                .text
                .chars()
                .take(place.column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(
                f,
                "\n{gutter} | {indent}{}",
                "^".repeat(place.length.max(1))
            )?;
        }
        match (&self.resource, &self.part) {
            (Some(resource), Some(part)) => write!(f, "\n{gutter} = in {resource}, {part}")?,
            (Some(resource), None) => write!(f, "\n{gutter} = in {resource}")?,
            (None, _) => {}
        }
        if let Some(help) = &self.help {
            write!(f, "\n{gutter} = help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// The problems as a person reads them, with a blank line between.
pub fn render(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    texts.join("\n\n")
}
