//! Names on the log: topics, consumer groups and transactional ids of a pipeline.
//!
//! Resource, step and output names hold no dots, so no two of these names can collide.

/// The topic of an EventSource.
pub fn source_topic(namespace: &str, source: &str) -> String {
    format!("{namespace}.{source}")
}

/// How far the generator of an EventSource has come; one partition, compacted.
pub fn generator_positions(namespace: &str, source: &str) -> String {
    format!("{}.generator", source_topic(namespace, source))
}

/// The names of one pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineNames {
    prefix: String,
}

impl PipelineNames {
    /// Names for the Pipeline `namespace`/`name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            prefix: format!("{namespace}.{name}"),
        }
    }

    /// Records that could not be processed, with their original bytes.
    pub fn dead_letters(&self) -> String {
        format!("{}.dead-letters", self.prefix)
    }

    /// Watermarks and idleness decrees of all source partitions; one partition.
    pub fn watermarks(&self) -> String {
        format!("{}.watermarks", self.prefix)
    }

    /// The generations of steps and outputs; one partition, compacted.
    pub fn generations(&self) -> String {
        format!("{}.generations", self.prefix)
    }

    /// Progress and state of the tasks of an input (a source, or an aggregate step); compacted, partitioned as the input.
    pub fn state(&self, input: &str) -> String {
        format!("{}.{input}.state", self.prefix)
    }

    /// Partial aggregates of one generation of an aggregate step, hashed by group key.
    pub fn partials(&self, step: &str, generation: i64) -> String {
        format!("{}.{step}.g{generation}.partials", self.prefix)
    }

    /// Whether a topic is one of the pipeline's own, of any generation and of any plan that it had.
    pub fn is_own(&self, topic: &str) -> bool {
        const KINDS: [&str; 5] = [
            "dead-letters",
            "watermarks",
            "generations",
            "state",
            "partials",
        ];
        let rest = topic
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| {
            let kind = rest.rsplit('.').next().unwrap_or_default();
            KINDS.contains(&kind)
        })
    }

    /// The consumer group over the input that has this topic of state or partials of the pipeline; none for its other topics.
    pub fn group_of(topic: &str) -> Option<&str> {
        topic
            .strip_suffix(".state")
            .or_else(|| topic.strip_suffix(".partials"))
    }

    /// The consumer group over a source.
    pub fn source_group(&self, source: &str) -> String {
        format!("{}.{source}", self.prefix)
    }

    /// The consumer group over the partials of one generation of an aggregate step.
    pub fn partials_group(&self, step: &str, generation: i64) -> String {
        format!("{}.{step}.g{generation}", self.prefix)
    }

    /// The transactional id of a task: one partition of one input.
    pub fn task(&self, input: &str, partition: i32) -> String {
        format!("{}.{input}.{partition}", self.prefix)
    }

    /// The transactional id under which dead letters are sent again: one person at a time does that.
    pub fn sender(&self) -> String {
        self.dead_letters()
    }

    /// The transactional id under which generations are allotted.
    pub fn allotter(&self) -> String {
        format!("{}.generations", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_topics_are_told_from_those_of_a_source_of_the_same_name() {
        let names = PipelineNames::new("shop", "kpis");
        let own = [
            names.dead_letters(),
            names.watermarks(),
            names.generations(),
            names.state("clicks"),
            names.partials("hourly", 3),
        ];
        assert!(own.iter().all(|topic| names.is_own(topic)));
        for other in [
            source_topic("shop", "kpis"),
            generator_positions("shop", "kpis"),
            PipelineNames::new("shop", "kpis2").watermarks(),
            PipelineNames::new("shop2", "kpis").watermarks(),
        ] {
            assert!(!names.is_own(&other), "{other}");
        }
    }

    #[test]
    fn groups_are_found_by_the_topics_of_their_inputs() {
        let names = PipelineNames::new("shop", "kpis");
        let group = |topic: String| PipelineNames::group_of(&topic).map(str::to_owned);
        assert_eq!(
            group(names.state("clicks")),
            Some(names.source_group("clicks"))
        );
        assert_eq!(
            group(names.partials("hourly", 3)),
            Some(names.partials_group("hourly", 3))
        );
        assert_eq!(group(names.watermarks()), None);
    }
}
