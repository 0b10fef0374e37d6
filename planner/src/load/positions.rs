//! From the members of a YAML document to lines and columns of its file.
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::problem::Place;
use crate::resource::TextSpan;

/// A step into a value: a member's name, or an index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    Key(String),
    Index(usize),
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// `spec.steps[1].sql`.
pub(crate) fn path_text(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Key(key) if text.is_empty() => text.push_str(key),
            Segment::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Segment::Index(index) => {
                let _ = write!(text, "[{index}]");
            }
        }
    }
    text
}

/// A file's text. It may hold Secrets, so `Debug` shows its name only.
pub(crate) struct SourceFile {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceFile").field(&self.name).finish()
    }
}

/// One YAML document of a file: where each of its members stands.
#[derive(Debug)]
pub(crate) struct Document {
    file: Arc<SourceFile>,
    nodes: HashMap<Vec<Segment>, Node>,
    root: Node,
    /// A member that is written twice.
    duplicate: Option<(String, Span)>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    key: Option<Span>,
    value: Span,
    style: Option<ScalarStyle>,
}

impl Document {
    /// Where the value at `path` stands, or that of its nearest parent.
    pub(crate) fn value(&self, path: &[Segment]) -> Option<Place> {
        let (node, found) = self.nearest(path);
        let span = match (node.key, node.style) {
            // A mapping or a list is shown by its name, a block of text too; so is the parent of a member that is missing.
            (Some(key), None | Some(ScalarStyle::Literal | ScalarStyle::Folded)) => key,
            (Some(key), _) if !found => key,
            _ => node.value,
        };
        self.place(span)
    }

