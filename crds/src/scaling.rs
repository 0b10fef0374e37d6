//! How many workers run a Pipeline.
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// How many workers there are at most, where nothing says so.
const MOST_BY_DEFAULT: u32 = 10;

/// How many workers run a Pipeline: as many as it takes to process in time what waits to be processed.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("!has(self.max) || self.min <= self.max")
        .message("`max` must not be less than `min`"),
]))]
pub struct Scaling {
    /// How many there are at least.
    #[serde(default = "Scaling::default_min")]
    #[schemars(range(min = 1, max = 512))]
    pub min: i32,
    /// How many there are at most. 10 if absent, or `min` where that is more. There are never more than have something to do: one for each
    /// partition of the input that has most of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub max: Option<i32>,
    /// Within what time everything that waits is to be processed: where the workers would take longer, there are soon more of them. They
    /// become fewer again when fewer have been enough for five times as long, at most 5m.
    #[serde(default = "Scaling::default_catch_up_within")]
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self >= duration('10s') && self <= duration('24h')")
            .message("must be at least 10s, because a worker takes some seconds to start, and at most 24h"),
    ]))]
    pub catch_up_within: Duration,
}

impl Scaling {
    fn default_min() -> i32 {
        1
    }

    fn default_catch_up_within() -> Duration {
        Duration::from_secs(60)
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How many workers there are at least.
    pub fn least(&self) -> u32 {
        u32::try_from(self.min).unwrap_or(1).max(1)
    }

    /// How many there are at most, however many partitions there are.
    pub fn most(&self) -> u32 {
        let said = self.max.and_then(|max| u32::try_from(max).ok());
        said.unwrap_or(MOST_BY_DEFAULT).max(self.least())
    }
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            min: Self::default_min(),
            max: None,
            catch_up_within: Self::default_catch_up_within(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_at_most_as_many_as_is_said_and_at_least_the_least() {
        let of = |min, max| Scaling {
            min,
            max,
            ..Scaling::default()
        };
        let bounds = |scaling: Scaling| (scaling.least(), scaling.most());
        assert_eq!(bounds(Scaling::default()), (1, 10));
        assert_eq!(bounds(of(2, Some(3))), (2, 3));
        assert_eq!(bounds(of(20, None)), (20, 20));
        // What no API server lets through.
        assert_eq!(bounds(of(-1, Some(-2))), (1, 10));
        assert_eq!(bounds(of(4, Some(3))), (4, 4));
    }
}
