//! Columns whose names SQL reads as words of its own.
use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::Schema;
use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArguments, Ident, Query, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use crate::problem::Code;
use crate::sql::parse::{Parsed, statements};
use crate::sql::registry::Readable;
use crate::sql::{SqlProblem, text_span};

/// The query with such columns in double quotes, and what is wrong: each column once, where it stands first.
pub(crate) fn quote_columns(query: &Query, relations: &[Readable]) -> (Query, Vec<SqlProblem>) {
    let mut query = query.clone();
    let mut quotes = Quotes {
        relations,
        told: BTreeSet::new(),
        problems: Vec::new(),
    };
    let _ = query.visit(&mut quotes);
    (query, quotes.problems)
}

/// The word of an expression such as `user` or `current_date`, which calls a function without brackets.
pub(crate) fn bare_word(call: &Function) -> Option<&Ident> {
    match (&call.args, call.name.0.as_slice()) {
        (FunctionArguments::None, [only]) => {
            only.as_ident().filter(|word| word.quote_style.is_none())
        }
        _ => None,
    }
}

struct Quotes<'a> {
    relations: &'a [Readable],
    told: BTreeSet<String>,
    problems: Vec<SqlProblem>,
}

impl VisitorMut for Quotes<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(call) = expr else {
            return ControlFlow::Continue(());
        };
        let schemas = self.relations.iter().map(|r| r.schema.as_ref());
        let column = bare_word(call).and_then(|word| {
            let column = column(&word.value, schemas)?;
            Some((word.clone(), column.to_owned()))
        });
        if let Some((word, column)) = column {
            if self.told.insert(column.clone()) {
                let message = format!(
                    "`{word}` is a word of SQL itself, and does not mean the column `{column}`"
                );
                let problem = SqlProblem::new(Code::SqlSyntax, message);
                self.problems
                    .push(problem.help(quoted(&column)).at(text_span(word.span)));
            }
            *expr = Expr::Identifier(Ident {
                value: column,
                quote_style: Some('"'),
                span: word.span,
            });
        }
        ControlFlow::Continue(())
    }
}

fn column<'a>(word: &str, schemas: impl IntoIterator<Item = &'a Schema>) -> Option<&'a str> {
    let mut fields = schemas.into_iter().flat_map(Schema::fields);
    let found = fields.find(|field| field.name().eq_ignore_ascii_case(word))?;
    Some(found.name())
}

fn quoted(column: &str) -> String {
    format!("write the column's name in double quotes: `\"{column}\"`")
}

/// Words of SQL that may have been meant as columns, in a text that was read otherwise than it was meant.
#[derive(Debug)]
pub(crate) struct Suspects {
    suspects: Vec<String>,
    /// Every word of the text: relations are among them.
    words: BTreeSet<String>,
}

impl Suspects {
    /// The words at the place of a problem and just before it.
    pub(crate) fn of_unparsed(sql: &str, problem: &SqlProblem) -> Self {
        let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
        let mut tokens = tokens.unwrap_or_default();
        tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
        let start = problem.span.map(|span| (span.line, span.column));
        let at = tokens.iter().position(|token| {
            let span = text_span(token.span);
            start.is_some() && span.map(|span| (span.line, span.column)) == start
        });
        let near = at.map_or(0..0, |at| at.saturating_sub(1)..at + 1);
        let suspects = near.filter_map(|at| {
            let word = keyword(&tokens.get(at)?.token)?;
            is_read_further(&tokens, at, start).then(|| word.value.clone())
        });
        Self {
            suspects: suspects.collect(),
            words: words(tokens.iter().map(|token| &token.token)),
        }
    }

    /// A keyword that was taken for a relation.
    pub(crate) fn of_relation(parsed: &Parsed, name: &str) -> Self {
        let tokens = || parsed.tokens.iter().map(|token| &token.token);
        let mut keywords = tokens().filter_map(keyword);
        let found = keywords.find(|word| word.value.eq_ignore_ascii_case(name));
        Self {
            suspects: found.map(|word| word.value.clone()).into_iter().collect(),
            words: words(tokens()),
        }
    }

    /// Whether the text names a relation.
    pub(crate) fn names(&self, relation: &str) -> bool {
        self.words.contains(relation)
    }

    /// What to write where a suspect is a column of these.
    pub(crate) fn help<'a>(
        &self,
        schemas: impl Iterator<Item = &'a Schema> + Clone,
    ) -> Option<String> {
        self.suspects.iter().find_map(|word| {
            let column = column(word, schemas.clone())?;
            Some(format!(
                "`{word}` is a word of SQL itself: {}",
                quoted(column)
            ))
        })
    }
}

/// Whether a text that is no SQL at `start` is so far, with the word `at` in double quotes.
fn is_read_further(tokens: &[TokenWithSpan], at: usize, start: Option<(usize, usize)>) -> bool {
    let mut tokens = tokens.to_vec();
    if let Some(Token::Word(word)) = tokens.get_mut(at).map(|token| &mut token.token) {
        word.quote_style = Some('"');
        word.keyword = Keyword::NoKeyword;
    }
    match statements(&tokens) {
        Ok(_) => true,
        Err(problem) => problem.span.map(|span| (span.line, span.column)) > start,
    }
}

fn keyword(token: &Token) -> Option<&Word> {
    match token {
        Token::Word(word) if word.keyword != Keyword::NoKeyword && word.quote_style.is_none() => {
            Some(word)
        }
        _ => None,
    }
}

fn words<'a>(tokens: impl Iterator<Item = &'a Token>) -> BTreeSet<String> {
    let word = |token: &Token| match token {
        Token::Word(word) if word.quote_style.is_some() => Some(word.value.clone()),
        Token::Word(word) => Some(word.value.to_lowercase()),
        _ => None,
    };
    tokens.filter_map(word).collect()
}
