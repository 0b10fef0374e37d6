//! SQL of steps: parsed, judged, typed and lowered to programs of physical expressions.
pub(crate) mod culprit;
pub(crate) mod exact;
pub(crate) mod explain;
pub(crate) mod extent;
pub(crate) mod fold;
pub(crate) mod functions;
pub(crate) mod keyword;
pub(crate) mod lower;
pub(crate) mod parse;
pub(crate) mod refuse;
pub(crate) mod registry;
pub(crate) mod result;
pub(crate) mod select_list;
pub(crate) mod trace;
pub(crate) mod translate;
pub(crate) mod types;
pub(crate) mod windowed;
pub(crate) mod wording;

use datafusion_sql::sqlparser::tokenizer::Span;

use crate::problem::Code;
use crate::resource::TextSpan;

/// What is wrong with a query, and where in its text.
#[derive(Debug, Clone)]
pub(crate) struct SqlProblem {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) span: Option<TextSpan>,
    /// The name it is about, to find a place by where there is no span.
    pub(crate) about: Option<String>,
}

impl SqlProblem {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            help: None,
            span: None,
            about: None,
        }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    pub(crate) fn about(self, name: &str) -> Self {
        Self {
            about: Some(name.to_owned()),
            ..self
        }
    }

    pub(crate) fn at(self, span: impl Into<Option<TextSpan>>) -> Self {
        Self {
            span: span.into(),
            ..self
        }
    }
}

/// The parser's span as ours: its end is exclusive for tokens; what spans lines is cut to the first.
pub(crate) fn text_span(span: Span) -> Option<TextSpan> {
    let (line, column) = (
        usize::try_from(span.start.line).ok()?,
        usize::try_from(span.start.column).ok()?,
    );
    if line == 0 || column == 0 {
        return None;
    }
    let length = if span.end.line == span.start.line {
        usize::try_from(span.end.column.saturating_sub(span.start.column)).ok()?
    } else {
        usize::MAX
    };
    Some(TextSpan {
        line,
        column,
        length: length.max(1),
    })
}
