//! Where an expression stands. The parser's spans leave out keywords and brackets at either end.
use datafusion_sql::sqlparser::ast::{CastKind, Expr, Spanned};
use datafusion_sql::sqlparser::tokenizer::Token;

use crate::resource::TextSpan;
use crate::sql::parse::Parsed;
use crate::sql::text_span;

impl Parsed {
    /// Where the whole of an expression stands, as far as its line goes.
    pub(crate) fn extent(&self, expr: &Expr) -> Option<TextSpan> {
        let span = expr.span();
        let is_start = |at: &usize| self.tokens[*at].span.start == span.start;
        let is_end = |at: &usize| self.tokens[*at].span.end == span.end;
        let start = (0..self.tokens.len()).find(is_start)?;
        let end = (0..self.tokens.len()).rev().find(is_end)?;
        let first = self.first(expr, start);
        let last = self.closing(first, self.last(expr, end.max(first)));
        let (from, to) = (
            text_span(self.tokens.get(first)?.span)?,
            text_span(self.tokens.get(last)?.span)?,
        );
        let length = if from.line == to.line {
            (to.column + to.length).saturating_sub(from.column)
        } else {
            usize::MAX
        };
        Some(TextSpan { length, ..from })
    }

    /// The first token of an expression whose span begins at token `start`.
    fn first(&self, expr: &Expr, start: usize) -> usize {
        match expr {
            Expr::BinaryOp { left: inner, .. }
            | Expr::Between { expr: inner, .. }
            | Expr::InList { expr: inner, .. }
            | Expr::Like { expr: inner, .. }
            | Expr::ILike { expr: inner, .. }
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::Cast {
                kind: CastKind::DoubleColon,
                expr: inner,
                ..
            } => self.first(inner, start),
            Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => {
                self.first(inner, start).saturating_sub(1)
            }
            Expr::Interval(_) | Expr::TypedString(_) => start.saturating_sub(1),
            Expr::Cast { expr: inner, .. }
            | Expr::Extract { expr: inner, .. }
            | Expr::Substring { expr: inner, .. }
            | Expr::Trim { expr: inner, .. }
            | Expr::Ceil { expr: inner, .. }
            | Expr::Floor { expr: inner, .. }
            | Expr::Position { expr: inner, .. } => {
                let inner = self.first(inner, start);
                self.call_around(inner).unwrap_or(inner)
            }
            _ => start,
        }
    }

    /// The name of the call whose brackets are around a token.
    fn call_around(&self, token: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for at in (1..token).rev() {
            match &self.tokens.get(at)?.token {
                Token::RParen => depth += 1,
                Token::LParen if depth == 0 => return Some(at - 1),
                Token::LParen => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// The last token of an expression whose span ends with token `end`, but for closing brackets.
    fn last(&self, expr: &Expr, end: usize) -> usize {
        let opens = |at: usize| {
            let next = self.tokens.get(at + 1).map(|t| &t.token);
            matches!(next, Some(Token::LParen))
        };
        match expr {
            Expr::BinaryOp { right, .. } => self.last(right, end),
            Expr::Cast {
                kind: CastKind::DoubleColon,
                ..
            } => {
                let from_sign = self.tokens.iter().skip(end);
                let sign = from_sign
                    .take_while(|t| t.token != Token::DoubleColon)
                    .count();
                let name = end + sign + 1;
                name + usize::from(opens(name))
            }
            // A call without arguments ends with its name, as far as its span tells.
            Expr::Function(_) => end + usize::from(opens(end)),
            _ => end,
        }
    }

    /// The token from `end` on that closes all brackets opened from `first` on.
    fn closing(&self, first: usize, end: usize) -> usize {
        let end = end.min(self.tokens.len().saturating_sub(1));
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate().skip(first) {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            if at >= end && depth == 0 {
                return at;
            }
        }
        end
    }
}
