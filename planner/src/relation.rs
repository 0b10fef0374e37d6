//! What the planner knows of a source or step that others read.
use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;

use crate::plan::{LatePolicy, Relation, Window};
use crate::sql::registry::Readable;
use crate::sql::trace::Origin;

/// Columns of the sources' events that a column is, by source: one of each, where several sources are united.
pub(crate) type Lineage = BTreeMap<usize, usize>;

/// A source or a step that compiled.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) name: String,
    pub(crate) relation: Relation,
    pub(crate) schema: SchemaRef,
    /// For each column where it comes from; empty where it is computed.
    pub(crate) lineage: Vec<Lineage>,
    /// The sources that its rows come from.
    pub(crate) sources: BTreeSet<usize>,
    /// Set for rows of windows.
    pub(crate) windowed: Option<Windowed>,
    pub(crate) fingerprint: String,
}

/// What identifies a row of a window.
#[derive(Debug, Clone)]
pub(crate) struct Windowed {
    /// The aggregate step (index into the plan's steps) whose partials it is made of.
    pub(crate) aggregate: usize,
    /// Its windows.
    pub(crate) window: Window,
    /// Whether a row may be written more than once.
    pub(crate) policy: LatePolicy,
    /// `window_start` first, then the group columns.
    pub(crate) key: Vec<KeyColumn>,
}

/// A column that identifies rows of windows.
#[derive(Debug, Clone)]
pub(crate) struct KeyColumn {
    /// Its name in the aggregate step.
    pub(crate) name: String,
    /// Its index in this relation; none where a step on the way left it out.
    pub(crate) index: Option<usize>,
}

impl Facts {
    pub(crate) fn readable(&self) -> Readable {
        Readable {
            name: self.name.clone(),
            schema: self.schema.clone(),
        }
    }
}

/// Lineage of a column that is `origins`, or computed.
pub(crate) fn lineage(origins: Option<&[Origin]>, facts: &[&Facts]) -> Lineage {
    let mut found = Lineage::new();
    let mut conflicts = BTreeSet::new();
    for origin in origins.into_iter().flatten() {
        let Some(facts) = facts.iter().find(|f| f.name == origin.relation) else {
            continue;
        };
        for source in &facts.sources {
            // A branch that computes the column spoils it for its sources.
            let column = facts
                .lineage
                .get(origin.column)
                .and_then(|lineage| lineage.get(source));
            match (column, found.get(source)) {
                (None, _) => {
                    conflicts.insert(*source);
                }
                (Some(column), Some(other)) if column != other => {
                    conflicts.insert(*source);
                }
                (Some(column), _) => {
                    found.insert(*source, *column);
                }
            }
        }
    }
    found.retain(|source, _| !conflicts.contains(source));
    found
}
