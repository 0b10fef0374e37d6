//! What makes a step the same step: its meaning, what it reads, and how its state is stored.
use std::fmt::Write;

use datafusion_common::Column;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::{Expr, LogicalPlan};
use sha2::{Digest, Sha256};
use tidewheel_decode::{EventFormat, EventSchema, Part, UnknownFields};

/// Version of the state's layout. Steps of different versions never share state.
pub const STATE_FORMAT: u32 = 1;

/// Hex digest over parts, each with its length so that none runs into the next.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    hash.update(STATE_FORMAT.to_le_bytes());
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut text = String::new();
    for byte in hash.finalize().iter().take(16) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What events are, and the columns of their key: field by field, as parts of a digest.
pub(crate) fn event_schema(events: &EventSchema, key: &[usize]) -> Vec<String> {
    let unknown = match events.unknown {
        UnknownFields::Keep => "keep",
        UnknownFields::Drop => "drop",
        UnknownFields::Reject => "reject",
    };
    let mut parts = vec![unknown.to_owned(), key.len().to_string()];
    parts.extend(key.iter().map(usize::to_string));
    for field in &events.fields {
        let required = if field.required {
            "required"
        } else {
            "optional"
        };
        // No path has blanks, so a part of the record is never taken for a member of the event.
        let place = match &field.part {
            Part::Value => field.path_text(),
            beside => format!("record {beside}"),
        };
        parts.extend([
            field.name.clone(),
            place,
            field.data_type.name().to_owned(),
            required.to_owned(),
        ]);
    }
    match events.format {
        EventFormat::Json => {}
        EventFormat::CloudEvents => parts.push("cloud events".to_owned()),
        EventFormat::Avro => parts.push("avro".to_owned()),
        EventFormat::Protobuf => parts.push("protobuf".to_owned()),
    }
    parts
}

/// A plan as text that is the same however its relations are called.
pub(crate) fn canonical(plan: &LogicalPlan) -> String {
    let mut text = String::new();
    let mut relations = Vec::new();
    write_node(plan, &mut relations, &mut text);
    text
}

fn write_node(plan: &LogicalPlan, relations: &mut Vec<String>, text: &mut String) {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => return write_node(&alias.input, relations, text),
        LogicalPlan::TableScan(scan) => {
            let name = scan.table_name.table();
            let index = relations.iter().position(|r| r == name).unwrap_or_else(|| {
                relations.push(name.to_owned());
                relations.len() - 1
            });
            let _ = write!(text, "input {index}");
        }
        LogicalPlan::Projection(projection) => write_exprs("project", &projection.expr, text),
        LogicalPlan::Filter(filter) => {
            write_exprs("filter", std::slice::from_ref(&filter.predicate), text)
        }
        LogicalPlan::Unnest(unnest) => {
            let _ = write!(
                text,
                "unnest {:?}",
                unnest
                    .list_type_columns
                    .iter()
                    .map(|(i, _)| i)
                    .collect::<Vec<_>>()
            );
        }
        LogicalPlan::Union(_) => text.push_str("union"),
        other => {
            let _ = write!(text, "{}", other.display());
        }
    }
    text.push('(');
    for input in plan.inputs() {
        write_node(input, relations, text);
        text.push(';');
    }
    text.push(')');
}

fn write_exprs(kind: &str, exprs: &[Expr], text: &mut String) {
    text.push_str(kind);
    for expr in exprs {
        let _ = write!(text, " [{}]", canonical_expr(expr));
    }
}

/// An expression without the names of relations.
pub(crate) fn canonical_expr(expr: &Expr) -> String {
    let unqualified = expr.clone().transform(|e| {
        Ok(match e {
            Expr::Column(column) => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    });
    match unqualified {
        Ok(expr) => expr.data.to_string(),
        Err(_) => expr.to_string(),
    }
}
