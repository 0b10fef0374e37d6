//! Whose an output's table or topic is, over all namespaces that are looked after. Pure but for who is rung for.
//!
//! Who fills a place goes first, then who is older: an output that somebody adds never takes away what another has filled for months. What
//! workers fill is what their ConfigMaps say, which watches keep known here together with all specs: each is read once for each change of it.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kube::api::DynamicObject;
use parking_lot::Mutex;
use serde::Deserialize as _;
use tidewheel_crds::pipeline::Output;
use tidewheel_crds::{DeletionPolicy, EventSourceSpec, Kind, PipelineSpec};
use tidewheel_planner::clashes;
use tidewheel_planner::resource::{Resource, ResourceSet};

use crate::bell::Bell;
use crate::children::documents;
use crate::conditions::{Aspect, Finding, Reason};
use crate::documents::Documents;
use crate::judge::said;
use crate::resource::{Declared, EventSource, Pipeline, Sink};

/// Whose tables and topics are. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Claims(Arc<Mutex<Index>>);

/// Namespace and name.
type Name = (String, String);

#[derive(Default)]
struct Index {
    claimants: HashMap<Name, Claimant>,
    /// Whose outputs name a place.
    named_by: HashMap<Named, BTreeSet<Name>>,
    sources: HashMap<Name, Resource<EventSourceSpec>>,
    /// The Pipelines that wait for others to make room for their outputs.
    waiting: HashMap<Name, Bell<Pipeline>>,
}

/// A place as a Pipeline names it. Which database a table is in depends on Sinks, which come and go: that is looked at when it matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Named {
    Table { namespace: String, table: String },
    Topic(String),
}

/// A Pipeline.
#[derive(Default)]
struct Claimant {
    /// What its spec says; none where it is not there.
    declared: Option<Declaration>,
    /// The outputs that this process has let it have last.
    granted: Vec<Output>,
    /// What workers were told, by ConfigMap.
    told: BTreeMap<String, Told>,
}

struct Declaration {
    created: Option<i64>,
    is_leaving: bool,
    outputs: Vec<Output>,
    /// A digest of the plan that its workers are to run.
    plan: Option<String>,
}

struct Told {
    /// A digest of the plan.
    plan: String,
    outputs: Vec<Output>,
    is_there: bool,
}

/// Who goes first: whoever fills the place, and then the older one. Of two of the same second one is the older all the same.
type Rank<'a> = (bool, Option<i64>, &'a Name);

impl Claims {
    /// Takes in a Pipeline as it is now.
    pub(crate) fn pipeline(&self, pipeline: &Pipeline) {
        let plan = pipeline.status().plan.map(|plan| plan.hash);
        let outputs = pipeline.spec().get("outputs");
        let outputs = outputs.and_then(|outputs| Vec::deserialize(outputs).ok());
        let declaration = Declaration {
            created: created(pipeline),
            is_leaving: pipeline.is_deleted(),
            // Where they cannot be read it is said where the spec is judged.
            outputs: outputs.unwrap_or_default(),
            plan,
        };
        let take_in = |claimant: &mut Claimant| claimant.declared = Some(declaration);
        self.0.lock().change(&name_of(pipeline), take_in);
    }

    /// A Pipeline is gone.
    pub(crate) fn pipeline_gone(&self, pipeline: &Pipeline) {
        let mut index = self.0.lock();
        let name = name_of(pipeline);
        index.waiting.remove(&name);
        index.change(&name, |claimant| {
            claimant.declared = None;
            claimant.granted.clear();
        });
    }

    /// Takes in an EventSource as it is now.
    pub(crate) fn source(&self, source: &EventSource) {
        let mut index = self.0.lock();
        match typed(source) {
            Some(typed) => index.sources.insert(name_of(source), typed),
            None => index.sources.remove(&name_of(source)),
        };
    }

    /// An EventSource is gone.
    pub(crate) fn source_gone(&self, source: &EventSource) {
        self.0.lock().sources.remove(&name_of(source));
    }

    /// Takes in a ConfigMap, which says what the workers of a Pipeline run where it is one of those.
    pub(crate) fn specs(&self, specs: &DynamicObject) {
        let Some((name, specs_name)) = told_to(specs) else {
            return;
        };
        let mut index = self.0.lock();
        // They never change.
        let known = index.claimants.get(&name);
        let known = known.and_then(|claimant| claimant.told.get(&specs_name));
        if known.is_some_and(|told| told.is_there) {
            return;
        }
        if let Some(told) = documents(specs).and_then(Told::read) {
            index.change(&name, |claimant| {
                claimant.told.insert(specs_name, told);
            });
        }
    }

