//! The columns of a query's result: named, of types that tables store, with their origins.
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::{Column, Result};
use datafusion_expr::logical_plan::Projection;
use datafusion_expr::{Expr, LogicalPlan, cast};

use crate::problem::Code;
use crate::sql::SqlProblem;
use crate::sql::registry::Readable;
use crate::sql::trace::{Origin, trace};
use crate::sql::types::{marker, name, stored};

/// The longest column name, in bytes: PostgreSQL cuts off longer ones.
const MAX_NAME_BYTES: usize = 63;

/// A plan whose result every later step and table can take.
#[derive(Debug)]
pub(crate) struct ResultPlan {
    pub(crate) plan: LogicalPlan,
    pub(crate) schema: SchemaRef,
    /// For each column where it comes from, unless it is computed.
    pub(crate) origins: Vec<Option<Vec<Origin>>>,
}

/// Judges names and types of the result, and casts what is stored as another type.
pub(crate) fn finish(
    plan: LogicalPlan,
    relations: &[Readable],
) -> Result<ResultPlan, Vec<SqlProblem>> {
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    let mut fields = Vec::new();
    let mut origins = Vec::new();
    let mut exprs = Vec::new();
    for (index, (qualifier, field)) in plan.schema().iter().enumerate() {
        let origin = trace(&plan, index);
        let sources: Vec<&Field> = origin
            .iter()
            .flatten()
            .filter_map(|o| source_field(o, relations))
            .collect();
        if !names.insert(field.name().clone()) {
            problems.push(duplicate(field.name()));
        } else if let Some(problem) = judge_name(field.name(), &sources) {
            problems.push(problem);
        }
        let column = Expr::Column(Column::from((qualifier, field)));
        match stored(field.data_type()) {
            Some(wanted) if wanted == *field.data_type() => exprs.push(column.alias(field.name())),
            Some(wanted) => exprs.push(cast(column, wanted).alias(field.name())),
            None => {
                problems.push(unstorable(field));
                continue;
            }
        }
        let markers: BTreeSet<Vec<(String, String)>> = sources
            .iter()
            .map(|f| marker(f).into_iter().collect())
            .collect();
        // A UNION of a uuid and a text is text.
        let metadata = if markers.len() == 1 {
            sources.first().map(|f| marker(f))
        } else {
            None
        };
        let nullable = sources.is_empty() || sources.iter().any(|f| f.is_nullable());
        let wanted = stored(field.data_type()).unwrap_or_else(|| field.data_type().clone());
        fields.push(
            Field::new(field.name(), wanted, nullable).with_metadata(metadata.unwrap_or_default()),
        );
        origins.push(origin);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let changed = plan
        .schema()
        .fields()
        .iter()
        .zip(&fields)
        .any(|(have, want)| have.data_type() != want.data_type());
    let plan = if changed {
        let projection =
            Projection::try_new(exprs, Arc::new(plan)).map_err(|e| vec![internal(&e)])?;
        LogicalPlan::Projection(projection)
    } else {
        plan
    };
    Ok(ResultPlan {
        plan,
        schema: Arc::new(Schema::new(fields)),
        origins,
    })
}

fn source_field<'a>(origin: &Origin, relations: &'a [Readable]) -> Option<&'a Field> {
    let relation = relations.iter().find(|r| r.name == origin.relation)?;
    relation
        .schema
        .fields()
        .get(origin.column)
        .map(AsRef::as_ref)
}

fn judge_name(name: &str, sources: &[&Field]) -> Option<SqlProblem> {
    let passed_through = !sources.is_empty() && sources.iter().all(|f| f.name() == name);
    if name.starts_with('_') && !passed_through {
        let message =
            format!("the column name `{name}` begins with `_`, and such names are reserved");
        let help = format!("write `AS {}`", name.trim_start_matches('_'));
        return Some(
            SqlProblem::new(Code::ReservedName, message)
                .help(help)
                .about(name),
        );
    }
    let storable =
        !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control);
    (!storable).then(|| {
        let message = format!("a column name has 1 to {MAX_NAME_BYTES} bytes without control characters, unlike `{name}`");
        SqlProblem::new(Code::UnnamedColumn, message).help("give the column a shorter name with AS").about(name)
    })
}

fn duplicate(name: &str) -> SqlProblem {
    SqlProblem::new(
        Code::DuplicateColumn,
        format!("two columns of the result are named `{name}`"),
    )
    .help(format!(
        "rename one of them: `AS {name}_2`, or select only one"
    ))
    .about(name)
}

fn unstorable(field: &Field) -> SqlProblem {
    let (column, data_type) = (field.name(), field.data_type());
    let message = format!(
        "the column `{column}` is {}, which no table can store",
        name(data_type)
    );
    use arrow::datatypes::DataType;
    let help = match data_type {
        DataType::Null => format!("say which type it has: `CAST(NULL AS TEXT) AS {column}`"),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => {
            "take one element (`list[1]`), make text of it (`array_to_string(list, ',')`) or a row of each element (`unnest(list)`)".to_owned()
        }
        DataType::Struct(_) | DataType::Map(_, _) => "select its members as columns of their own".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => {
            "make a number of it, such as seconds: `date_part('epoch', a) - date_part('epoch', b)`".to_owned()
        }
        DataType::Decimal256(_, scale) => format!("`CAST({column} AS DECIMAL(38, {scale}))`"),
        _ => format!("make text of it: `CAST({column} AS TEXT)`"),
    };
    SqlProblem::new(Code::UnstorableType, message)
        .help(help)
        .about(column)
}

/// What should not happen: DataFusion refuses what it planned itself.
pub(crate) fn internal(error: &datafusion_common::DataFusionError) -> SqlProblem {
    SqlProblem::new(
        Code::RefusedSql,
        format!("this SQL cannot be run: {}", error.strip_backtrace()),
    )
}
