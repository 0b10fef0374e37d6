//! From text to a parsed query, and the relations it reads.
use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{ObjectName, Query, SetExpr, Statement, Visit, Visitor};
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer};

use crate::nearest::nearest;
use crate::problem::Code;
use crate::resource::TextSpan;
use crate::sql::wording::lower_first;
use crate::sql::{SqlProblem, text_span};

/// How deep expressions may nest.
const MAX_DEPTH: usize = 64;

/// Keywords that follow the last item of a SELECT list or a condition.
const ENDS_ITEM: &[Keyword] = &[
    Keyword::FROM,
    Keyword::WHERE,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::UNION,
    Keyword::ORDER,
    Keyword::LIMIT,
];

/// A query as it was parsed, with its tokens to find keywords by.
#[derive(Debug, Clone)]
pub(crate) struct Parsed {
    pub(crate) query: Query,
    pub(crate) tokens: Vec<TokenWithSpan>,
}

/// Parses one SELECT.
pub(crate) fn parse(sql: &str) -> Result<Parsed, SqlProblem> {
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|e| {
            let at = text_span(Span::new(e.location, e.location));
            let problem = SqlProblem::new(
                Code::SqlSyntax,
                format!("this is not SQL: {}", lower_first(&e.message)),
            );
            problem.help(UNTOKENIZED).at(at)
        })?;
    let statements = statements(&tokens)?;
    let tokens: Vec<TokenWithSpan> = tokens
        .into_iter()
        .filter(|t| !matches!(t.token, Token::Whitespace(_)))
        .collect();
    let first = tokens.first().and_then(|t| text_span(t.span));
    let mut statements = statements.into_iter();
    let (statement, rest) = (statements.next(), statements.next());
    if rest.is_some() {
        let second = tokens
            .iter()
            .skip_while(|t| t.token != Token::SemiColon)
            .find(|t| t.token != Token::SemiColon);
        return Err(SqlProblem::new(
            Code::NotASelect,
            "a step is one SELECT, and these are several statements",
        )
        .help("make each SELECT a step of its own; later steps read it by its name")
        .at(second.and_then(|t| text_span(t.span))));
    }
    match statement {
        Some(Statement::Query(query)) if is_select(&query.body) => Ok(Parsed {
            query: *query,
            tokens,
        }),
        Some(_) => Err(SqlProblem::new(
            Code::NotASelect,
            "a step is one SELECT, and this is another statement",
        )
        .help("write `SELECT ... FROM ...`; tables are made and filled by outputs")
        .at(first)),
        None => Err(SqlProblem::new(Code::NotASelect, "the SQL is empty")
            .help("write `SELECT ... FROM ...`")),
    }
}

/// The statements of a text, or the first place where it is no SQL.
pub(crate) fn statements(tokens: &[TokenWithSpan]) -> Result<Vec<Statement>, SqlProblem> {
    let mut parser = Parser::new(&GenericDialect {})
        .with_recursion_limit(MAX_DEPTH)
        .with_tokens_with_locations(tokens.to_vec());
    parser.parse_statements().map_err(|e| {
        let problem = syntax_error(&e.to_string(), tokens);
        // What ends too early has its place at the end.
        let end = tokens
            .iter()
            .rev()
            .find(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF));
        let at = problem.span.or_else(|| end.and_then(|t| text_span(t.span)));
        problem.at(at)
    })
}

fn is_select(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(_)
        | SetExpr::SetOperation { .. }
        | SetExpr::Values(_)
        | SetExpr::Table(_) => true,
        SetExpr::Query(query) => is_select(&query.body),
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => false,
    }
}

/// What to do about text that is not even words and signs.
const UNTOKENIZED: &str =
    "close every quote; a quote inside a text is written twice, as in `'it''s'`";

/// The parser says where in words: "... at Line: 1, Column: 8".
fn syntax_error(text: &str, tokens: &[TokenWithSpan]) -> SqlProblem {
    let text = text.trim_start_matches("sql parser error: ");
    let (message, place) = match text.rsplit_once(" at Line: ") {
        Some((message, place)) => (message, place.split_once(", Column: ")),
        None => (text, None),
    };
    let start = place.and_then(|(line, column)| {
        Some((
            line.parse::<usize>().ok()?,
            column.trim().parse::<usize>().ok()?,
        ))
    });
    let mut words = tokens
        .iter()
        .filter(|t| !matches!(t.token, Token::Whitespace(_)));
    let at = words.clone().position(|t| {
        text_span(t.span).is_some_and(|span| Some((span.line, span.column)) == start)
    });
    let here = at.and_then(|at| words.clone().nth(at));
    let before = at.and_then(|at| words.nth(at.checked_sub(1)?));
    let span = here.and_then(|t| text_span(t.span)).or_else(|| {
        start.map(|(line, column)| TextSpan {
            line,
            column,
            length: 1,
        })
    });
    if message.contains("recursion") {
        return SqlProblem::new(Code::SqlSyntax, "the SQL nests too deeply")
            .help("compute part of it in a step before")
            .at(span);
    }
    let message = message.replace("found: EOF", "found: the end of the SQL");
    let help = [before, here]
        .into_iter()
        .flatten()
        .find_map(|t| misspelt(&t.token))
        .unwrap_or_else(|| "look at what stands here and just before it".to_owned());
    SqlProblem::new(
        Code::SqlSyntax,
        format!("this is not SQL: {}", lower_first(&message)),
    )
    .help(help)
    .at(span)
}