    /// A ConfigMap is gone. That of the plan that workers are to run is made again soon, and counts until then.
    pub(crate) fn specs_gone(&self, specs: &DynamicObject) {
        if let Some((name, specs_name)) = told_to(specs) {
            let mut index = self.0.lock();
            index.change(&name, |claimant| {
                if let Some(told) = claimant.told.get_mut(&specs_name) {
                    told.is_there = false;
                }
            });
        }
    }

    /// Lets a Pipeline have its outputs, unless others were there before: those are named then, and `bell` is rung for it when one of them
    /// may have made room. `sink` finds the Sinks of its namespace.
    pub(crate) fn claim(
        &self,
        pipeline: &Pipeline,
        sink: impl Fn(&str) -> Option<Arc<Sink>>,
        bell: &Bell<Pipeline>,
    ) -> Option<Finding> {
        let claimed: Resource<PipelineSpec> = typed(pipeline)?;
        let name = name_of(pipeline);
        let mut index = self.0.lock();
        let taken = index.taken(&name, created(pipeline), &claimed, sink);
        match &taken {
            Some(_) => drop(index.waiting.insert(name, bell.clone())),
            None => {
                index.waiting.remove(&name);
                index.change(&name, |claimant| claimant.granted = claimed.spec.outputs);
            }
        }
        taken
    }
}

impl Index {
    /// Rings for those that wait.
    fn ring(&self) {
        for ((namespace, name), bell) in &self.waiting {
            bell.ring_for(namespace, name);
        }
    }

    /// Changes what is known of a Pipeline, and rings for those that wait where it makes room.
    fn change(&mut self, name: &Name, change: impl FnOnce(&mut Claimant)) {
        let was_staying = self.is_staying(name);
        let claimant = self.claimants.entry(name.clone()).or_default();
        let before = claimant.names(&name.0);
        change(claimant);
        claimant.forget_told();
        let now = claimant.names(&name.0);
        if claimant.declared.is_none() && claimant.told.is_empty() {
            self.claimants.remove(name);
        }
        for gone in before.difference(&now) {
            if let Some(names) = self.named_by.get_mut(gone) {
                names.remove(name);
                if names.is_empty() {
                    self.named_by.remove(gone);
                }
            }
        }
        for new in now.difference(&before) {
            let names = self.named_by.entry(new.clone()).or_default();
            names.insert(name.clone());
        }
        let is_leaving = was_staying && !self.is_staying(name);
        if is_leaving || before.difference(&now).next().is_some() {
            self.ring();
        }
    }

    fn is_staying(&self, name: &Name) -> bool {
        let claimant = self.claimants.get(name);
        claimant.is_some_and(|claimant| claimant.is_staying().is_some())
    }

    /// What outputs of a Pipeline are somebody else's.
    fn taken(
        &self,
        name: &Name,
        created: Option<i64>,
        claimed: &Resource<PipelineSpec>,
        sink: impl Fn(&str) -> Option<Arc<Sink>>,
    ) -> Option<Finding> {
        let outputs = &claimed.spec.outputs;
        let named: BTreeSet<Named> = outputs
            .iter()
            .filter_map(|output| named(&name.0, output))
            .collect();
        let others = named.iter().filter_map(|named| self.named_by.get(named));
        let others: BTreeSet<&Name> = others.flatten().filter(|other| *other != name).collect();
        let topics: Vec<&str> = outputs.iter().filter_map(topic_of).collect();
        let mut set = ResourceSet::default();
        set.event_sources = self.sources_of(&topics);
        let contenders = self.contenders(name, &topics, &others);
        if set.event_sources.is_empty() && contenders.is_empty() {
            return None;
        }
        let of_others = contenders.iter().flat_map(|contender| contender.outputs);
        let sinks = outputs.iter().chain(of_others);
        let sinks: BTreeSet<&str> = sinks
            .filter_map(|output| Some(output.postgres.as_ref()?.sink.as_str()))
            .collect();
        set.sinks = sinks
            .into_iter()
            .filter_map(|name| typed(sink(name)?.as_ref()))
            .collect();
        set.pipelines = self.before((created, name), outputs, contenders, &set);
        set.pipelines.push(claimed.clone());
        let mut problems = clashes(&set);
        problems.retain(|problem| problem.resource.as_ref() == Some(&claimed.id));
        let message = said(problems.iter());
        (!problems.is_empty()).then(|| Finding::new(Aspect::Whole, Reason::OutputTaken, message))
    }

