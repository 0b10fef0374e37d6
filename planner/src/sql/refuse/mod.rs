//! What SQL of a stream may not contain, found in the text as it was parsed.
mod from;
mod lists;
mod value;

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Distinct, Expr, Function, GroupByExpr, Query, Select, SetExpr, SetOperator, SetQuantifier,
    Spanned, TableFactor, Visit, Visitor,
};
use datafusion_sql::sqlparser::keywords::Keyword;

use crate::problem::Code;
use crate::resource::TextSpan;
use crate::sql::functions::judge_call;
use crate::sql::keyword::quote_columns;
use crate::sql::parse::Parsed;
use crate::sql::refuse::lists::{aggregate_call, judge_lists};
use crate::sql::refuse::value::{is_negative, judge_value};
use crate::sql::registry::Readable;
use crate::sql::select_list::judge_names;
use crate::sql::types::timestamp;
use crate::sql::{SqlProblem, text_span};

/// How deep an expression may nest: it is evaluated by recursion, on threads with ordinary stacks.
const MAX_EXPRESSION_DEPTH: usize = 300;

/// What kind of step a query is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// Rows of events.
    Rows,
    /// Rows of windows, after an aggregate step.
    WindowRows,
    /// An aggregate step.
    Aggregate,
}

/// Everything that the text alone shows to be wrong, for a query over `relations`.
pub(crate) fn judge(
    parsed: &Parsed,
    context: Context,
    relations: &[Readable],
) -> Result<(), Vec<SqlProblem>> {
    let (query, of_keywords) = quote_columns(&parsed.query, relations);
    let parsed = &Parsed {
        query,
        tokens: parsed.tokens.clone(),
    };
    let mut fields = relations.iter().flat_map(|r| r.schema.fields());
    let time_column = fields
        .find(|f| *f.data_type() == timestamp())
        .map(|f| f.name().as_str());
    let mut refusals = Refusals {
        parsed,
        context,
        time_column,
        found: of_keywords,
        depth: 0,
        deepest: 0,
        aggregates: 0,
        negative: false,
    };
    let _ = parsed.query.visit(&mut refusals);
    if refusals.deepest > MAX_EXPRESSION_DEPTH {
        let message = format!(
            "an expression nests {} levels deep, and {MAX_EXPRESSION_DEPTH} are possible",
            refusals.deepest
        );
        let problem = SqlProblem::new(Code::RefusedSql, message);
        refusals.found.push(problem.help("compute part of it in a step before; a chain such as `a + b + c` nests one level for each operator"));
    }
    let mut found = refusals.found;
    found.extend(judge_names(parsed));
    if found.is_empty() { Ok(()) } else { Err(found) }
}

struct Refusals<'a> {
    parsed: &'a Parsed,
    context: Context,
    time_column: Option<&'a str>,
    found: Vec<SqlProblem>,
    /// How deep the expression in hand is, and the deepest was.
    depth: usize,
    deepest: usize,
    /// How many calls of aggregate functions are around the expression in hand.
    aggregates: usize,
    /// Whether the expression in hand stands right after a minus sign.
    negative: bool,
}

impl Visitor for Refusals<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.query(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.select(select);
        self.grouping(select);
        self.found
            .extend(judge_lists(select, self.context, self.parsed));
        self.from(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.table_factor(factor);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        self.aggregates -= usize::from(aggregate_call(expr).is_some());
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        let negative = std::mem::replace(&mut self.negative, is_negative(expr));
        match expr {
            Expr::Function(call) => {
                self.found
                    .extend(judge_call(call, self.context, self.time_column));
            }
            Expr::Subquery(query)
            | Expr::Exists {
                subquery: query, ..
            }
            | Expr::InSubquery {
                subquery: query, ..
            } => {
                self.subquery(query);
            }
            Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => self.grouping_sets(),
            other => self.found.extend(judge_value(other, negative)),
        }
        if let Some(call) = aggregate_call(expr) {
            if self.aggregates == 1 && self.context == Context::Aggregate {
                self.nested_aggregate(call);
            }
            self.aggregates += 1;
        }
        ControlFlow::Continue(())
    }
}