    /// Whether it holds nothing, as after a `---` at the end of a file.
    pub(crate) fn is_null(&self) -> bool {
        let plain = self.root.style == Some(ScalarStyle::Plain);
        let length = self.root.value.len();
        let text: String = self
            .file
            .text
            .chars()
            .skip(self.root.value.start.index())
            .take(length)
            .collect();
        plain && matches!(text.trim(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The first member that is written twice, and where it is the second time.
    pub(crate) fn duplicate(&self) -> Option<(&str, Option<Place>)> {
        let (name, span) = self.duplicate.as_ref()?;
        Some((name, self.place(*span)))
    }

    /// Where the name of the member at `path` stands.
    pub(crate) fn key(&self, path: &[Segment]) -> Option<Place> {
        let (node, _) = self.nearest(path);
        self.place(node.key.unwrap_or(node.value))
    }

    /// Where `span` of `text`, which is the value at `path`, stands in the file.
    pub(crate) fn within(&self, path: &[Segment], text: &str, span: TextSpan) -> Option<Place> {
        let node = self.nodes.get(path)?;
        let style = node.style?;
        let target = char_index(text, span.line, span.column)?;
        let raw: Vec<char> = self
            .file
            .text
            .chars()
            .skip(node.value.start.index())
            .take(node.value.len())
            .collect();
        let at = align(&raw, text, target, style)?;
        let before = &raw[..at];
        let newlines = before.iter().filter(|c| **c == '\n').count();
        let column = match before.iter().rposition(|c| *c == '\n') {
            Some(newline) => at - newline,
            None => node.value.start.col() + at + 1,
        };
        let line = node.value.start.line() + newlines;
        self.at(line, column, span.length)
    }

    fn nearest(&self, path: &[Segment]) -> (&Node, bool) {
        let found = (0..=path.len()).rev().find_map(|n| {
            self.nodes
                .get(&path[..n])
                .map(|node| (node, n == path.len()))
        });
        found.unwrap_or((&self.root, false))
    }

    fn place(&self, span: Span) -> Option<Place> {
        let one_line = span.start.line() == span.end.line();
        let length = if one_line {
            span.end.col().saturating_sub(span.start.col())
        } else {
            usize::MAX
        };
        self.at(span.start.line(), span.start.col() + 1, length)
    }

    fn at(&self, line: usize, column: usize, length: usize) -> Option<Place> {
        place_in(&self.file, line, column, length)
    }
}

/// A place in a file, cut to what the line holds.
pub(crate) fn place_in(
    file: &SourceFile,
    line: usize,
    column: usize,
    length: usize,
) -> Option<Place> {
    let text = file
        .text
        .lines()
        .nth(line.checked_sub(1)?)
        .unwrap_or("")
        .trim_end()
        .to_owned();
    let room = (text.chars().count() + 1).saturating_sub(column).max(1);
    Some(Place {
        file: Some(file.name.clone()),
        line,
        column: column.max(1),
        length: length.clamp(1, room),
        text,
    })
}

/// Index of the character at a line and column (from 1).
fn char_index(text: &str, line: usize, column: usize) -> Option<usize> {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.checked_sub(1)?)
        .map(|l| l.chars().count())
        .sum();
    let index = start + column.checked_sub(1)?;
    (index < text.chars().count()).then_some(index)
}

/// Index in `raw`, the text of a scalar as it stands in the file, of character `target` of its `value`.
///
/// YAML folds lines and takes indentation and escapes away, so white space may match any white space; all else
/// must be found in order.
fn align(raw: &[char], value: &str, target: usize, style: ScalarStyle) -> Option<usize> {
    let mut at = match style {
        // What follows `|` or `>` on its line is not content.
        ScalarStyle::Literal | ScalarStyle::Folded => match raw.first() {
            Some('|' | '>') => raw.iter().position(|c| *c == '\n')? + 1,
            _ => 0,
        },
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => 1,
        ScalarStyle::Plain => 0,
    };
    for (index, wanted) in value.chars().enumerate() {
        if style == ScalarStyle::DoubleQuoted && raw.get(at) == Some(&'\\') {
            if index == target {
                return Some(at);
            }
            at += match raw.get(at + 1) {
                Some('x') => 4,
                Some('u') => 6,
                Some('U') => 10,
                _ => 2,
            };
            continue;
        }
        if !wanted.is_whitespace() {
            while raw.get(at).is_some_and(|c| *c != wanted) {
                at += 1;
            }
        }
        if index == target {
            return (at < raw.len()).then_some(at);
        }
        let matches = raw
            .get(at)
            .is_some_and(|c| *c == wanted || c.is_whitespace());
        at += usize::from(matches);
    }
    None
}

/// Where the last alias of a file stands.
pub(crate) fn last_alias(file: &SourceFile) -> Option<Place> {
    let aliases = Parser::new_from_str(&file.text)
        .filter_map(Result::ok)
        .filter(|(event, _)| matches!(event, Event::Alias(_)));
    let (_, span) = aliases.last()?;
    let length = span.end.col().saturating_sub(span.start.col());
    place_in(file, span.start.line(), span.start.col() + 1, length)
}

/// Where the documents of a file begin and what they hold, empty ones left out.
pub(crate) fn documents(file: &Arc<SourceFile>) -> Result<Vec<Document>, ScanError> {
    let mut documents = Vec::new();
    let mut walk = Walk::default();
    for event in Parser::new_from_str(&file.text) {
        let (event, span) = event?;
        match event {
            Event::DocumentStart(_) => walk = Walk::default(),
            Event::DocumentEnd => {
                let Walk {
                    nodes,
                    root: Some(root),
                    duplicate,
                    ..
                } = std::mem::take(&mut walk)
                else {
                    continue;
                };
                documents.push(Document {
                    file: Arc::clone(file),
                    nodes,
                    root,
                    duplicate,
                });
            }
            Event::Scalar(text, style, ..) => walk.scalar(&text, style, span),
            Event::Alias(_) => walk.scalar("", ScalarStyle::Plain, span),
            Event::SequenceStart(..) => walk.open(Frame::Sequence(0), span),
            Event::MappingStart(..) => walk.open(Frame::Mapping(None), span),
            Event::SequenceEnd | Event::MappingEnd => walk.close(span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd => {}
        }
    }
    Ok(documents)
}

/// Follows the events of one document.
#[derive(Default)]
struct Walk {
    nodes: HashMap<Vec<Segment>, Node>,
    root: Option<Node>,
    path: Vec<Segment>,
    frames: Vec<Frame>,
    duplicate: Option<(String, Span)>,
}

enum Frame {
    /// The index of the next element.
    Sequence(usize),
    /// The name whose value comes next.
    Mapping(Option<(String, Span)>),
}

impl Walk {
    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) {
        if let Some(Frame::Mapping(key @ None)) = self.frames.last_mut() {
            *key = Some((text.to_owned(), span));
            self.path.push(Segment::Key(text.to_owned()));
            if self.nodes.contains_key(&self.path) && self.duplicate.is_none() {
                self.duplicate = Some((text.to_owned(), span));
            }
            self.path.pop();
            return;
        }
        self.enter(Some(style), span);
        self.leave();
    }

    fn open(&mut self, frame: Frame, span: Span) {
        self.enter(None, span);
        self.frames.push(frame);
    }

    fn close(&mut self, span: Span) {
        self.frames.pop();
        if let Some(node) = self.nodes.get_mut(&self.path) {
            node.value.end = span.end;
        }
        self.leave();
    }

    /// A value begins: what the frame around it says is its place in the path.
    fn enter(&mut self, style: Option<ScalarStyle>, span: Span) {
        let key = match self.frames.last_mut() {
            Some(Frame::Sequence(next)) => {
                self.path.push(Segment::Index(*next));
                *next += 1;
                None
            }
            Some(Frame::Mapping(key)) => {
                // A key that is itself a mapping or a list has no name; resources have none of those.
                let (name, at) = key.take().unwrap_or((String::new(), span));
                self.path.push(Segment::Key(name));
                Some(at)
            }
            None => None,
        };
        let node = Node {
            key,
            value: span,
            style,
        };
        self.root.get_or_insert(node);
        self.nodes.insert(self.path.clone(), node);
    }

    fn leave(&mut self) {
        self.path.pop();
    }
}
