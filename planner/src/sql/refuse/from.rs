//! What may stand in FROM, and queries within expressions.
use datafusion_sql::sqlparser::ast::{Query, Select, Spanned, TableFactor, TableWithJoins};
use datafusion_sql::sqlparser::keywords::Keyword;

use crate::sql::refuse::Refusals;
use crate::sql::text_span;

impl Refusals<'_> {
    pub(super) fn from(&mut self, select: &Select) {
        let help = "one step reads one relation; unite several with UNION ALL, or bring the columns together before the events are sent";
        let joined: Vec<&TableWithJoins> = select
            .from
            .iter()
            .filter(|table| !table.joins.is_empty())
            .collect();
        if !joined.is_empty() {
            let at = self.keyword(Keyword::JOIN);
            self.refuse(
                "JOIN",
                "the other side's rows may not have arrived, or arrive ever after",
                help,
                at,
            );
        } else if let [_, second, ..] = select.from.as_slice() {
            let at = text_span(second.span());
            self.refuse(
                "a join of several relations in FROM",
                "the other side's rows may not have arrived, or arrive ever after",
                help,
                at,
            );
        } else if select.from.is_empty() {
            let at = text_span(select.select_token.0.span);
            self.refuse(
                "a SELECT without FROM",
                "it would yield a row for nothing",
                "select from a source or a step",
                at,
            );
        }
    }

    pub(super) fn table_factor(&mut self, factor: &TableFactor) {
        let help = "select from a source or a step by its name";
        match factor {
            TableFactor::Table {
                name,
                args: Some(_),
                ..
            } => {
                let at = text_span(name.span());
                let help =
                    "select from a source or a step; `unnest(list)` stands in the SELECT list";
                self.refuse("a function in FROM", "a step reads events", help, at);
            }
            TableFactor::Table {
                name,
                sample: Some(_),
                ..
            } => {
                let at = self
                    .keyword(Keyword::TABLESAMPLE)
                    .or_else(|| text_span(name.span()));
                self.refuse(
                    "TABLESAMPLE",
                    "a replay would take other rows",
                    "filter by a column with WHERE",
                    at,
                );
            }
            TableFactor::Table { .. } | TableFactor::NestedJoin { .. } => {}
            TableFactor::Derived { lateral: false, .. } => {}
            TableFactor::Derived { .. } => {
                let at = self.keyword(Keyword::LATERAL);
                self.refuse("LATERAL", "it joins rows with rows", help, at);
            }
            TableFactor::UNNEST { .. } => {
                let at = self.keyword(Keyword::UNNEST);
                self.refuse(
                    "unnest in FROM",
                    "it joins rows with rows",
                    "write `unnest(list) AS name` in the SELECT list",
                    at,
                );
            }
            other => {
                let at = text_span(other.span());
                self.refuse("this in FROM", "a step reads events", help, at);
            }
        }
    }

    pub(super) fn subquery(&mut self, query: &Query) {
        let at = text_span(query.span());
        let help = "compute it in a step of its own that the events pass through, or compare with constants";
        self.refuse(
            "a subquery in an expression",
            "its rows may not have arrived, or arrive ever after",
            help,
            at,
        );
    }
}