impl Refusals<'_> {
    fn refuse(&mut self, what: &str, why: &str, help: &str, span: Option<TextSpan>) {
        let message = format!("{what} is not possible in a stream: {why}");
        self.found.push(
            SqlProblem::new(Code::RefusedSql, message)
                .help(help)
                .at(span),
        );
    }

    fn keyword(&self, keyword: Keyword) -> Option<TextSpan> {
        self.parsed.keyword(keyword)
    }

    fn query(&mut self, query: &Query) {
        if query.order_by.is_some() {
            let at = self.parsed.clause(Keyword::ORDER);
            self.refuse(
                "ORDER BY",
                "a stream has no last row to sort up to",
                "leave it out, and sort when you read the table",
                at,
            );
        }
        if query.limit_clause.is_some() || query.fetch.is_some() {
            let at = [Keyword::LIMIT, Keyword::OFFSET, Keyword::FETCH]
                .into_iter()
                .find_map(|k| self.keyword(k));
            self.refuse(
                "LIMIT",
                "it would take the first rows of each batch",
                "leave it out, and limit when you read the table",
                at,
            );
        }
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            let at = self.keyword(Keyword::RECURSIVE);
            self.refuse(
                "WITH RECURSIVE",
                "rows would have to be read again and again",
                "write the steps one by one",
                at,
            );
        }
        let odd = !query.locks.is_empty() || query.for_clause.is_some() || query.settings.is_some();
        if odd || !query.pipe_operators.is_empty() || query.format_clause.is_some() {
            let at = text_span(query.span());
            self.refuse(
                "this clause after the SELECT",
                "steps know plain SELECT only",
                "leave it out",
                at,
            );
        }
        self.set_expr(&query.body);
    }

    fn set_expr(&mut self, body: &SetExpr) {
        match body {
            SetExpr::SetOperation {
                left,
                op,
                set_quantifier,
                right,
            } => {
                self.set_operation(*op, *set_quantifier);
                self.set_expr(left);
                self.set_expr(right);
            }
            SetExpr::Values(_) => {
                let at = self.keyword(Keyword::VALUES);
                self.refuse(
                    "VALUES",
                    "a step reads events",
                    "select from a source or a step",
                    at,
                );
            }
            SetExpr::Table(_) => {
                let at = self.keyword(Keyword::TABLE);
                self.refuse(
                    "TABLE",
                    "a step is a SELECT",
                    "write `SELECT * FROM ...`",
                    at,
                );
            }
            _ => {}
        }
    }

    fn set_operation(&mut self, op: SetOperator, quantifier: SetQuantifier) {
        match (op, quantifier) {
            (SetOperator::Union, SetQuantifier::All) => {
                if self.context == Context::Aggregate {
                    let message = "an aggregate step reads one relation through SELECT and WHERE only, and UNION ALL is more than that";
                    let problem = SqlProblem::new(Code::AggregateStep, message)
                        .help("unite in a `sql` step before, and aggregate over that");
                    self.found.push(problem.at(self.keyword(Keyword::UNION)));
                }
                if self.context == Context::WindowRows {
                    let at = self.keyword(Keyword::UNION);
                    let message = "UNION ALL of rows of windows is not possible: a row is stored by its window and group, and two may have the same";
                    let problem = SqlProblem::new(Code::WindowedInput, message).at(at);
                    self.found
                        .push(problem.help("give each SELECT a step and an output of its own"));
                }
            }
            (
                SetOperator::Union,
                SetQuantifier::AllByName | SetQuantifier::ByName | SetQuantifier::DistinctByName,
            ) => {
                let at = self.keyword(Keyword::UNION);
                self.refuse(
                    "UNION BY NAME",
                    "columns are united by position",
                    "list the columns in one order and write UNION ALL",
                    at,
                );
            }
            (SetOperator::Union, _) => {
                let at = self.keyword(Keyword::UNION);
                let help = "write UNION ALL; if events may repeat, add a `deduplicate` step";
                self.refuse(
                    "UNION without ALL",
                    "it compares each row with all that came before",
                    help,
                    at,
                );
            }
            (SetOperator::Intersect, _) => {
                let at = self.keyword(Keyword::INTERSECT);
                self.refuse(
                    "INTERSECT",
                    "it compares each row with all that came before",
                    "filter with WHERE",
                    at,
                );
            }
            (SetOperator::Except | SetOperator::Minus, _) => {
                let at = self
                    .parsed
                    .clause(Keyword::EXCEPT)
                    .or_else(|| self.keyword(Keyword::MINUS));
                self.refuse(
                    "EXCEPT",
                    "it compares each row with all that came before",
                    "filter with WHERE",
                    at,
                );
            }
        }
    }

    fn select(&mut self, select: &Select) {
        if matches!(select.distinct, Some(Distinct::Distinct | Distinct::On(_))) {
            let at = self.keyword(Keyword::DISTINCT);
            let help = "use a `deduplicate` step, which remembers keys for a time you say, or GROUP BY in an aggregate step";
            self.refuse(
                "DISTINCT",
                "it compares each row with all that came before",
                help,
                at,
            );
        }
        if select.qualify.is_some() || !select.named_window.is_empty() {
            let at = self
                .keyword(Keyword::QUALIFY)
                .or_else(|| self.keyword(Keyword::WINDOW));
            self.refuse(
                "a window function",
                "it needs the rows before and after",
                "use an `aggregate` step",
                at,
            );
        }
        let odd = [
            (select.top.is_some(), "TOP", Keyword::TOP),
            (select.into.is_some(), "INTO", Keyword::INTO),
            (
                !select.lateral_views.is_empty(),
                "LATERAL VIEW",
                Keyword::LATERAL,
            ),
            (select.prewhere.is_some(), "PREWHERE", Keyword::PREWHERE),
            (
                !select.connect_by.is_empty(),
                "CONNECT BY",
                Keyword::CONNECT,
            ),
            (
                !select.cluster_by.is_empty(),
                "CLUSTER BY",
                Keyword::CLUSTER,
            ),
            (
                !select.distribute_by.is_empty(),
                "DISTRIBUTE BY",
                Keyword::DISTRIBUTE,
            ),
            (!select.sort_by.is_empty(), "SORT BY", Keyword::SORT),
        ];
        for (there, what, keyword) in odd {
            if there {
                let at = self.keyword(keyword);
                self.refuse(
                    what,
                    "steps know plain SELECT, FROM, WHERE, GROUP BY and HAVING",
                    "leave it out",
                    at,
                );
            }
        }
    }

    fn grouping(&mut self, select: &Select) {
        let (grouped, modified) = match &select.group_by {
            GroupByExpr::All(modifiers) => (true, !modifiers.is_empty()),
            GroupByExpr::Expressions(by, modifiers) => (!by.is_empty(), !modifiers.is_empty()),
        };
        if modified {
            self.grouping_sets();
        }
        if self.context == Context::Aggregate {
            return;
        }
        let (what, at) = match (grouped, select.having.is_some()) {
            (true, _) => ("GROUP BY", self.keyword(Keyword::GROUP)),
            (false, true) => ("HAVING", self.keyword(Keyword::HAVING)),
            (false, false) => return,
        };
        let message = format!(
            "{what} stands in aggregate steps only: without a window a group would never be complete"
        );
        let help = match self.context {
            Context::WindowRows => {
                "make it an aggregate step, with windows of its own: `aggregate: {window: {tumbling: 1h}, sql: ...}`"
            }
            _ => "make it an aggregate step: `aggregate: {window: {tumbling: 1m}, sql: ...}`",
        };
        self.found.push(
            SqlProblem::new(Code::AggregateOutsideStep, message)
                .help(help)
                .at(at),
        );
    }

    fn nested_aggregate(&mut self, call: &Function) {
        let name = call.name.to_string().to_lowercase();
        let message = format!(
            "`{name}` stands inside another aggregate function, and rows are aggregated once"
        );
        let help = "aggregate columns, and what comes of that in another aggregate step, which reads this one";
        self.found.push(
            SqlProblem::new(Code::AggregateStep, message)
                .help(help)
                .at(text_span(call.name.span())),
        );
    }

    fn grouping_sets(&mut self) {
        let keywords = [
            Keyword::GROUPING,
            Keyword::ROLLUP,
            Keyword::CUBE,
            Keyword::TOTALS,
        ];
        let at = keywords.into_iter().find_map(|k| self.keyword(k));
        let help = "write one aggregate step for each grouping";
        self.refuse(
            "a grouping by several sets",
            "a row of the result has one group",
            help,
            at,
        );
    }
}
