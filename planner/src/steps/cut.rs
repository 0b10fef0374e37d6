//! The cut through a query at its aggregation: arguments before, calls, and the rest of the query after.
use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{Column, Result as DfResult, TableReference};
use datafusion_expr::logical_plan::{
    Aggregate as AggregateNode, Filter, Projection, SubqueryAlias, TableScanBuilder,
};
use datafusion_expr::{Expr, LogicalPlan, cast, lit};

use crate::fingerprint::canonical_expr;
use crate::plan::Call;
use crate::problem::Code;
use crate::sql::lower::lower;
use crate::sql::registry::{Readable, RelationSource};
use crate::sql::result::{finish, internal};
use crate::sql::trace::{Origin, plain_column, trace};
use crate::sql::translate::optimise;
use crate::sql::types::{marker, stored};
use crate::sql::windowed::{WINDOW_END, WINDOW_START};
use crate::sql::{SqlProblem, types};
use crate::steps::aggregate::Aggregated;
use crate::steps::call::{Argument, CallSpec, last_event};
use crate::steps::merge::{
    MERGED, above, call_schema, merged_schema, partial_schema, reads_window,
};

/// A column of the aggregation's argument rows.
struct ArgumentColumn {
    name: String,
    expr: Expr,
    data_type: DataType,
    nullable: bool,
    metadata: HashMap<String, String>,
}

/// The cut through a query at its aggregation.
pub(crate) struct Cut {
    /// Group columns first, then arguments of calls.
    columns: Vec<ArgumentColumn>,
    /// For each output column of the aggregation what it is.
    outputs: Vec<Output>,
    calls: Vec<CallSpec>,
    groups: usize,
}

/// What a column of the aggregation's output is after the merge.
enum Output {
    Group(usize),
    WindowStart,
    WindowEnd,
    Call(usize),
}

