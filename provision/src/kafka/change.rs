//! What was done to a topic, or would be.
use std::fmt;

/// Something that was done to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The topic.
    pub topic: String,
    /// What was done.
    pub what: What,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It was made.
    Created {
        /// How many partitions it has.
        partitions: u32,
    },
    /// It got more partitions.
    Grown {
        /// How many it had.
        from: u32,
        /// How many it has.
        to: u32,
    },
    /// A setting was corrected.
    Configured {
        /// The setting.
        name: String,
        /// What it was; none where nothing was said.
        from: Option<String>,
        /// What it is.
        to: String,
    },
}

impl Change {
    /// What would be done, where it was not.
    #[must_use]
    pub fn planned(&self) -> impl fmt::Display {
        Said {
            change: self,
            made: "would be made",
            has: "would have",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = Said {
            change: self,
            made: "was made",
            has: "now has",
        };
        said.fmt(f)
    }
}

/// A change, and the words for it.
struct Said<'a> {
    change: &'a Change,
    made: &'static str,
    has: &'static str,
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (topic, made, has) = (&self.change.topic, self.made, self.has);
        write!(f, "topic {topic} ")?;
        match &self.change.what {
            What::Created { partitions: 1 } => write!(f, "{made} with 1 partition"),
            What::Created { partitions } => write!(f, "{made} with {partitions} partitions"),
            What::Grown { from, to } => write!(f, "{has} {to} partitions, not {from}"),
            What::Configured { name, from, to } => {
                let from = from.as_deref().unwrap_or("the broker's default");
                write!(f, "{has} {name}={to}, not {from}")
            }
        }
    }
}
