//! Aggregate steps: one query cut into what runs before and what runs after partials are merged.
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_expr::LogicalPlan;
use datafusion_expr::logical_plan::{
    Aggregate as AggregateNode, Filter, Projection, SubqueryAlias,
};

use crate::plan::Call;
use crate::problem::Code;
use crate::sql::SqlProblem;
use crate::sql::explain::analyse_all;
use crate::sql::lower::Lowered;
use crate::sql::parse::Parsed;
use crate::sql::refuse::{Context, judge};
use crate::sql::registry::Readable;
use crate::sql::result::internal;
use crate::sql::trace::Origin;
use crate::sql::translate::simplify;
use crate::sql::windowed::{WINDOW_END, WINDOW_START, expose_window};
use crate::steps::cut::Cut;
use crate::steps::merge::window_fields;

/// A windowed query, compiled.
#[derive(Debug)]
pub(crate) struct Aggregated {
    pub(crate) argument: Lowered,
    pub(crate) argument_schema: SchemaRef,
    pub(crate) argument_sees_window: bool,
    /// For each group column where it comes from in the input, unless it is computed.
    pub(crate) group_origins: Vec<Option<Vec<Origin>>>,
    pub(crate) call_schema: SchemaRef,
    pub(crate) calls: Vec<Call>,
    pub(crate) partial_schema: SchemaRef,
    pub(crate) merged_schema: SchemaRef,
    pub(crate) result: Lowered,
    pub(crate) schema: SchemaRef,
    /// Result columns: where each is a column of `merged_schema` as it stands.
    pub(crate) merged_columns: Vec<Option<usize>>,
    /// The same text for the same meaning.
    pub(crate) canonical: String,
}

/// Compiles the query of an aggregate step over its one input.
pub(crate) fn compile(
    parsed: &Parsed,
    inputs: &[Readable],
    is_session: bool,
) -> Result<Aggregated, Vec<SqlProblem>> {
    let [input] = inputs else {
        judge(parsed, Context::Aggregate, inputs)?;
        let message = format!(
            "an aggregate step reads one relation, and this query reads {}",
            inputs.len()
        );
        let problem = SqlProblem::new(Code::AggregateStep, message);
        return Err(vec![problem.help(
            "unite them with UNION ALL in a `sql` step before, and aggregate over that",
        )]);
    };
    if let Some(name) = [WINDOW_START, WINDOW_END]
        .iter()
        .find(|name| input.schema.field_with_name(name).is_ok())
    {
        return Err(vec![taken(name, &input.name)]);
    }
    judge(parsed, Context::Aggregate, inputs)?;
    let mut query = parsed.query.clone();
    expose_window(&mut query);
    let mut fields: Vec<Field> = input
        .schema
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    fields.extend(window_fields());
    let seen = Readable {
        name: input.name.clone(),
        schema: Arc::new(Schema::new(fields)),
    };
    let relations = std::slice::from_ref(&seen);
    let fail = |e: datafusion_common::DataFusionError| vec![internal(&e)];
    let plan = analyse_all(&query, parsed, relations)?;
    let plan = simplify(plan).map_err(fail)?;
    let node = find_aggregate(&plan).map_err(|problem| vec![problem])?;
    let cut = Cut::new(&plan, node, &seen, input.schema.fields().len())?;
    cut.compile(&plan, node, &seen, is_session)
}

fn taken(name: &str, input: &str) -> SqlProblem {
    let message = format!(
        "`{input}` already has a column `{name}`, which is where an aggregate step puts the window's bounds"
    );
    SqlProblem::new(Code::ReservedName, message)
        .help(format!(
            "rename it in a step before: `SELECT {name} AS started_at, ... FROM ...`"
        ))
        .about(input)
}

/// The one aggregation of a plan; above and below it only projections and filters.
fn find_aggregate(plan: &LogicalPlan) -> Result<&AggregateNode, SqlProblem> {
    match plan {
        LogicalPlan::Aggregate(node) => {
            is_row_wise(&node.input)?;
            Ok(node)
        }
        LogicalPlan::Projection(Projection { input, .. })
        | LogicalPlan::Filter(Filter { input, .. })
        | LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => find_aggregate(input),
        LogicalPlan::TableScan(_) | LogicalPlan::EmptyRelation(_) => Err(SqlProblem::new(
            Code::AggregateStep,
            "an aggregate step aggregates, and this query calls no aggregate function and has no GROUP BY",
        )
        .help("aggregate, such as `SELECT count(*) AS count FROM ...`, or make it a `sql` step")
        .about("SELECT")),
        other => Err(misplaced(other)),
    }
}

fn is_row_wise(plan: &LogicalPlan) -> Result<(), SqlProblem> {
    match plan {
        LogicalPlan::Projection(Projection { input, .. })
        | LogicalPlan::Filter(Filter { input, .. })
        | LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => is_row_wise(input),
        LogicalPlan::TableScan(_) => Ok(()),
        LogicalPlan::Aggregate(_) => Err(SqlProblem::new(
            Code::AggregateStep,
            "an aggregate step aggregates once, and this query aggregates an aggregate",
        )
        .help("aggregate what the first one yields in another aggregate step, which reads it by its name")
        .about("FROM")),
        other => Err(misplaced(other)),
    }
}

fn misplaced(plan: &LogicalPlan) -> SqlProblem {
    let (what, about) = match plan {
        LogicalPlan::Union(_) => ("UNION ALL", "UNION"),
        LogicalPlan::Unnest(_) => ("unnest", "unnest"),
        _ => ("this", "FROM"),
    };
    let message = format!(
        "an aggregate step reads one relation through SELECT and WHERE only, and {what} is more than that"
    );
    SqlProblem::new(Code::AggregateStep, message)
        .help("do it in a `sql` step of its own before, and aggregate over that")
        .about(about)
}
