//! Making topics as plans need them.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::admin::{ConfigEntry, ConfigSource};
use tidewheel_kafka::Connection;
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::topics::{self, Topic};

use crate::kafka::{
    Change, TopicError, What,
    admin::Admin,
    adoption::refuse_others,
    allotment,
    settings::{Setting, declared, min_in_sync},
};

/// How often it is looked whether all brokers know of what was made.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often at most.
const LOOKS: usize = 200;

/// The topics of a cluster.
#[derive(Clone)]
pub struct Topics {
    connection: Connection,
    admin: Admin,
    is_dry: bool,
}

/// A topic as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// How many partitions it has.
    pub partitions: u32,
    /// How many replicas each partition has at least.
    pub replicas: usize,
}

impl Topics {
    /// The topics of the cluster that a connection leads to. Does not wait for a broker.
    ///
    /// # Errors
    /// [`TopicError::Connection`] for properties that librdkafka does not know or take.
    pub fn new(connection: &Connection) -> Result<Self, TopicError> {
        Ok(Self {
            connection: connection.clone(),
            admin: Admin::new(connection)?,
            is_dry: false,
        })
    }

    /// The same topics, none of which is changed: what would be done is found and returned, and not done.
    #[must_use]
    pub fn dry_run(self) -> Self {
        Self {
            is_dry: true,
            ..self
        }
    }

    /// A topic as it is; none where it does not exist. All that is ever done to somebody else's topics.
    ///
    /// # Errors
    /// [`TopicError::Unavailable`] where the cluster does not answer.
    pub async fn find(&self, topic: &str) -> Result<Option<Found>, TopicError> {
        self.admin.find(topic).await
    }

    /// The id of the cluster, which it has had since it was made.
    ///
    /// # Errors
    /// [`TopicError::Unavailable`] where the cluster does not answer.
    pub async fn cluster(&self) -> Result<String, TopicError> {
        self.admin.cluster().await
    }

    /// The names of those topics that exist.
    ///
    /// # Errors
    /// [`TopicError::Unavailable`] where the cluster does not answer.
    pub async fn existing(&self, topics: &[Topic]) -> Result<Vec<String>, TopicError> {
        let names: BTreeSet<String> = self.admin.names().await?.into_iter().collect();
        let there = topics.iter().filter(|topic| names.contains(&topic.name));
        Ok(there.map(|topic| topic.name.clone()).collect())
    }

    /// Makes the topics of plans, or brings them in line: those of their outputs, their own, and those of the partials of the
    /// generations that they will run with. Those of their sources come after these, by [`ensure`](Self::ensure): where a source gets
    /// partitions, a task of one finds the partition of its state there. What was done.
    ///
    /// # Errors
    /// See [`TopicError`]. What was done before stays done: call it again.
    pub async fn ensure_plans(&self, plans: &[Plan]) -> Result<Vec<Change>, TopicError> {
        // Where a pipeline reads what another one writes, the topic is that one's to make.
        let filled: Vec<Topic> = plans.iter().flat_map(topics::of_outputs).collect();
        let mut changes = self.ensure(&filled).await?;
        for plan in plans {
            let plan = self.with_existing(plan, &filled).await?;
            changes.extend(self.ensure(&topics::own_of_pipeline(&plan)).await?);
            changes.extend(self.ensure_partials(&plan).await?);
        }
        Ok(changes)
    }

    /// A plan with the partitions that the existing topics have which it reads; in a dry run those of `filled` are as they would be.
    async fn with_existing(&self, plan: &Plan, filled: &[Topic]) -> Result<Plan, TopicError> {
        let mut partitions = BTreeMap::new();
        for topic in plan.existing_topics() {
            let found = self.find(topic).await?.map(|found| found.partitions);
            let planned = filled.iter().find(|filled| filled.name == topic);
            let planned = planned.filter(|_| self.is_dry);
            let count = found.max(planned.map(|topic| topic.partitions));
            let count = count.ok_or_else(|| TopicError::NotThere {
                topic: topic.to_owned(),
            })?;
            partitions.insert(topic.to_owned(), count);
        }
        Ok(plan.with_partitions(&partitions))
    }

    /// Deletes topics with everything in them. Those that were there.
    ///
    /// # Errors
    /// See [`TopicError`]. What was deleted before stays so: call it again.
    pub async fn delete(&self, topics: &[String]) -> Result<Vec<String>, TopicError> {
        let mut deleted = Vec::new();
        for topic in topics {
            if self.admin.delete(topic).await? {
                deleted.push(topic.clone());
            }
        }
        Ok(deleted)
    }

    /// Deletes the own topics of a pipeline that nobody runs any more, and its consumer groups. The topics that were there.
    ///
    /// # Errors
    /// See [`TopicError`]. What was deleted before stays so: call it again.
    pub async fn delete_of_pipeline(
        &self,
        pipeline: &PipelineNames,
    ) -> Result<Vec<String>, TopicError> {
        let mut own = self.admin.names().await?;
        own.retain(|topic| pipeline.is_own(topic));
        own.sort();
        for group in own
            .iter()
            .filter_map(|topic| PipelineNames::group_of(topic))
        {
            self.admin.delete_group(group).await?;
        }
        self.delete(&own).await
    }