    /// The EventSources whose own topics have these names.
    fn sources_of(&self, topics: &[&str]) -> Vec<Resource<EventSourceSpec>> {
        let names = topics.iter().filter_map(|topic| owner_of(topic));
        let names: BTreeSet<Name> = names.collect();
        let sources = names.iter().filter_map(|name| self.sources.get(name));
        sources.cloned().collect()
    }

    /// Those who name the same places, and those whose internal topics begin as these do.
    fn contenders<'a>(
        &'a self,
        name: &Name,
        topics: &[&str],
        others: &BTreeSet<&'a Name>,
    ) -> Vec<Contender<'a>> {
        let held: Vec<&Output> = self.held(name).collect();
        let is_new = |topic: &&&str| !held.iter().any(|held| topic_of(held) == Some(**topic));
        let owners: BTreeSet<Name> = topics
            .iter()
            .filter(is_new)
            .filter_map(|topic| owner_of(topic))
            .collect();
        let owners = owners.iter().filter(|owner| *owner != name);
        let owners = owners.filter_map(|owner| self.claimants.get_key_value(owner));
        let mut contenders = Vec::new();
        for (name, claimant) in owners {
            if let Some(declared) = claimant.is_staying() {
                contenders.push(Contender {
                    rank: (false, declared.created, name),
                    outputs: &[],
                });
            }
        }
        for name in others {
            let Some((name, claimant)) = self.claimants.get_key_value(*name) else {
                continue;
            };
            let Some(declared) = claimant.is_staying() else {
                continue;
            };
            let of = |is_wish, outputs| Contender {
                rank: (is_wish, declared.created, name),
                outputs,
            };
            contenders.extend(claimant.held().map(|outputs| of(false, outputs)));
            contenders.push(of(true, &declared.outputs));
        }
        contenders.sort_by_key(|contender| contender.rank);
        contenders
    }

    /// The contenders that go first, with those of their outputs for which they do.
    fn before(
        &self,
        (created, name): (Option<i64>, &Name),
        outputs: &[Output],
        contenders: Vec<Contender<'_>>,
        set: &ResourceSet,
    ) -> Vec<Resource<PipelineSpec>> {
        let held: Vec<String> = self
            .held(name)
            .filter_map(|output| place(&name.0, output, set))
            .collect();
        // A rank for each of its places.
        let ranks: HashMap<String, Rank<'_>> = outputs
            .iter()
            .filter_map(|output| place(&name.0, output, set))
            .map(|place| {
                let is_wish = !held.contains(&place);
                (place, (is_wish, created, name))
            })
            .collect();
        let first = contenders.into_iter().map(|contender| {
            let goes_first = |output: &&Output| {
                let place = place(&contender.rank.2.0, output, set);
                let own = place.and_then(|place| ranks.get(&place));
                own.is_some_and(|own| contender.rank < *own)
            };
            let outputs = contender.outputs.iter().filter(goes_first);
            contender.resource(outputs.cloned().collect())
        });
        first.collect()
    }

    /// The outputs that a Pipeline fills, or may.
    fn held(&self, name: &Name) -> impl Iterator<Item = &Output> {
        let claimant = self.claimants.get(name).into_iter();
        claimant.flat_map(Claimant::held).flatten()
    }
}

/// A Pipeline with outputs that it fills, or that it would like to fill.
struct Contender<'a> {
    rank: Rank<'a>,
    outputs: &'a [Output],
}

impl Contender<'_> {
    /// The Pipeline with some of its outputs, as the planner takes it.
    fn resource(&self, outputs: Vec<Output>) -> Resource<PipelineSpec> {
        let (_, _, (namespace, name)) = self.rank;
        let spec = PipelineSpec {
            suspend: false,
            sources: Vec::new(),
            steps: Vec::new(),
            outputs,
            errors: Default::default(),
            scaling: Default::default(),
            resources: None,
            deletion_policy: DeletionPolicy::Retain,
        };
        Resource::new(Kind::Pipeline.as_str(), namespace, name, spec)
    }
}

