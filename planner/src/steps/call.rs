//! Calls of aggregate functions: which are allowed, and how they are bound to argument columns.
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion_common::{DFSchema, DataFusionError, Result as DfResult, ScalarValue};
use datafusion_expr::expr::{AggregateFunction, NullTreatment};
use datafusion_expr::{AggregateUDF, Expr, ExprSchemable, LogicalPlan, cast};
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{PhysicalExpr, PhysicalSortExpr};

use crate::plan::{Call, ORDER_COLUMNS};
use crate::problem::Code;
use crate::sql::SqlProblem;
use crate::sql::lower::physical;
use crate::sql::registry::FUNCTIONS;
use crate::sql::result::internal;

/// An argument, a filter or an ordering of a call: an expression over the aggregation's input.
#[derive(Debug, Clone)]
pub(crate) struct Argument {
    pub(crate) expr: Expr,
    pub(crate) data_type: DataType,
}

/// An argument that is the same for all rows, or a column of the argument rows.
#[derive(Debug, Clone)]
enum Bound {
    Constant(Expr),
    Free(Argument),
    Column(usize),
}

/// A call, on its way from the query to a [`Call`].
#[derive(Debug, Clone)]
pub(crate) struct CallSpec {
    function: Arc<AggregateUDF>,
    name: String,
    args: Vec<Bound>,
    filter: Option<Bound>,
    order_by: Vec<(Bound, SortOptions)>,
    ignore_nulls: bool,
    text: String,
}

/// The time of a group's last event.
pub(crate) fn last_event(schema: &SchemaRef) -> DfResult<Call> {
    let [event_time, ..] = ORDER_COLUMNS;
    let column = Column::new_with_schema(event_time, schema)?;
    let max = FUNCTIONS.aggregate("max").cloned();
    let max = max.ok_or_else(|| DataFusionError::Internal("there is no max".to_owned()))?;
    let function = AggregateExprBuilder::new(max, vec![Arc::new(column)])
        .schema(Arc::clone(schema))
        .alias("_last")
        .build()?;
    Ok(Call {
        function: Arc::new(function),
        filter: None,
    })
}

impl CallSpec {
    /// Reads the call from the query's plan. Columns are found in `input`.
    pub(crate) fn new(expr: &Expr, input: &LogicalPlan) -> Result<Self, SqlProblem> {
        let text = crate::fingerprint::canonical_expr(expr);
        let Some(call) = aggregate_function(expr) else {
            return Err(SqlProblem::new(
                Code::AggregateStep,
                format!("`{text}` is no call of an aggregate function"),
            ));
        };
        let schema = input.schema();
        let fail = |e: datafusion_common::DataFusionError| internal(&e);
        let name = call.func.name().to_owned();
        let argument = |expr: &Expr| bind(expr, schema).map_err(fail);
        let mut args: Vec<Bound> = call
            .params
            .args
            .iter()
            .map(argument)
            .collect::<Result<_, _>>()?;
        if matches!(name.as_str(), "sum" | "avg") {
            args.iter()
                .try_for_each(|arg| has_room(arg, &text).map_err(|problem| problem.about(&name)))?;
        }
        if name == "sum" {
            args = args.into_iter().map(exact).collect();
        }
        if call.params.order_by.first().is_some_and(|sort| !sort.asc) {
            from_above(&name, &mut args);
        }
        let mut order_by = Vec::new();
        if is_ordered(&name) {
            for sort in &call.params.order_by {
                let options = SortOptions {
                    descending: !sort.asc,
                    nulls_first: sort.nulls_first,
                };
                order_by.push((argument(&sort.expr)?, options));
            }
        }
        Ok(Self {
            function: Arc::clone(&call.func),
            name,
            args,
            filter: call.params.filter.as_deref().map(argument).transpose()?,
            order_by,
            ignore_nulls: call.params.null_treatment == Some(NullTreatment::IgnoreNulls),
            text,
        })
    }

    /// Gives each argument its column.
    pub(crate) fn place(mut self, mut column: impl FnMut(&Argument) -> usize) -> Self {
        let order = self.order_by.iter_mut().map(|(bound, _)| bound);
        for bound in self
            .args
            .iter_mut()
            .chain(self.filter.iter_mut())
            .chain(order)
        {
            if let Bound::Free(argument) = bound {
                *bound = Bound::Column(column(argument));
            }
        }
        self
    }

    /// The call over rows of `schema`.
    pub(crate) fn build(&self, schema: &SchemaRef) -> DfResult<Call> {
        let args = self
            .args
            .iter()
            .map(|arg| arg.physical(schema))
            .collect::<DfResult<Vec<_>>>()?;
        let filter = self
            .filter
            .as_ref()
            .map(|filter| filter.physical(schema))
            .transpose()?;
        let mut order_by = Vec::new();
        for (bound, options) in &self.order_by {
            order_by.push(PhysicalSortExpr {
                expr: bound.physical(schema)?,
                options: *options,
            });
        }
        if is_ordered(&self.name) {
            order_by.extend(self.place_in_log(schema)?);
        }
        let function = AggregateExprBuilder::new(Arc::clone(&self.function), args)
            .schema(Arc::clone(schema))
            .alias(&self.text)
            .order_by(order_by)
            .with_ignore_nulls(self.ignore_nulls)
            .build()?;
        Ok(Call {
            function: Arc::new(function),
            filter,
        })
    }