    async fn ensure_partials(&self, plan: &Plan) -> Result<Vec<Change>, TopicError> {
        let generations = PipelineNames::new(&plan.namespace, &plan.name).generations();
        // It has just been made, unless this is a dry run.
        let known = match self.find(&generations).await? {
            Some(_) => allotment::read(&self.connection, &generations).await?,
            None => None,
        };
        self.ensure(&topics::of_partials(plan, known.as_ref())?)
            .await
    }

    /// Makes topics, or brings them in line. What was done.
    ///
    /// # Errors
    /// See [`TopicError`]. What was done before stays done: call it again.
    pub async fn ensure(&self, topics: &[Topic]) -> Result<Vec<Change>, TopicError> {
        let mut changes = Vec::new();
        for topic in topics {
            let done = if self.is_dry {
                self.look_at(topic).await?
            } else {
                self.ensure_one(topic).await?
            };
            let change = |what| Change {
                topic: topic.name.clone(),
                what,
            };
            changes.extend(done.into_iter().map(change));
        }
        Ok(changes)
    }

    /// What [`ensure_one`](Self::ensure_one) would do.
    async fn look_at(&self, topic: &Topic) -> Result<Vec<What>, TopicError> {
        let Some(found) = self.admin.find(&topic.name).await? else {
            let partitions = topic.partitions;
            return Ok(vec![What::Created { partitions }]);
        };
        let declared = declared(topic);
        let entries = self.admin.settings(&topic.name).await?;
        if topic.is_named {
            refuse_others(topic, found, &declared, &entries)?;
        }
        let mut lacks = Vec::new();
        if found.partitions < topic.partitions {
            let (from, to) = (found.partitions, topic.partitions);
            lacks.push(What::Grown { from, to });
        }
        let settings = [declared, vec![min_in_sync(found.replicas)]].concat();
        lacks.extend(differing(&entries, &settings));
        Ok(lacks)
    }

    async fn ensure_one(&self, topic: &Topic) -> Result<Vec<What>, TopicError> {
        let settings = declared(topic);
        let mut done = Vec::new();
        let is_new = match self.admin.find(&topic.name).await? {
            Some(_) => false,
            None => self.admin.create(topic, &settings).await?,
        };
        if is_new {
            let partitions = topic.partitions;
            done.push(What::Created { partitions });
        }
        let found = self.await_partitions(&topic.name, 1).await?;
        if topic.is_named && !is_new {
            let entries = self.admin.settings(&topic.name).await?;
            refuse_others(topic, found, &settings, &entries)?;
        }
        if found.partitions < topic.partitions && !is_new {
            self.admin.grow(&topic.name, topic.partitions).await?;
            let (from, to) = (found.partitions, topic.partitions);
            done.push(What::Grown { from, to });
        }
        let found = self.await_partitions(&topic.name, topic.partitions).await?;
        let settings = [settings, vec![min_in_sync(found.replicas)]].concat();
        let corrected = self.correct(&topic.name, &settings).await?;
        if !is_new {
            done.extend(corrected);
        }
        Ok(done)
    }

    /// Waits until a topic is there with so many partitions: brokers learn of it one after another.
    async fn await_partitions(&self, topic: &str, partitions: u32) -> Result<Found, TopicError> {
        for _ in 0..LOOKS {
            match self.admin.find(topic).await? {
                Some(found) if found.partitions >= partitions => return Ok(found),
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
        Err(TopicError::Unavailable {
            reason: format!("topic {topic} was made, but the cluster does not show it"),
        })
    }

    /// Corrects those settings that differ, and leaves alone what was set besides.
    async fn correct(&self, topic: &str, declared: &[Setting]) -> Result<Vec<What>, TopicError> {
        let entries = self.admin.settings(topic).await?;
        let differing = differing(&entries, declared);
        if !differing.is_empty() {
            // The protocol's older request, which is all that the binding has, takes back everything that is not said again.
            let others = entries.iter().filter_map(|entry| {
                let is_ours = declared.iter().any(|(name, _)| *name == entry.name);
                let is_set = entry.source == ConfigSource::DynamicTopic;
                let value = entry.value.as_deref()?;
                (is_set && !is_ours).then_some((entry.name.as_str(), value))
            });
            let ours = declared.iter().map(|(name, to)| (*name, to.as_str()));
            let all: Vec<(&str, &str)> = others.chain(ours).collect();
            self.admin.replace_settings(topic, &all).await?;
            self.await_settings(topic, declared).await?;
        }
        Ok(differing)
    }

    /// Waits until the brokers know the settings that the controller has taken.
    async fn await_settings(&self, topic: &str, declared: &[Setting]) -> Result<(), TopicError> {
        for _ in 0..LOOKS {
            let entries = self.admin.settings(topic).await?;
            if declared
                .iter()
                .all(|(name, to)| value(&entries, name) == Some(to))
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(TopicError::Unavailable {
            reason: format!(
                "the settings of topic {topic} were changed, but the cluster does not show it"
            ),
        })
    }
}

/// The settings that are not as declared.
fn differing(entries: &[ConfigEntry], declared: &[Setting]) -> Vec<What> {
    let differing = declared.iter().filter_map(|(name, to)| {
        let is = value(entries, name);
        (is != Some(to)).then(|| What::Configured {
            name: (*name).to_owned(),
            from: is.cloned(),
            to: to.clone(),
        })
    });
    differing.collect()
}

fn value<'a>(entries: &'a [ConfigEntry], name: &str) -> Option<&'a String> {
    let entry = entries.iter().find(|entry| entry.name == name)?;
    entry.value.as_ref()
}
