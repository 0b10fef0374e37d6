//! Row-wise SQL steps.
use arrow::datatypes::SchemaRef;

use crate::sql::SqlProblem;
use crate::sql::explain::analyse_all;
use crate::sql::lower::{Lowered, lower};
use crate::sql::parse::Parsed;
use crate::sql::refuse::{Context, judge};
use crate::sql::registry::Readable;
use crate::sql::result::{finish, internal};
use crate::sql::trace::Origin;
use crate::sql::translate::optimise;

/// A row-wise query, compiled.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) lowered: Lowered,
    pub(crate) schema: SchemaRef,
    pub(crate) origins: Vec<Option<Vec<Origin>>>,
    /// The same text for the same meaning.
    pub(crate) canonical: String,
}

/// Compiles a query over `relations`; over rows of windows only what keeps one row for each.
pub(crate) fn compile(
    parsed: &Parsed,
    relations: &[Readable],
    windowed: bool,
) -> Result<Rows, Vec<SqlProblem>> {
    let context = if windowed {
        Context::WindowRows
    } else {
        Context::Rows
    };
    judge(parsed, context, relations)?;
    let plan = analyse_all(&parsed.query, parsed, relations)?;
    let result = finish(plan, relations)?;
    let plan = optimise(result.plan).map_err(|e| vec![internal(&e)])?;
    let lowered = lower(&plan, &result.schema, relations).map_err(|e| vec![internal(&e)])?;
    let canonical = crate::fingerprint::canonical(&plan);
    Ok(Rows {
        lowered,
        schema: result.schema,
        origins: result.origins,
        canonical,
    })
}
