//! From an optimised plan to a tree of physical expressions.
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::{
    DFSchema, DFSchemaRef, Result, internal_datafusion_err, internal_err, not_impl_err,
};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::logical_plan::{Projection, TableScan, Unnest};
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};

use crate::plan::RowNode;
use crate::sql::exact::exact;
use crate::sql::registry::{FUNCTIONS, Readable};
use crate::sql::trace::plain_column;
use crate::sql::types::marker;

/// A row-wise plan, lowered.
#[derive(Debug)]
pub(crate) struct Lowered {
    /// Names of the relations it reads, by the index that [`RowNode::Input`] uses.
    pub(crate) inputs: Vec<String>,
    pub(crate) root: RowNode,
}

/// Lowers `plan`; the rows that come out have exactly `schema`.
pub(crate) fn lower(
    plan: &LogicalPlan,
    schema: &SchemaRef,
    relations: &[Readable],
) -> Result<Lowered> {
    let mut lowering = Lowering {
        inputs: Vec::new(),
        relations,
    };
    let (mut root, found) = lowering.node(plan)?;
    if let RowNode::Project { schema: own, .. }
    | RowNode::Union { schema: own, .. }
    | RowNode::Empty(own) = &mut root
    {
        *own = Arc::clone(schema);
    } else if found != *schema {
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        root = RowNode::Project {
            exprs: columns(&found, &all),
            input: Box::new(root),
            schema: Arc::clone(schema),
        };
    }
    Ok(Lowered {
        inputs: lowering.inputs,
        root,
    })
}

/// An expression over columns of `schema`, whose values are exact or an error of their row.
pub(crate) fn physical(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let props = ExecutionProps {
        config_options: Some(Arc::clone(FUNCTIONS.options())),
        ..ExecutionProps::new()
    };
    let expr = create_physical_expr(expr, schema, &props, &PhysicalPlanningContext::default())?;
    exact(expr, schema.as_arrow())
}

struct Lowering<'a> {
    inputs: Vec<String>,
    relations: &'a [Readable],
}

