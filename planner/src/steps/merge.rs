//! What goes into the merge of partials and what comes out of it: schemas, and the rest of the query over merged rows.
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::Result as DfResult;
use datafusion_expr::LogicalPlan;
use datafusion_expr::logical_plan::{Filter, Projection, SubqueryAlias};

use crate::plan::{Call, ORDER_COLUMNS};
use crate::sql::types::timestamp;
use crate::sql::windowed::{WINDOW_END, WINDOW_START};

/// Name by which the result program reads merged rows.
pub(crate) const MERGED: &str = "_merged";

/// The fields of the window's bounds.
pub(crate) fn window_fields() -> [Field; 2] {
    [
        Field::new(WINDOW_START, timestamp(), false),
        Field::new(WINDOW_END, timestamp(), false),
    ]
}

/// `plan` with `rows` in the place of its aggregation.
pub(crate) fn above(plan: &LogicalPlan, rows: &Arc<LogicalPlan>) -> DfResult<Arc<LogicalPlan>> {
    Ok(match plan {
        LogicalPlan::Projection(p) => Arc::new(LogicalPlan::Projection(Projection::try_new(
            p.expr.clone(),
            above(&p.input, rows)?,
        )?)),
        LogicalPlan::Filter(f) => Arc::new(LogicalPlan::Filter(Filter::try_new(
            f.predicate.clone(),
            above(&f.input, rows)?,
        )?)),
        LogicalPlan::SubqueryAlias(a) => Arc::new(LogicalPlan::SubqueryAlias(
            SubqueryAlias::try_new(above(&a.input, rows)?, a.alias.clone())?,
        )),
        _ => Arc::clone(rows),
    })
}

/// Whether a plan computes with the two columns at the end of its input.
pub(crate) fn reads_window(plan: &LogicalPlan, input_columns: usize) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => match &scan.projection {
            Some(projection) => projection.iter().any(|column| *column >= input_columns),
            None => true,
        },
        other => other
            .inputs()
            .iter()
            .any(|input| reads_window(input, input_columns)),
    }
}

/// The argument's columns and those that order rows.
pub(crate) fn call_schema(argument: &Schema) -> SchemaRef {
    let mut fields: Vec<Field> = argument
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    let types = [
        timestamp(),
        DataType::Int32,
        DataType::Int64,
        DataType::Int32,
    ];
    fields.extend(
        ORDER_COLUMNS
            .into_iter()
            .zip(types)
            .map(|(name, data_type)| Field::new(name, data_type, false)),
    );
    Arc::new(Schema::new(fields))
}

pub(crate) fn partial_schema(groups: &[Field], calls: &[Call]) -> DfResult<SchemaRef> {
    let mut fields = vec![Field::new("_window", DataType::Int64, false)];
    fields.extend(groups.iter().cloned());
    for (index, call) in calls.iter().enumerate() {
        for (part, state) in call.function.state_fields()?.iter().enumerate() {
            fields.push(Field::new(
                format!("_call_{index}_{part}"),
                state.data_type().clone(),
                true,
            ));
        }
    }
    fields.push(Field::new("_contributions", DataType::Int64, false));
    Ok(Arc::new(Schema::new(fields)))
}

pub(crate) fn merged_schema(groups: &[Field], calls: &[Call]) -> SchemaRef {
    let mut fields = groups.to_vec();
    fields.extend(window_fields());
    for (index, call) in calls.iter().enumerate() {
        fields.push(Field::new(
            format!("_call_{index}"),
            call.function.field().data_type().clone(),
            true,
        ));
    }
    Arc::new(Schema::new(fields))
}
