//! What a cluster in the making tells its maker: lines on a pipe, a word and its text.
use std::io::Write;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// A step is done.
    Step(String),
    /// The cluster is there.
    Ready,
    /// It cannot be made.
    Failed(String),
}

impl Said {
    /// Tells it. A maker that has gone need not hear it.
    pub(crate) fn tell(&self) {
        let mut out = std::io::stdout().lock();
        let _ = match self {
            Self::Step(text) => writeln!(out, "step {}", one_line(text)),
            Self::Ready => writeln!(out, "ready"),
            Self::Failed(text) => writeln!(out, "failed {}", one_line(text)),
        };
        let _ = out.flush();
    }

    /// Reads it; none where somebody else has written.
    pub(crate) fn read(line: &str) -> Option<Self> {
        match line
            .trim_end()
            .split_once(' ')
            .unwrap_or((line.trim_end(), ""))
        {
            ("step", text) => Some(Self::Step(lines(text))),
            ("ready", _) => Some(Self::Ready),
            ("failed", text) => Some(Self::Failed(lines(text))),
            _ => None,
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn lines(text: &str) -> String {
    let mut lines = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => lines.push(match characters.next() {
                Some('n') => '\n',
                escaped => escaped.unwrap_or(character),
            }),
            _ => lines.push(character),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::Said;

    #[test]
    fn a_message_of_several_lines_is_read_as_it_was_told() {
        let text = "the broker ended:\n  C:\\new\\n";
        let line = format!("failed {}\n", super::one_line(text));
        assert_eq!(line.lines().count(), 1);
        assert_eq!(Said::read(&line), Some(Said::Failed(text.to_owned())));
        assert_eq!(Said::read("ready\n"), Some(Said::Ready));
        assert_eq!(Said::read("W1121 something else"), None);
    }
}