impl Cut {
    pub(crate) fn new(
        plan: &LogicalPlan,
        node: &AggregateNode,
        seen: &Readable,
        input_columns: usize,
    ) -> Result<Self, Vec<SqlProblem>> {
        let mut problems = Vec::new();
        let mut cut = Self {
            columns: Vec::new(),
            outputs: Vec::new(),
            calls: Vec::new(),
            groups: 0,
        };
        let bound = |expr: &Expr| {
            let column = plain_column(expr)?;
            let index = node.input.schema().maybe_index_of_column(column)?;
            let origin = trace(&node.input, index)?.into_iter().next()?;
            origin.column.checked_sub(input_columns)
        };
        for (index, expr) in node.group_expr.iter().enumerate() {
            match bound(expr) {
                Some(0) => cut.outputs.push(Output::WindowStart),
                Some(_) => cut.outputs.push(Output::WindowEnd),
                None => match cut.add_group(plan, node, index, expr, seen) {
                    Ok(()) => cut.outputs.push(Output::Group(cut.groups - 1)),
                    Err(problem) => problems.push(problem),
                },
            }
        }
        let has = |wanted: fn(&Output) -> bool| cut.outputs.iter().any(wanted);
        if !has(|o| matches!(o, Output::WindowStart)) || !has(|o| matches!(o, Output::WindowEnd)) {
            problems.push(not_the_window(WINDOW_START));
        }
        for expr in &node.aggr_expr {
            match CallSpec::new(expr, &node.input) {
                Ok(call) => {
                    let call = call.place(|argument| cut.add_argument(argument, &node.input));
                    cut.outputs.push(Output::Call(cut.calls.len()));
                    cut.calls.push(call);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(cut)
        } else {
            Err(problems)
        }
    }

    /// Adds a group column, named as the result names it: a row must say which group it is of.
    fn add_group(
        &mut self,
        plan: &LogicalPlan,
        node: &AggregateNode,
        index: usize,
        expr: &Expr,
        seen: &Readable,
    ) -> Result<(), SqlProblem> {
        let shown = canonical_expr(&expr.clone().unalias());
        let column = plain_column(expr);
        let about = column.map_or("GROUP", |column| column.name.as_str());
        let Some(name) = result_name(plan, index) else {
            let message = format!(
                "the query groups by `{shown}`, but its result does not tell the groups apart by it"
            );
            return Err(SqlProblem::new(Code::GroupNotSelected, message)
                .help(format!("add `{shown}` to the SELECT list"))
                .about(about));
        };
        if name == WINDOW_START || name == WINDOW_END {
            return Err(not_the_window(&name));
        }
        let (_, field) = node.schema.qualified_field(index);
        let Some(data_type) = stored(field.data_type()) else {
            let message = format!(
                "`{shown}` is {}, and rows cannot be grouped by that",
                types::name(field.data_type())
            );
            return Err(SqlProblem::new(Code::UnstorableType, message)
                .help("group by a text, number, boolean, date or timestamp")
                .about(about));
        };
        let column = column.and_then(|c| node.input.schema().maybe_index_of_column(c));
        let origins = column.and_then(|index| trace(&node.input, index));
        let source = origins
            .iter()
            .flatten()
            .next()
            .and_then(|o| seen.schema.fields().get(o.column));
        let expr = if *field.data_type() == data_type {
            expr.clone()
        } else {
            cast(expr.clone(), data_type.clone())
        };
        self.columns.push(ArgumentColumn {
            name,
            expr,
            data_type,
            nullable: source.is_none_or(|f| f.is_nullable()),
            metadata: source.map(|f| marker(f)).unwrap_or_default(),
        });
        self.groups += 1;
        Ok(())
    }

    /// The index of the column that holds an argument, which may be there already.
    fn add_argument(&mut self, argument: &Argument, input: &LogicalPlan) -> usize {
        let found = self
            .columns
            .iter()
            .skip(self.groups)
            .position(|column| column.expr == argument.expr);
        if let Some(index) = found {
            return self.groups + index;
        }
        let nullable = plain_column(&argument.expr)
            .and_then(|column| input.schema().maybe_index_of_column(column))
            .is_none_or(|index| input.schema().field(index).is_nullable());
        self.columns.push(ArgumentColumn {
            name: format!("_arg_{}", self.columns.len() - self.groups),
            expr: argument.expr.clone(),
            data_type: argument.data_type.clone(),
            nullable,
            metadata: Default::default(),
        });
        self.columns.len() - 1
    }

    pub(crate) fn compile(
        self,
        plan: &LogicalPlan,
        node: &AggregateNode,
        seen: &Readable,
        is_session: bool,
    ) -> Result<Aggregated, Vec<SqlProblem>> {
        let fail = |e: datafusion_common::DataFusionError| vec![internal(&e)];
        let (argument_plan, argument_schema) = self.argument(&node.input).map_err(fail)?;
        let input_columns = seen.schema.fields().len() - 2;
        let argument_sees_window = reads_window(&argument_plan, input_columns);
        let argument =
            lower(&argument_plan, &argument_schema, std::slice::from_ref(seen)).map_err(fail)?;
        let call_schema = call_schema(&argument_schema);
        let mut calls: Vec<Call> = self
            .calls
            .iter()
            .map(|call| call.build(&call_schema))
            .collect::<DfResult<_>>()
            .map_err(fail)?;
        let unusable: Vec<SqlProblem> = self
            .calls
            .iter()
            .zip(&calls)
            .filter_map(|(spec, call)| spec.try_out(call).err())
            .collect();
        if !unusable.is_empty() {
            return Err(unusable);
        }
        if is_session {
            calls.push(last_event(&call_schema).map_err(fail)?);
        }
        let group_fields: Vec<Field> = argument_schema
            .fields()
            .iter()
            .take(self.groups)
            .map(|f| f.as_ref().clone())
            .collect();
        let partial_schema = partial_schema(&group_fields, &calls).map_err(fail)?;
        let merged_schema = merged_schema(&group_fields, &calls);
        let merged = Readable {
            name: MERGED.to_owned(),
            schema: Arc::clone(&merged_schema),
        };
        let result_plan = self.after_merge(plan, node, &merged_schema).map_err(fail)?;
        let result = finish(result_plan, std::slice::from_ref(&merged))?;
        let merged_columns = self.merged_columns(plan, node).map_err(fail)?;
        for (name, index) in [(WINDOW_START, self.groups), (WINDOW_END, self.groups + 1)] {
            let at = result.schema.index_of(name).ok();
            if at.is_some_and(|at| merged_columns[at] != Some(index)) {
                return Err(vec![not_the_window(name)]);
            }
        }
        let result_plan = optimise(result.plan).map_err(fail)?;
        let lowered =
            lower(&result_plan, &result.schema, std::slice::from_ref(&merged)).map_err(fail)?;
        let canonical = self.canonical(&argument_plan, &result_plan, &partial_schema);
        Ok(Aggregated {
            argument,
            argument_sees_window,
            group_origins: self.group_origins(node),
            argument_schema,
            call_schema,
            calls,
            partial_schema,
            merged_schema,
            result: lowered,
            schema: result.schema,
            merged_columns,
            canonical,
        })
    }

    /// What runs before: group columns and arguments, computed from the input.
    fn argument(&self, input: &Arc<LogicalPlan>) -> DfResult<(LogicalPlan, SchemaRef)> {
        let mut exprs: Vec<Expr> = self
            .columns
            .iter()
            .map(|c| c.expr.clone().alias(&c.name))
            .collect();
        let mut fields: Vec<Field> = self
            .columns
            .iter()
            .map(|c| {
                Field::new(&c.name, c.data_type.clone(), c.nullable)
                    .with_metadata(c.metadata.clone())
            })
            .collect();
        if exprs.is_empty() {
            // Rows without columns would lose their number.
            exprs.push(lit(true).alias("_row"));
            fields.push(Field::new("_row", DataType::Boolean, true));
        }
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::clone(input))?);
        Ok((optimise(plan)?, Arc::new(Schema::new(fields))))
    }

