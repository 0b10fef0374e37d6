//! What was done to a topic.
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

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = &self.topic;
        match &self.what {
            What::Created { partitions: 1 } => write!(f, "topic {topic} was made with 1 partition"),
            What::Created { partitions } => {
                write!(f, "topic {topic} was made with {partitions} partitions")
            }
            What::Grown { from, to } => {
                write!(f, "topic {topic} has {to} partitions now, not {from}")
            }
            What::Configured { name, from, to } => {
                let from = from.as_deref().unwrap_or("the broker's default");
                write!(f, "topic {topic} has {name}={to} now, not {from}")
            }
        }
    }
}
