//! One event's values between reading and appending, so that a bad event leaves no trace in the columns.
use crate::scan::RawString;
use crate::string::unescape;

/// Text of a value: a range of the event, or of [`Row::decoded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    /// As it stands in the event.
    Plain {
        /// First byte.
        start: u32,
        /// Behind the last byte.
        end: u32,
    },
    /// Changed on the way: escapes resolved, a UUID in canonical form.
    Decoded {
        /// First byte.
        start: u32,
        /// Behind the last byte.
        end: u32,
    },
}

/// The value of a column in one event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Slot {
    Absent,
    Null,
    Text(Text),
    /// A bigint, or a timestamp in microseconds since the epoch.
    Whole(i64),
    Double(f64),
    Boolean(bool),
}

/// The values of one event. Its memory serves the next event too.
#[derive(Debug)]
pub(crate) struct Row {
    /// One for each column.
    pub(crate) slots: Vec<Slot>,
    /// What [`Text::Decoded`] refers to.
    pub(crate) decoded: String,
    /// The members no column takes, as a JSON object; empty where there are none or they are not kept.
    pub(crate) extra: String,
    /// Names of the objects being read that were not learned.
    pub(crate) strays: Vec<Text>,
}

impl Row {
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            slots: vec![Slot::Absent; columns],
            decoded: String::new(),
            extra: String::new(),
            strays: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.slots.fill(Slot::Absent);
        self.decoded.clear();
        self.extra.clear();
        self.strays.clear();
    }

    /// What a string token of `event` stands for.
    #[inline]
    pub(crate) fn text(&mut self, event: &str, raw: RawString) -> Text {
        if raw.escaped {
            return self.unescaped(event, raw);
        }
        // Events are shorter than 4 GiB: `Decoder::with_max_event_bytes` sees to it.
        Text::Plain {
            start: raw.start as u32,
            end: raw.end as u32,
        }
    }

    #[inline(never)]
    fn unescaped(&mut self, event: &str, raw: RawString) -> Text {
        self.decode(|decoded| {
            unescape(event.get(raw.start..raw.end).unwrap_or_default(), decoded);
        })
    }

    /// The text that `write` appends.
    pub(crate) fn decode(&mut self, write: impl FnOnce(&mut String)) -> Text {
        let start = self.decoded.len() as u32;
        write(&mut self.decoded);
        Text::Decoded {
            start,
            end: self.decoded.len() as u32,
        }
    }

    /// The characters of a text of this row.
    #[inline]
    pub(crate) fn resolve<'r>(&'r self, event: &'r str, text: Text) -> &'r str {
        let (source, start, end) = match text {
            Text::Plain { start, end } => (event, start, end),
            Text::Decoded { start, end } => (self.decoded.as_str(), start, end),
        };
        source.get(start as usize..end as usize).unwrap_or_default()
    }
}