    /// Makes an accumulator, which is where functions judge their constant arguments: every event would fail on it.
    pub(crate) fn try_out(&self, call: &Call) -> Result<(), SqlProblem> {
        let made = if call.function.groups_accumulator_supported() {
            call.function.create_groups_accumulator().map(drop)
        } else {
            call.function.create_accumulator().map(drop)
        };
        made.map_err(|error| {
            if self.name == "approx_distinct" && matches!(error.find_root(), DataFusionError::NotImplemented(_)) {
                return self.not_countable();
            }
            let text = error.strip_backtrace();
            let reason = text.lines().next().unwrap_or_default();
            let reason = reason.trim_start_matches("Error during planning: ");
            let help = format!("see what `{}` takes as arguments: their types, and which have to be constants within bounds", self.name);
            SqlProblem::new(Code::TypeMismatch, format!("`{}` cannot be computed: {reason}", self.text))
                .help(help)
                .about(&self.name)
        })
    }

    /// Values that have no one form by which to tell them apart, such as doubles.
    fn not_countable(&self) -> SqlProblem {
        let arguments = self
            .text
            .split_once('(')
            .and_then(|(_, rest)| rest.strip_suffix(')'));
        let message = format!(
            "`{}` is not possible: `{}` takes no double",
            self.text, self.name
        );
        let help = format!(
            "it takes text, bigint, boolean, timestamp, date and decimal: count texts, as in `approx_distinct(CAST({} AS TEXT))`",
            arguments.unwrap_or("x")
        );
        SqlProblem::new(Code::TypeMismatch, message)
            .help(help)
            .about(&self.name)
    }

    /// By event time unless the query orders by something; then by the place in the log, so that ties have one answer.
    fn place_in_log(&self, schema: &Schema) -> DfResult<Vec<PhysicalSortExpr>> {
        let from = usize::from(!self.order_by.is_empty());
        let options = SortOptions {
            descending: false,
            nulls_first: false,
        };
        ORDER_COLUMNS[from..]
            .iter()
            .map(|name| {
                let expr: Arc<dyn PhysicalExpr> = Arc::new(Column::new_with_schema(name, schema)?);
                Ok(PhysicalSortExpr { expr, options })
            })
            .collect()
    }

    /// The same text for the same meaning.
    pub(crate) fn canonical(&self) -> String {
        self.text.clone()
    }
}

impl Bound {
    fn physical(&self, schema: &Schema) -> DfResult<Arc<dyn PhysicalExpr>> {
        match self {
            Self::Column(index) => Ok(Arc::new(Column::new(schema.field(*index).name(), *index))),
            Self::Constant(expr) | Self::Free(Argument { expr, .. }) => {
                physical(expr, &DFSchema::empty())
            }
        }
    }
}

fn bind(expr: &Expr, schema: &DFSchema) -> DfResult<Bound> {
    let expr = expr.clone().unalias();
    if expr.column_refs().is_empty() {
        return Ok(Bound::Constant(expr));
    }
    let data_type = expr.get_type(schema)?;
    Ok(Bound::Free(Argument { expr, data_type }))
}

/// The most digits of a decimal that can be summed: ten more are left, so that ten billion of them fit into the 38 there are.
const SUMMABLE_DIGITS: u8 = 28;

/// Decimals of full width would overflow without anybody noticing.
fn has_room(bound: &Bound, text: &str) -> Result<(), SqlProblem> {
    let data_type = match bound {
        Bound::Free(argument) => Some(argument.data_type.clone()),
        Bound::Constant(expr) => expr.get_type(&DFSchema::empty()).ok(),
        Bound::Column(_) => None,
    };
    match data_type {
        Some(DataType::Decimal128(digits, scale)) if digits > SUMMABLE_DIGITS => {
            let fits = format!(
                "DECIMAL({SUMMABLE_DIGITS}, {})",
                scale.min(SUMMABLE_DIGITS as i8)
            );
            Err(SqlProblem::new(
                Code::TypeMismatch,
                format!("`{text}` adds up decimals of {digits} digits, which leaves no room for their sum"),
            )
            .help(format!("sum at most {SUMMABLE_DIGITS} digits, as in `sum(CAST(x AS {fits}))`")))
        }
        _ => Ok(()),
    }
}

/// Whole numbers are summed as decimals, which have room: a sum beyond a bigint is then an error and never a wrong number.
fn exact(bound: Bound) -> Bound {
    let wide = DataType::Decimal128(20, 0);
    match bound {
        Bound::Free(Argument { expr, data_type }) if data_type.is_integer() => {
            Bound::Free(Argument {
                expr: cast(expr, wide.clone()),
                data_type: wide,
            })
        }
        Bound::Constant(expr) => match expr.get_type(&DFSchema::empty()) {
            Ok(data_type) if data_type.is_integer() => Bound::Constant(cast(expr, wide)),
            _ => Bound::Constant(expr),
        },
        other => other,
    }
}

/// The percentile p of values in descending order is that of 1 - p in ascending order, which is how states keep them.
fn from_above(name: &str, args: &mut [Bound]) {
    let percentile = match name {
        "approx_percentile_cont" => args.get_mut(1),
        "approx_percentile_cont_with_weight" => args.get_mut(2),
        _ => None,
    };
    if let Some(Bound::Constant(Expr::Literal(ScalarValue::Float64(Some(p)), _))) = percentile {
        *p = 1.0 - *p;
    }
}

/// Whether the answer depends on an order of the rows.
fn is_ordered(name: &str) -> bool {
    matches!(name, "first_value" | "last_value")
}

/// The aggregate function under any alias.
fn aggregate_function(expr: &Expr) -> Option<&AggregateFunction> {
    match expr {
        Expr::AggregateFunction(function) => Some(function),
        Expr::Alias(alias) => aggregate_function(&alias.expr),
        _ => None,
    }
}