    /// What runs after: the query from the aggregation upwards, over merged rows.
    fn after_merge(
        &self,
        plan: &LogicalPlan,
        node: &AggregateNode,
        merged: &SchemaRef,
    ) -> DfResult<LogicalPlan> {
        let table = TableReference::bare(MERGED);
        let source = Arc::new(RelationSource::new(Arc::clone(merged)));
        let scan = Arc::new(LogicalPlan::TableScan(
            TableScanBuilder::new(table.clone(), source).build()?,
        ));
        let mut exprs = Vec::with_capacity(self.outputs.len());
        for ((qualifier, field), output) in node.schema.iter().zip(&self.outputs) {
            let column = merged.field(self.merged_column(output));
            let expr = Expr::Column(Column::new(Some(table.clone()), column.name()));
            let same = column.data_type() == field.data_type();
            let expr = if same {
                expr
            } else {
                cast(expr, field.data_type().clone())
            };
            exprs.push(expr.alias_qualified(qualifier.cloned(), field.name()));
        }
        let rows = Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, scan)?));
        Ok(Arc::unwrap_or_clone(above(plan, &rows)?))
    }

    /// The column of the merged rows that holds an output of the aggregation.
    fn merged_column(&self, output: &Output) -> usize {
        match output {
            Output::Group(group) => *group,
            Output::WindowStart => self.groups,
            Output::WindowEnd => self.groups + 1,
            Output::Call(call) => self.groups + 2 + call,
        }
    }

    /// For each column of the result, which of the merged rows it is as it stands. A group whose type is not stored as such, as that of
    /// `length`, is cast on the way there and back, and the same all the while: so it is looked for over rows of the aggregation's own types.
    fn merged_columns(
        &self,
        plan: &LogicalPlan,
        node: &AggregateNode,
    ) -> DfResult<Vec<Option<usize>>> {
        let table = TableReference::bare(MERGED);
        let name = |index: usize| format!("_{index}");
        let fields = node.schema.fields().iter().enumerate();
        let fields = fields.map(|(index, field)| field.as_ref().clone().with_name(name(index)));
        let source = RelationSource::new(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
        let scan = TableScanBuilder::new(table.clone(), Arc::new(source)).build()?;
        let exprs = node.schema.iter().enumerate();
        let exprs = exprs.map(|(index, (qualifier, field))| {
            let column = Expr::Column(Column::new(Some(table.clone()), name(index)));
            column.alias_qualified(qualifier.cloned(), field.name())
        });
        let scan = Arc::new(LogicalPlan::TableScan(scan));
        let rows = Projection::try_new(exprs.collect(), scan)?;
        let result = above(plan, &Arc::new(LogicalPlan::Projection(rows)))?;
        let outputs = (0..result.schema().fields().len()).map(|index| {
            let origins = trace(&result, index)?;
            self.outputs.get(origins.first()?.column)
        });
        Ok(outputs
            .map(|output| output.map(|output| self.merged_column(output)))
            .collect())
    }

    fn group_origins(&self, node: &AggregateNode) -> Vec<Option<Vec<Origin>>> {
        let groups = node
            .group_expr
            .iter()
            .zip(&self.outputs)
            .filter(|(_, output)| matches!(output, Output::Group(_)));
        groups
            .map(|(expr, _)| {
                let column = plain_column(expr)?;
                trace(
                    &node.input,
                    node.input.schema().maybe_index_of_column(column)?,
                )
            })
            .collect()
    }

    fn canonical(
        &self,
        argument: &LogicalPlan,
        result: &LogicalPlan,
        partial: &SchemaRef,
    ) -> String {
        let calls: Vec<String> = self.calls.iter().map(CallSpec::canonical).collect();
        let state: Vec<String> = partial
            .fields()
            .iter()
            .map(|f| format!("{} {} {}", f.name(), f.data_type(), f.is_nullable()))
            .collect();
        [
            crate::fingerprint::canonical(argument),
            calls.join("\n"),
            state.join("\n"),
            crate::fingerprint::canonical(result),
        ]
        .join("\n\n")
    }
}

/// Another column under the name of a bound of the window.
fn not_the_window(name: &str) -> SqlProblem {
    let message = format!(
        "`{name}` is a bound of the window in an aggregate step, and here it is something else"
    );
    SqlProblem::new(Code::ReservedName, message)
        .help("give this column another name")
        .about(name)
}

/// The name under which the result shows column `index` of the aggregation as it stands.
fn result_name(plan: &LogicalPlan, index: usize) -> Option<String> {
    let shows = |column: usize| leads_to_group(plan, column) == Some(index);
    let at = (0..plan.schema().fields().len()).find(|column| shows(*column))?;
    Some(plan.schema().field(at).name().clone())
}

/// The column of the aggregation that column `index` of `plan` is as it stands.
fn leads_to_group(plan: &LogicalPlan, index: usize) -> Option<usize> {
    match plan {
        LogicalPlan::Aggregate(_) => Some(index),
        LogicalPlan::Projection(projection) => {
            let column = plain_column(projection.expr.get(index)?)?;
            leads_to_group(
                &projection.input,
                projection.input.schema().maybe_index_of_column(column)?,
            )
        }
        LogicalPlan::Filter(Filter { input, .. })
        | LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => leads_to_group(input, index),
        _ => None,
    }
}
