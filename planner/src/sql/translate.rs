//! From a parsed query to an analysed and optimised plan of DataFusion.
use std::sync::Arc;

use datafusion_common::{DataFusionError, Result};
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion_optimizer::eliminate_filter::EliminateFilter;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::optimize_unions::OptimizeUnions;
use datafusion_optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::simplify_expressions::SimplifyExpressions;
use datafusion_optimizer::{Analyzer, Optimizer, OptimizerContext, OptimizerRule};
use datafusion_sql::planner::SqlToRel;
use datafusion_sql::sqlparser::ast::{Query, Statement};

use crate::sql::fold::{FoldConstants, try_out};
use crate::sql::registry::{Catalog, FUNCTIONS, Readable};

/// Resolves names and types.
fn analyse(query: &Query, relations: &[Readable]) -> Result<LogicalPlan> {
    let catalog = Catalog { relations };
    let statement = Statement::Query(Box::new(query.clone()));
    let plan = SqlToRel::new(&catalog).sql_statement_to_plan(statement)?;
    Analyzer::new().execute_and_check(plan, FUNCTIONS.options(), |_, _| {})
}

/// Resolves names and types, and computes what is constant: what remains can only fail for some values.
pub(crate) fn attempt(
    query: &Query,
    relations: &[Readable],
) -> std::result::Result<LogicalPlan, Failure> {
    let plan = analyse(query, relations).map_err(Failure::Types)?;
    let simple = simplify(plan.clone()).map_err(Failure::Constant)?;
    try_out(&simple).map_err(Failure::Call)?;
    Ok(plan)
}

/// Why a query cannot be run.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Its names or types do not fit.
    Types(DataFusionError),
    /// A constant in it cannot be computed.
    Constant(DataFusionError),
    /// A call in it fails for whatever event.
    Call(DataFusionError),
}

impl Failure {
    pub(crate) fn error(&self) -> &DataFusionError {
        match self {
            Self::Types(error) | Self::Constant(error) | Self::Call(error) => error,
        }
    }
}

/// Folds constants, without moving anything.
pub(crate) fn simplify(plan: LogicalPlan) -> Result<LogicalPlan> {
    optimise_by(
        plan,
        vec![
            Arc::new(FoldConstants),
            Arc::new(SimplifyExpressions::new()),
        ],
    )
}

/// Makes a row-wise plan cheap to run. Only rules that keep to projection, filter, union and unnest.
pub(crate) fn optimise(plan: LogicalPlan) -> Result<LogicalPlan> {
    optimise_by(
        plan,
        vec![
            Arc::new(OptimizeUnions::new()),
            Arc::new(FoldConstants),
            Arc::new(SimplifyExpressions::new()),
            Arc::new(EliminateFilter::new()),
            Arc::new(PropagateEmptyRelation::new()),
            Arc::new(PushDownFilter::new()),
            Arc::new(CommonSubexprEliminate::new()),
            Arc::new(OptimizeProjections::new()),
        ],
    )
}

fn optimise_by(
    plan: LogicalPlan,
    rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
) -> Result<LogicalPlan> {
    // Without a start time nothing can be folded to the planner's clock.
    let context = OptimizerContext::new_with_config_options(Arc::clone(FUNCTIONS.options()))
        .without_query_execution_start_time();
    Optimizer::with_rules(rules)
        .optimize(plan, &context, |_, _| {})
        .map_err(|e| match e {
            DataFusionError::Context(_, inner) => *inner,
            other => other,
        })
}
