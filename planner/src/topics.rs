//! The topics that sources and pipelines need, and what becomes of old records in each: for whoever makes them, wherever the log is.
//!
//! | topic | partitions | old records |
//! |---|---|---|
//! | of a source, unless it names an existing one | as declared | go after its `retention` |
//! | positions of a source's generator | 1 | the newest of each key stays |
//! | dead letters | 1 | go after `errors.deadLetter.retention` |
//! | watermarks | 1 | the newest of each key stays |
//! | generations | 1 | the newest of each key stays |
//! | state of an input | as the input | the newest of each key stays |
//! | partials of a generation | as the step | stay until the step's tasks delete them |
//! | of an output | as declared | go after its `retention`; of windows the newest of each key stays |
//!
//! Existing topics are somebody else's: they are never made or changed. Their partitions are asked for: see [`Plan::with_partitions`].
use tidewheel_crds::event_source::EventSourceSpec;

use crate::generations::{self, Allotment, NewerPlan};
use crate::names::{PipelineNames, generator_positions, source_topic};
use crate::plan::{Output, Plan, Source, StepKind, TopicCleanup};
use crate::resource::{Resource, ResourceSet};

/// A topic that has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// How many partitions it has at least.
    pub partitions: u32,
    /// What becomes of old records.
    pub cleanup: Cleanup,
    /// Whether only workers write to it, and not those who send events.
    pub is_internal: bool,
    /// A user chose its name, for an output. One that is there already may be somebody else's: it is taken as it is or not at all.
    pub is_named: bool,
}

/// What becomes of old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// They go at this age by append time, ms.
    After(u64),
    /// They stay, unless who reads them deletes them.
    Never,
    /// The newest record of each key stays.
    Compact,
}

/// The topics of all sources of a set, those that no pipeline reads included. Existing topics are not among them.
pub fn of_sources(set: &ResourceSet) -> Vec<Topic> {
    let sources = set.event_sources.iter();
    let own = sources.filter(|source| source.spec.kafka.is_none());
    own.flat_map(of_source).collect()
}

/// The existing topics that sources of a set name, as an embedded log has them where nobody else has made them.
pub fn existing(set: &ResourceSet) -> Vec<Topic> {
    let sources = set.event_sources.iter();
    let existing = sources.filter_map(|source| {
        Some(Topic {
            name: source.spec.kafka.as_ref()?.topic.clone(),
            partitions: u32::try_from(source.spec.topic.partitions).unwrap_or(1),
            // How long their owner keeps records is not known.
            cleanup: Cleanup::Never,
            is_internal: false,
            is_named: false,
        })
    });
    existing.collect()
}

/// The topic of a source, and that of its generator's positions where it has a generator.
fn of_source(source: &Resource<EventSourceSpec>) -> Vec<Topic> {
    let (namespace, name) = (&source.id.namespace, &source.id.name);
    let mut topics = vec![Topic {
        name: source_topic(namespace, name),
        partitions: u32::try_from(source.spec.topic.partitions).unwrap_or(1),
        cleanup: Cleanup::After(source.spec.topic.retention.as_millis()),
        is_internal: false,
        is_named: false,
    }];
    if source.spec.generator.is_some() {
        topics.push(Topic {
            name: generator_positions(namespace, name),
            partitions: 1,
            cleanup: Cleanup::Compact,
            is_internal: true,
            is_named: false,
        });
    }
    topics
}

/// The topics of the sources that a plan reads, but for existing ones.
pub fn of_plan_sources(plan: &Plan) -> Vec<Topic> {
    let sources = plan.sources.iter().filter(|source| !source.foreign);
    let topic = |source: &Source| Topic {
        name: source.topic.clone(),
        partitions: source.partitions,
        cleanup: Cleanup::After(source.retention_ms),
        is_internal: false,
        is_named: false,
    };
    sources.map(topic).collect()
}

/// The topics that the outputs of a plan fill.
pub fn of_outputs(plan: &Plan) -> Vec<Topic> {
    let topics = plan.outputs.iter().filter_map(Output::topic);
    let topics = topics.map(|topic| Topic {
        name: topic.name.clone(),
        partitions: topic.partitions,
        cleanup: match topic.cleanup {
            TopicCleanup::Retention { ms } => Cleanup::After(ms),
            TopicCleanup::Compact => Cleanup::Compact,
        },
        is_internal: false,
        is_named: true,
    });
    topics.collect()
}

/// A pipeline's own topics and those of its outputs, apart from those that carry a generation in their names.
pub fn of_pipeline(plan: &Plan) -> Vec<Topic> {
    [own_of_pipeline(plan), of_outputs(plan)].concat()
}

/// A pipeline's own topics, apart from those that carry a generation in their names.
pub fn own_of_pipeline(plan: &Plan) -> Vec<Topic> {
    let names = PipelineNames::new(&plan.namespace, &plan.name);
    let topic = |name, partitions, cleanup| Topic {
        name,
        partitions,
        cleanup,
        is_internal: true,
        is_named: false,
    };
    let letters = Cleanup::After(plan.dead_letter_retention_ms);
    let mut topics = vec![
        topic(names.dead_letters(), 1, letters),
        topic(names.watermarks(), 1, Cleanup::Compact),
        topic(names.generations(), 1, Cleanup::Compact),
    ];
    let sources = plan.sources.iter();
    let sources = sources.map(|source| (source.name.as_str(), source.partitions));
    let steps = plan.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Aggregate(aggregate) => Some((step.name.as_str(), aggregate.partitions)),
        StepKind::Rows(_) | StepKind::Deduplicate(_) => None,
    });
    let states = sources.chain(steps);
    topics.extend(states.map(|(input, partitions)| of_state(names.state(input), partitions)));
    topics
}

/// A topic of the state of an input, which has as many partitions.
pub fn of_state(name: String, partitions: u32) -> Topic {
    Topic {
        name,
        partitions,
        cleanup: Cleanup::Compact,
        is_internal: true,
        is_named: false,
    }
}

/// The topics of partials of the generations that a plan will run with, `known` being what is allotted so far.
///
/// # Errors
/// A newer plan has taken over: this one will not run.
pub fn of_partials(plan: &Plan, known: Option<&Allotment>) -> Result<Vec<Topic>, NewerPlan> {
    let topics = generations::partials_topics(plan, known)?.into_iter();
    Ok(topics
        .map(|(name, partitions)| of_partial(name, partitions))
        .collect())
}

/// A topic of partials.
pub fn of_partial(name: String, partitions: u32) -> Topic {
    Topic {
        name,
        partitions,
        cleanup: Cleanup::Never,
        is_internal: true,
        is_named: false,
    }
}