impl Claimant {
    /// What its spec says, where it is there and stays.
    fn is_staying(&self) -> Option<&Declaration> {
        self.declared
            .as_ref()
            .filter(|declared| !declared.is_leaving)
    }

    /// The outputs that it fills, or may.
    fn held(&self) -> impl Iterator<Item = &[Output]> {
        let told = self.told.values().map(|told| told.outputs.as_slice());
        told.chain([self.granted.as_slice()])
    }

    fn names(&self, namespace: &str) -> BTreeSet<Named> {
        let declared = self.declared.iter();
        let declared = declared.map(|declared| declared.outputs.as_slice());
        let outputs = self.held().chain(declared).flatten();
        outputs
            .filter_map(|output| named(namespace, output))
            .collect()
    }

    /// Forgets ConfigMaps that are gone, but for that of the plan.
    fn forget_told(&mut self) {
        let plan = self
            .declared
            .as_ref()
            .and_then(|declared| declared.plan.as_ref());
        self.told
            .retain(|_, told| told.is_there || Some(&told.plan) == plan);
    }
}

impl Told {
    /// What a text tells workers that is in a ConfigMap; none where it is no such text.
    fn read(text: &str) -> Option<Self> {
        let documents = Documents::read(text)?;
        let mut pipelines = documents.values().iter();
        let pipeline = pipelines.find(|document| document["kind"] == Kind::Pipeline.as_str())?;
        Some(Self {
            outputs: Vec::deserialize(&pipeline["spec"]["outputs"]).ok()?,
            plan: documents.unnumbered().hash(),
            is_there: true,
        })
    }
}

/// The Pipeline whose workers a ConfigMap tells what to run, and the name of the ConfigMap.
fn told_to(specs: &DynamicObject) -> Option<(Name, String)> {
    let mut owners = specs.metadata.owner_references.iter().flatten();
    let owner = owners
        .find(|owner| owner.controller == Some(true) && owner.kind == Kind::Pipeline.as_str())?;
    let namespace = specs.metadata.namespace.clone()?;
    Some((
        (namespace, owner.name.clone()),
        specs.metadata.name.clone()?,
    ))
}

fn named(namespace: &str, output: &Output) -> Option<Named> {
    if let Some(postgres) = &output.postgres {
        let table = postgres.table.as_ref().unwrap_or(&output.name);
        return Some(Named::Table {
            namespace: namespace.to_owned(),
            table: table.clone(),
        });
    }
    topic_of(output).map(|topic| Named::Topic(topic.to_owned()))
}

fn topic_of(output: &Output) -> Option<&str> {
    Some(output.kafka.as_ref()?.topic.as_str())
}

/// The place of an output, as far as its Sink is known.
fn place(namespace: &str, output: &Output, set: &ResourceSet) -> Option<String> {
    let Some(postgres) = &output.postgres else {
        return topic_of(output).map(|topic| format!("topic {topic}"));
    };
    let sink = set.sinks.iter().find(|sink| {
        let id = &sink.id;
        id.namespace == namespace && id.name == postgres.sink
    });
    let database = sink?.spec.postgres.as_ref()?;
    let secret = &database.connection.secret_ref;
    let table = postgres.table.as_ref().unwrap_or(&output.name);
    Some(format!(
        "table {namespace}/{}/{}/{}/{table}",
        secret.name, secret.key, database.schema
    ))
}

/// Namespace and name of the resource whose own topics have names that begin like this. Neither has a dot in it.
fn owner_of(topic: &str) -> Option<Name> {
    let mut parts = topic.split('.');
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}

/// When a Pipeline was made, s since the epoch.
fn created(pipeline: &Pipeline) -> Option<i64> {
    let created = pipeline.metadata.creation_timestamp.as_ref();
    created.map(|time| time.0.as_second())
}

fn name_of<K: Declared>(resource: &K) -> Name {
    (resource.namespace().to_owned(), resource.name().to_owned())
}

/// A resource as the planner takes it; none where its spec cannot be read, which is said where it is judged.
fn typed<K: Declared, S: serde::de::DeserializeOwned>(resource: &K) -> Option<Resource<S>> {
    let spec = S::deserialize(resource.spec()).ok()?;
    Some(Resource::new(
        K::KIND.as_str(),
        resource.namespace(),
        resource.name(),
        spec,
    ))
}

#[cfg(test)]
mod tests;
