//! A plan as a person reads it.
use std::fmt;

use arrow::datatypes::{DataType, Schema};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use tidewheel_decode::EventFormat;

use crate::plan::{
    Aggregate, Call, ColumnType, LatePolicy, Output, Plan, Relation, RowNode, RowProgram, Source,
    Stage, Start, Step, StepKind, TableKind, Target, Topic, TopicCleanup, Window,
};
use crate::sql::types;

/// One line for each source, step and output, with what it does below it.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pipeline {}/{}", self.namespace, self.name)?;
        for source in &self.sources {
            write_source(f, source)?;
        }
        for step in &self.steps {
            self.write_step(f, step)?;
        }
        for output in &self.outputs {
            self.write_output(f, output)?;
        }
        write!(
            f,
            "dead letters are kept for {}",
            duration(self.dead_letter_retention_ms)
        )
    }
}

fn write_source(f: &mut fmt::Formatter<'_>, source: &Source) -> fmt::Result {
    let names = |columns: &[usize]| {
        let name = |c: &usize| {
            source
                .events
                .fields
                .get(*c)
                .map_or("?", |field| field.name.as_str())
        };
        columns.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let start = match source.start {
        Start::Earliest => "the earliest event".to_owned(),
        Start::Latest => "what comes next".to_owned(),
        Start::At(millis) => format!("{millis} ms since 1970"),
    };
    let topic = if source.foreign {
        format!("the existing topic {}", source.topic)
    } else {
        format!("{} partitions of {}", source.partitions, source.topic)
    };
    let format = match source.events.format {
        EventFormat::Json => "",
        EventFormat::CloudEvents => ", CloudEvents",
        EventFormat::Avro => ", Avro",
        EventFormat::Protobuf => ", Protobuf",
    };
    writeln!(f, "source {} ({topic}, from {start}{format})", source.name)?;
    writeln!(f, "  columns {}", schema(&source.events.arrow_schema()))?;
    writeln!(
        f,
        "  event time {}, {} out of order, {} in the future, idle after {}",
        names(&[source.event_time]),
        duration(source.max_out_of_order_ms),
        duration(source.max_future_ms),
        duration(source.idle_after_ms)
    )?;
    for field in &source.events.fields {
        if field.part != tidewheel_decode::Part::Value {
            writeln!(f, "  {} from the record's {}", field.name, field.part)?;
        }
    }
    if source.key.is_empty() {
        return writeln!(f, "  no key");
    }
    writeln!(f, "  key {}", names(&source.key))
}

impl Plan {
    fn relation(&self, relation: Relation) -> &str {
        match relation {
            Relation::Source(index) => self.sources.get(index).map_or("?", |s| s.name.as_str()),
            Relation::Step(index) => self.steps.get(index).map_or("?", |s| s.name.as_str()),
        }
    }

    fn write_step(&self, f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
        let stage = match step.stage {
            Stage::One => "stage 1".to_owned(),
            Stage::Two(aggregate) => {
                format!("stage 2 of {}", self.relation(Relation::Step(aggregate)))
            }
        };
        match &step.kind {
            StepKind::Rows(program) => {
                writeln!(f, "step {} (rows, {stage})", step.name)?;
                self.write_program(f, program, 1)?;
            }
            StepKind::Deduplicate(deduplicate) => {
                writeln!(f, "step {} (deduplicate, {stage})", step.name)?;
                let by: Vec<&str> = deduplicate
                    .by
                    .iter()
                    .map(|c| step.schema.field(*c).name().as_str())
                    .collect();
                let from = self.relation(deduplicate.from);
                writeln!(
                    f,
                    "  {from} by {} within {}",
                    by.join(", "),
                    duration(deduplicate.within_ms)
                )?;
            }
            StepKind::Aggregate(aggregate) => {
                match step.stage {
                    Stage::One => writeln!(f, "step {} (aggregate, {stage} and 2)", step.name)?,
                    Stage::Two(_) => {
                        writeln!(f, "step {} (aggregate, {stage} and its own)", step.name)?;
                    }
                }
                self.write_aggregate(f, aggregate)?;
            }
        }
        writeln!(f, "  columns {}", schema(&step.schema))
    }

    fn write_aggregate(&self, f: &mut fmt::Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
        let policy = match aggregate.late.policy {
            LatePolicy::Amend => "amend",
            LatePolicy::DeadLetter => "dead letter",
            LatePolicy::Drop => "drop",
        };
        let millis = |ms: i64| duration(u64::try_from(ms).unwrap_or_default());
        match aggregate.window {
            Window::Session { gap_ms } => write!(f, "  sessions with gaps of {}", millis(gap_ms))?,
            of_a_size => write!(f, "  windows of {}", millis(of_a_size.size_ms()))?,
        }
        if let Window::Hopping { every_ms, .. } = aggregate.window {
            let pane_ms = aggregate.window.pane_ms();
            write!(
                f,
                " every {} in panes of {}",
                millis(every_ms),
                millis(pane_ms)
            )?;
        }
        writeln!(
            f,
            ", late by {} at most ({policy})",
            millis(aggregate.late.allowed_ms)
        )?;
        let window = if aggregate.argument_sees_window {
            ", which computes with the window"
        } else {
            ""
        };
        writeln!(
            f,
            "  argument of {} group columns{window}",
            aggregate.group_columns
        )?;
        self.write_program(f, &aggregate.argument, 2)?;
        for call in &aggregate.calls {
            writeln!(f, "  call {}", call_text(call))?;
        }
        writeln!(
            f,
            "  partial {}, in {} partitions",
            schema(&aggregate.partial_schema),
            aggregate.partitions
        )?;
        writeln!(f, "  result")?;
        self.write_node(f, &aggregate.result.root, &|_| "merged".to_owned(), 2)
    }

    fn write_program(
        &self,
        f: &mut fmt::Formatter<'_>,
        program: &RowProgram,
        indent: usize,
    ) -> fmt::Result {
        let input = |index: usize| {
            program
                .inputs
                .get(index)
                .map_or("?", |r| self.relation(*r))
                .to_owned()
        };
        self.write_node(f, &program.root, &input, indent)
    }

    fn write_node(
        &self,
        f: &mut fmt::Formatter<'_>,
        node: &RowNode,
        input_name: &dyn Fn(usize) -> String,
        indent: usize,
    ) -> fmt::Result {
        let pad = "  ".repeat(indent);
        match node {
            RowNode::Input(index) => writeln!(f, "{pad}{}", input_name(*index)),
            RowNode::Empty(_) => writeln!(f, "{pad}nothing"),
            RowNode::Project {
                input,
                exprs,
                schema,
            } => {
                let columns: Vec<String> = exprs
                    .iter()
                    .zip(schema.fields())
                    .map(|(expr, field)| named(expr, field.name()))
                    .collect();
                writeln!(f, "{pad}project {}", columns.join(", "))?;
                self.write_node(f, input, input_name, indent + 1)
            }
            RowNode::Filter { input, predicate } => {
                writeln!(f, "{pad}filter {predicate}")?;
                self.write_node(f, input, input_name, indent + 1)
            }
            RowNode::Union { inputs, .. } => {
                writeln!(f, "{pad}union all")?;
                inputs
                    .iter()
                    .try_for_each(|input| self.write_node(f, input, input_name, indent + 1))
            }
            RowNode::Unnest {
                input,
                column,
                schema,
            } => {
                writeln!(f, "{pad}unnest {}", schema.field(*column).name())?;
                self.write_node(f, input, input_name, indent + 1)
            }
        }
    }

    fn write_output(&self, f: &mut fmt::Formatter<'_>, output: &Output) -> fmt::Result {
        let from = self.relation(output.from);
        match &output.target {
            Target::Table(table) => writeln!(
                f,
                "output {} ({from} to {}.{} of {})",
                output.name, table.schema, table.name, output.sink
            )?,
            Target::Topic(topic) => writeln!(
                f,
                "output {} ({from} to the topic {} of {})",
                output.name, topic.name, output.sink
            )?,
        }
        match output.kind() {
            TableKind::Rows => writeln!(f, "  rows")?,
            TableKind::Windows { key } => writeln!(f, "  windows by {}", key.join(", "))?,
        }
        if let Some(retention_ms) = output.table().and_then(|table| table.retention_ms) {
            writeln!(f, "  kept for {}", duration(retention_ms))?;
        }
        if let Target::Topic(topic) = &output.target {
            write_topic(f, topic)?;
        }
        let column = |c: &crate::plan::Column| {
            let data_type = match c.data_type {
                ColumnType::Numeric { precision, scale } => {
                    format!("numeric({precision}, {scale})")
                }
                other => format!("{other:?}").to_lowercase(),
            };
            format!(
                "{} {data_type}{}",
                c.name,
                if c.nullable { "" } else { " not null" }
            )
        };
        writeln!(
            f,
            "  columns {}",
            output
                .columns()
                .iter()
                .map(column)
                .collect::<Vec<_>>()
                .join(", ")
        )
    }
}

fn write_topic(f: &mut fmt::Formatter<'_>, topic: &Topic) -> fmt::Result {
    let cleanup = match topic.cleanup {
        TopicCleanup::Retention { ms } => format!("kept for {}", duration(ms)),
        TopicCleanup::Compact => "compacted".to_owned(),
    };
    writeln!(f, "  {} partitions, {cleanup}", topic.partitions)?;
    let name = |&column: &usize| topic.columns[column].name.as_str();
    match topic.key.as_slice() {
        [] => writeln!(f, "  no key")?,
        key => writeln!(
            f,
            "  key {}",
            key.iter().map(name).collect::<Vec<_>>().join(", ")
        )?,
    }
    for header in &topic.headers {
        writeln!(f, "  header {} from {}", header.name, name(&header.column))?;
    }
    Ok(())
}

fn named(expr: &std::sync::Arc<dyn PhysicalExpr>, name: &str) -> String {
    match expr.downcast_ref::<Column>() {
        Some(column) if column.name() == name => format!("{column}"),
        _ => format!("{expr} as {name}"),
    }
}

fn call_text(call: &Call) -> String {
    let function = &call.function;
    let args: Vec<String> = function
        .expressions()
        .iter()
        .map(ToString::to_string)
        .collect();
    let order: Vec<String> = function
        .order_bys()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut text = format!("{}({})", function.fun().name(), args.join(", "));
    if !order.is_empty() {
        text.push_str(&format!(" order by {}", order.join(", ")));
    }
    if let Some(filter) = &call.filter {
        text.push_str(&format!(" where {filter}"));
    }
    text
}

fn schema(schema: &Schema) -> String {
    let field = |f: &arrow::datatypes::Field| {
        let marker = types::marker(f).into_values().next();
        let data_type = marker.unwrap_or_else(|| match f.data_type() {
            DataType::List(_) | DataType::Binary | DataType::LargeBinary | DataType::UInt64 => {
                f.data_type().to_string()
            }
            other => types::name(other),
        });
        format!(
            "{} {data_type}{}",
            f.name(),
            if f.is_nullable() { "" } else { " not null" }
        )
    };
    schema
        .fields()
        .iter()
        .map(|f| field(f))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A duration as specs have it, such as `1h30m`.
pub(crate) fn duration(millis: u64) -> String {
    tidewheel_crds::Duration::from_millis(millis).to_string()
}
