//! What SQL may name: functions of DataFusion, and the relations of a pipeline.
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};

/// Every function that SQL may call, by name and alias.
#[derive(Debug)]
pub(crate) struct Functions {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: Arc<ConfigOptions>,
}

/// The one registry: functions are the same for every pipeline.
pub(crate) static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);

impl Functions {
    fn new() -> Self {
        let mut functions = Self {
            scalar: HashMap::new(),
            higher_order: HashMap::new(),
            aggregate: HashMap::new(),
            planners: vec![
                Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
                Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
                Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
            ],
            options: Arc::new(options()),
        };
        let scalar = datafusion_functions::all_default_functions();
        for udf in scalar
            .into_iter()
            .chain(datafusion_functions_nested::all_default_nested_functions())
        {
            for name in std::iter::once(udf.name()).chain(udf.aliases().iter().map(String::as_str))
            {
                functions
                    .scalar
                    .insert(name.to_lowercase(), Arc::clone(&udf));
            }
        }
        for udf in datafusion_functions_nested::all_default_higher_order_functions() {
            for name in std::iter::once(udf.name()).chain(udf.aliases().iter().map(String::as_str))
            {
                functions
                    .higher_order
                    .insert(name.to_lowercase(), Arc::clone(&udf));
            }
        }
        for udf in datafusion_functions_aggregate::all_default_aggregate_functions() {
            for name in std::iter::once(udf.name()).chain(udf.aliases().iter().map(String::as_str))
            {
                functions
                    .aggregate
                    .insert(name.to_lowercase(), Arc::clone(&udf));
            }
        }
        functions
    }

    pub(crate) fn scalar(&self, name: &str) -> Option<&Arc<ScalarUDF>> {
        self.scalar.get(&name.to_lowercase())
    }

    pub(crate) fn higher_order(&self, name: &str) -> Option<&Arc<HigherOrderUDF>> {
        self.higher_order.get(&name.to_lowercase())
    }

    pub(crate) fn aggregate(&self, name: &str) -> Option<&Arc<AggregateUDF>> {
        self.aggregate.get(&name.to_lowercase())
    }

    /// How a function is called, such as `upper(str)`.
    pub(crate) fn usage(&self, name: &str) -> Option<&str> {
        let scalar = self.scalar(name).and_then(|f| f.documentation());
        let documentation = scalar.or_else(|| self.aggregate(name)?.documentation())?;
        documentation
            .syntax_example
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty())
    }

    pub(crate) fn options(&self) -> &Arc<ConfigOptions> {
        &self.options
    }

    /// Every name that can be called, sorted.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let names = self
            .scalar
            .keys()
            .chain(self.higher_order.keys())
            .chain(self.aggregate.keys());
        names.map(String::as_str).collect()
    }
}

/// Spans for error messages, Utf8 for text (the type of the engine's columns), UTC for timestamps.
fn options() -> ConfigOptions {
    let mut options = ConfigOptions::default();
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = Some("+00:00".to_owned());
    options
}

/// A relation that SQL may read.
#[derive(Debug, Clone)]
pub(crate) struct Readable {
    pub(crate) name: String,
    pub(crate) schema: SchemaRef,
}

/// A relation as DataFusion's planner sees it. It filters nothing by itself: conditions stay in the plan.
#[derive(Debug)]
pub(crate) struct RelationSource {
    schema: SchemaRef,
}

impl RelationSource {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

impl TableSource for RelationSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// The relations of one query, for DataFusion's planner.
pub(crate) struct Catalog<'a> {
    pub(crate) relations: &'a [Readable],
}

impl ContextProvider for Catalog<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.relations.iter().find(|r| r.name == name.table()) {
            Some(relation) => Ok(Arc::new(RelationSource::new(Arc::clone(&relation.schema)))),
            None => plan_err!("there is no relation `{name}`"),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &FUNCTIONS.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        FUNCTIONS.scalar(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        FUNCTIONS.higher_order(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        FUNCTIONS.aggregate(name).cloned()
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &FUNCTIONS.options
    }

    fn udf_names(&self) -> Vec<String> {
        FUNCTIONS.scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        FUNCTIONS.higher_order.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        FUNCTIONS.aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