impl Lowering<'_> {
    fn node(&mut self, plan: &LogicalPlan) -> Result<(RowNode, SchemaRef)> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let (node, schema) = self.input(scan)?;
                let Some(projection) = scan.projection.as_deref().filter(|p| !is_whole(p, &schema))
                else {
                    return Ok((node, schema));
                };
                let kept = Arc::new(schema.project(projection)?);
                let exprs = columns(&schema, projection);
                Ok((
                    RowNode::Project {
                        input: Box::new(node),
                        exprs,
                        schema: Arc::clone(&kept),
                    },
                    kept,
                ))
            }
            LogicalPlan::Projection(projection) => self.project(projection),
            LogicalPlan::Filter(filter) => {
                let (input, schema) = self.node(&filter.input)?;
                let predicate = physical(&filter.predicate, filter.input.schema())?;
                Ok((
                    RowNode::Filter {
                        input: Box::new(input),
                        predicate,
                    },
                    schema,
                ))
            }
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input),
            LogicalPlan::Union(union) => {
                let inputs: Vec<(RowNode, SchemaRef)> = union
                    .inputs
                    .iter()
                    .map(|input| self.node(input))
                    .collect::<Result<_>>()?;
                let fields: Vec<Field> = union
                    .schema
                    .fields()
                    .iter()
                    .map(|f| f.as_ref().clone().with_nullable(true))
                    .collect();
                let schema = Arc::new(Schema::new(fields));
                let inputs = inputs.into_iter().map(|(node, _)| node).collect();
                Ok((
                    RowNode::Union {
                        inputs,
                        schema: Arc::clone(&schema),
                    },
                    schema,
                ))
            }
            LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => {
                let schema = Arc::new(empty.schema.as_arrow().clone());
                Ok((RowNode::Empty(Arc::clone(&schema)), schema))
            }
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            other => not_impl_err!("{} in a row-wise step", other.display()),
        }
    }

    fn input(&mut self, scan: &TableScan) -> Result<(RowNode, SchemaRef)> {
        if !scan.filters.is_empty() || scan.fetch.is_some() {
            return internal_err!(
                "a condition was moved into the scan of `{}`",
                scan.table_name
            );
        }
        let name = scan.table_name.table();
        let relation = self.relations.iter().find(|r| r.name == name);
        let relation = relation.ok_or_else(|| internal_datafusion_err!("no relation `{name}`"))?;
        let index = self
            .inputs
            .iter()
            .position(|input| input == name)
            .unwrap_or_else(|| {
                self.inputs.push(name.to_owned());
                self.inputs.len() - 1
            });
        Ok((RowNode::Input(index), Arc::clone(&relation.schema)))
    }

    fn project(&mut self, projection: &Projection) -> Result<(RowNode, SchemaRef)> {
        // Over a scan, expressions read the input's columns by themselves.
        let (input, schema, resolved): (RowNode, SchemaRef, DFSchemaRef) =
            match projection.input.as_ref() {
                LogicalPlan::TableScan(scan) => {
                    let (node, schema) = self.input(scan)?;
                    let all =
                        DFSchema::try_from_qualified_schema(scan.table_name.clone(), &schema)?;
                    (node, schema, Arc::new(all))
                }
                other => {
                    let (node, schema) = self.node(other)?;
                    (node, schema, Arc::clone(other.schema()))
                }
            };
        // Nothing is asked of the rows but how many they are.
        if projection.expr.is_empty() {
            return Ok((input, schema));
        }
        let mut exprs = Vec::with_capacity(projection.expr.len());
        let mut fields = Vec::with_capacity(projection.expr.len());
        for (expr, field) in projection.expr.iter().zip(projection.schema.fields()) {
            let from = plain_column(expr).and_then(|column| resolved.maybe_index_of_column(column));
            let from = from.and_then(|index| schema.fields().get(index));
            let (nullable, metadata) =
                from.map_or((true, Default::default()), |f| (f.is_nullable(), marker(f)));
            fields.push(
                Field::new(field.name(), field.data_type().clone(), nullable)
                    .with_metadata(metadata),
            );
            exprs.push(physical(expr, &resolved)?);
        }
        let schema = Arc::new(Schema::new(fields));
        Ok((
            RowNode::Project {
                input: Box::new(input),
                exprs,
                schema: Arc::clone(&schema),
            },
            schema,
        ))
    }

    fn unnest(&mut self, unnest: &Unnest) -> Result<(RowNode, SchemaRef)> {
        let (input, _) = self.node(&unnest.input)?;
        let column = match (
            unnest.list_type_columns.as_slice(),
            unnest.struct_type_columns.is_empty(),
        ) {
            ([(column, list)], true) if list.depth == 1 => *column,
            _ => return not_impl_err!("unnest of more than one list"),
        };
        let schema = Arc::new(unnest.schema.as_arrow().clone());
        Ok((
            RowNode::Unnest {
                input: Box::new(input),
                column,
                schema: Arc::clone(&schema),
            },
            schema,
        ))
    }
}

/// Whether a scan takes all columns as they are; or none, where only the number of rows matters.
fn is_whole(projection: &[usize], schema: &Schema) -> bool {
    let all = projection.len() == schema.fields().len();
    projection.is_empty()
        || all
            && projection
                .iter()
                .enumerate()
                .all(|(at, column)| at == *column)
}

/// Expressions that take columns as they are.
pub(crate) fn columns(schema: &Schema, indices: &[usize]) -> Vec<Arc<dyn PhysicalExpr>> {
    let column = |index: &usize| {
        Arc::new(Column::new(schema.field(*index).name(), *index)) as Arc<dyn PhysicalExpr>
    };
    indices.iter().map(column).collect()
}