/// The keyword that a word which is none may have been meant for.
fn misspelt(token: &Token) -> Option<String> {
    let Token::Word(word) = token else {
        return None;
    };
    if word.keyword != Keyword::NoKeyword || word.quote_style.is_some() || word.value.len() < 3 {
        return None;
    }
    let near = nearest(&word.value, KEYWORDS.iter().copied());
    near.first()
        .map(|keyword| format!("did you mean `{keyword}` instead of `{}`?", word.value))
}

/// What a step is written with.
const KEYWORDS: &[&str] = &[
    "SELECT", "FROM", "WHERE", "GROUP", "HAVING", "UNION", "BETWEEN", "LIKE", "CASE", "WHEN",
    "THEN", "ELSE", "FILTER", "INTERVAL", "AND", "NOT", "NULL",
];

impl Parsed {
    /// The first place where `keyword` stands.
    pub(crate) fn keyword(&self, keyword: Keyword) -> Option<TextSpan> {
        let is = |token: &Token| matches!(token, Token::Word(w) if w.keyword == keyword && w.quote_style.is_none());
        self.tokens
            .iter()
            .find(|t| is(&t.token))
            .and_then(|t| text_span(t.span))
    }

    /// The place where `keyword` stands least deep in brackets: the query's own clause rather than a call's.
    pub(crate) fn clause(&self, keyword: Keyword) -> Option<TextSpan> {
        let mut depth = 0_usize;
        let mut best: Option<(usize, Span)> = None;
        for token in &self.tokens {
            match &token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                Token::Word(word)
                    if word.keyword == keyword
                        && word.quote_style.is_none()
                        && best.is_none_or(|(found, _)| depth < found) =>
                {
                    best = Some((depth, token.span));
                }
                _ => {}
            }
        }
        best.and_then(|(_, span)| text_span(span))
    }

    /// The last place where a name stands as a word: names are given after what they name, and grouped by after that.
    pub(crate) fn word(&self, name: &str) -> Option<TextSpan> {
        let is = |token: &Token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(name));
        let found = self.tokens.iter().rev().find(|t| is(&t.token));
        found.and_then(|t| text_span(t.span))
    }

    /// From `start` to the end of the item of a list that begins there, as far as the line goes.
    pub(crate) fn item_from(&self, start: TextSpan) -> TextSpan {
        let mut depth = 0_usize;
        let mut end = start.column + start.length;
        let here = |t: &&TokenWithSpan| {
            text_span(t.span).is_some_and(|s| s.line == start.line && s.column >= start.column)
        };
        for token in self.tokens.iter().filter(here) {
            let ends = match &token.token {
                Token::Comma | Token::SemiColon => depth == 0,
                Token::LParen => {
                    depth += 1;
                    false
                }
                Token::RParen if depth == 0 => true,
                Token::RParen => {
                    depth -= 1;
                    false
                }
                Token::Word(word) => {
                    depth == 0 && word.quote_style.is_none() && ENDS_ITEM.contains(&word.keyword)
                }
                _ => false,
            };
            if ends {
                break;
            }
            if let Some(span) = text_span(token.span) {
                end = end.max(span.column + span.length.min(1 << 16));
            }
        }
        TextSpan {
            length: end - start.column,
            ..start
        }
    }

    /// The relations that it reads, and where each is named first. Its own WITH queries are not among them.
    pub(crate) fn relations(&self) -> Vec<(String, Option<TextSpan>)> {
        let mut reads = Relations::default();
        let _ = self.query.visit(&mut reads);
        let Relations { ctes, mut found } = reads;
        let mut seen = BTreeSet::new();
        found.retain(|(name, _)| !ctes.contains(name) && seen.insert(name.clone()));
        found
    }
}

#[derive(Default)]
struct Relations {
    ctes: BTreeSet<String>,
    found: Vec<(String, Option<TextSpan>)>,
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.ctes
                .extend(with.cte_tables.iter().map(|cte| normal(&cte.alias.name)));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let idents: Vec<_> = relation
            .0
            .iter()
            .filter_map(|part| part.as_ident())
            .collect();
        let name = idents
            .iter()
            .map(|i| normal(i))
            .collect::<Vec<_>>()
            .join(".");
        let span = idents
            .first()
            .and_then(|i| text_span(i.span))
            .map(|s| TextSpan {
                length: idents
                    .last()
                    .and_then(|i| text_span(i.span))
                    .map_or(s.length, |e| e.column + e.length - s.column),
                ..s
            });
        self.found.push((name, span));
        ControlFlow::Continue(())
    }
}

/// An identifier as PostgreSQL reads it: lower case unless quoted.
pub(crate) fn normal(ident: &datafusion_sql::sqlparser::ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}
