//! The watches that keep the copy of the cluster, and tell controllers whose resource something was about.
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, join_all};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DynamicObject;
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tidewheel_crds::Kind;

use crate::bell::{Bell, Queue};
use crate::children::{COMPONENT, ChildKind, MANAGED_BY, MANAGER, Role};
use crate::conditions::Reason;
use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::resource::{Declared, EventSource, Pipeline, Sink};
use crate::rhythm::jittered;
use crate::settings::Settings;
use crate::world::World;

/// Secrets that are never ours to read, and tend to be large or many.
const OTHER_SECRETS: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,type!=bootstrap.kubernetes.io/token";

/// How often it is looked whether a kind is there by now that was not.
const LOOK_FOR_KINDS_EVERY: Duration = Duration::from_secs(30);

/// The namespaces that watches look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Namespace(String),
}

impl Scope {
    fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self {
            Self::All => Api::all(client.clone()),
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }

    fn api_of_children(&self, client: &Client, kind: ChildKind) -> Api<DynamicObject> {
        let resource = kind.resource();
        match self {
            Self::All => Api::all_with(client.clone(), &resource),
            Self::Namespace(namespace) => {
                Api::namespaced_with(client.clone(), namespace, &resource)
            }
        }
    }
}

/// The resources that are to be looked at, for each controller.
pub(crate) struct Queues {
    pub(crate) sources: Queue<EventSource>,
    pub(crate) sinks: Queue<Sink>,
    pub(crate) pipelines: Queue<Pipeline>,
    /// Where others than watches say that a Pipeline is to be looked at.
    pub(crate) bell: Bell<Pipeline>,
}

/// Where controllers are told.
#[derive(Clone)]
struct Bells {
    world: World,
    secret_of_kafka: String,
    sources: Bell<EventSource>,
    sinks: Bell<Sink>,
    pipelines: Bell<Pipeline>,
}

/// Watches everything in a scope. The watches are done only when the returned future is driven, which ends never.
pub(crate) fn watch(
    client: &Client,
    scope: &Scope,
    settings: &Settings,
    metrics: &Metrics,
) -> (World, Queues, BoxFuture<'static, ()>) {
    let (sources, sinks, pipelines, secrets, pods) = (
        Writer::default(),
        Writer::default(),
        Writer::default(),
        Writer::default(),
        Writer::default(),
    );
    let monitors: &[ChildKind] = match settings.workloads.monitoring {
        Some(_) => &ChildKind::MONITORS,
        None => &[],
    };
    let kinds = ChildKind::ALWAYS.iter().chain(monitors).copied();
    let children: BTreeMap<ChildKind, Writer<DynamicObject>> = kinds
        .map(|kind| (kind, Writer::new(kind.resource())))
        .collect();
    let world = World {
        sources: sources.as_reader(),
        sinks: sinks.as_reader(),
        pipelines: pipelines.as_reader(),
        secrets: secrets.as_reader(),
        pods: pods.as_reader(),
        children: children
            .iter()
            .map(|(kind, writer)| (*kind, writer.as_reader()))
            .collect(),
        monitors: monitors
            .iter()
            .map(|kind| (*kind, Presence::default()))
            .collect(),
    };
    let (to_sources, of_sources) = Bell::new(metrics);
    let (to_sinks, of_sinks) = Bell::new(metrics);
    let (to_pipelines, of_pipelines) = Bell::new(metrics);
    let bells = Bells {
        world: world.clone(),
        secret_of_kafka: settings.kafka_secret.clone(),
        sources: to_sources,
        sinks: to_sinks,
        pipelines: to_pipelines.clone(),
    };
    let all = watcher::Config::default();
    let secret = all.clone().fields(OTHER_SECRETS);
    let ours = all.clone().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let workers = all.clone().labels(&format!(
        "{MANAGED_BY}={MANAGER},{COMPONENT}={}",
        Role::Worker.as_str()
    ));
    let mut watches = vec![
        follow(
            sources,
            (),
            watcher(scope.api(client), all.clone()),
            bells.clone(),
            Bells::source,
        )
        .boxed(),
        follow(
            sinks,
            (),
            watcher(scope.api(client), all.clone()),
            bells.clone(),
            Bells::sink,
        )
        .boxed(),
        follow(
            pipelines,
            (),
            watcher(scope.api(client), all),
            bells.clone(),
            Bells::pipeline,
        )
        .boxed(),
        follow(
            secrets,
            (),
            watcher(scope.api(client), secret),
            bells.clone(),
            Bells::secret,
        )
        .boxed(),
        follow(
            pods,
            (),
            watcher(scope.api(client), workers).map_ok(|event| event.modify(shorten)),
            bells.clone(),
            // Whoever looks at them looks at them all the time.
            |_, _| {},
        )
        .boxed(),
    ];
    for (kind, writer) in children {
        let (api, ours) = (scope.api_of_children(client, kind), ours.clone());
        let watching = match world.monitors.get(&kind) {
            None => {
                let seen = watcher(api, ours);
                follow(writer, kind.resource(), seen, bells.clone(), Bells::child).boxed()
            }
            Some(presence) => {
                let seen = move || watcher(api.clone(), ours.clone());
                look_for(writer, kind, seen, bells.clone(), presence.clone()).boxed()
            }
        };
        watches.push(watching);
    }
    let queues = Queues {
        sources: of_sources,
        sinks: of_sinks,
        pipelines: of_pipelines,
        bell: to_pipelines,
    };
    (world, queues, join_all(watches).map(drop).boxed())
}

/// Leaves of a pod what is looked at: there may be thousands.
fn shorten(pod: &mut Pod) {
    pod.spec = None;
    pod.metadata.annotations = None;
    if let Some(status) = &mut pod.status {
        status.container_statuses = None;
    }
}

/// A change of an object: what it was, and what it is; none where it was not there, or is no longer.
struct Changed<'a, K> {
    before: Option<&'a K>,
    now: Option<&'a K>,
}

impl<K> Clone for Changed<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Changed<'_, K> {}

impl<'a, K: Resource> Changed<'a, K> {
    /// Both, as far as they are there.
    fn both(self) -> impl Iterator<Item = &'a K> {
        self.before.into_iter().chain(self.now)
    }

    /// Whether anything but the status is another than before.
    fn is_of_users(self) -> bool {
        let told = |object: &K| {
            let meta = object.meta();
            (
                meta.uid.clone(),
                meta.generation,
                meta.deletion_timestamp.clone(),
                meta.annotations.clone(),
                meta.finalizers.clone(),
            )
        };
        self.before.map(told) != self.now.map(told)
    }
}

/// Keeps the copy of a kind, and rings for each change of an object. A watch that fails is begun again, with back-off.
async fn follow<K>(
    mut writer: Writer<K>,
    kind: K::DynamicType,
    seen: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    bells: Bells,
    ring: fn(&Bells, Changed<'_, K>),
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Clone + Debug + Eq + Hash + Send + Sync,
{
    let mut seen = std::pin::pin!(seen.default_backoff());
    while let Some(event) = seen.next().await {
        match event {
            Ok(event) => take_in(&mut writer, &kind, event, &bells, ring),
            Err(error) => {
                tracing::warn!(%error, kind = %K::kind(&kind), "a watch failed: it is begun again");
            }
        }
    }
}

/// Keeps the copy of a kind that may not be there, or come, or go again, and tells its presence. When it comes, every resource that may want an
/// object of it is rung for.
async fn look_for<S>(
    mut writer: Writer<DynamicObject>,
    kind: ChildKind,
    seen: impl Fn() -> S + Send,
    bells: Bells,
    presence: Presence,
) where
    S: Stream<Item = watcher::Result<Event<DynamicObject>>> + Send,
{
    let resource = kind.resource();
    loop {
        let mut seen = std::pin::pin!(seen().default_backoff());
        while let Some(event) = seen.next().await {
            match event {
                Ok(event) => {
                    let is_all = matches!(event, Event::InitDone);
                    take_in(&mut writer, &resource, event, &bells, Bells::child);
                    if is_all && presence.tell(true) {
                        tracing::info!(kind = resource.kind, "the kind is there");
                        bells.all_with_workloads();
                    }
                }
                Err(error) if is_of_unknown_kind(&error) => break,
                Err(error) => {
                    tracing::warn!(%error, kind = resource.kind, "a watch failed: it is begun again");
                    // Whether it is there is not known, and nothing waits for that.
                    if !presence.is_there() {
                        break;
                    }
                }
            }
        }
        if presence.tell(false) {
            tracing::info!(
                kind = resource.kind,
                "the kind is not there, or cannot be read"
            );
        }
        tokio::time::sleep(jittered(LOOK_FOR_KINDS_EVERY)).await;
    }
}

/// Whether the API server does not know what was to be watched.
fn is_of_unknown_kind(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        _ => return false,
    };
    status.code == 404
}

/// Takes an event into the copy, and rings for what has changed by it.
fn take_in<K>(
    writer: &mut Writer<K>,
    kind: &K::DynamicType,
    event: Event<K>,
    bells: &Bells,
    ring: fn(&Bells, Changed<'_, K>),
) where
    K: Resource + Clone + 'static,
    K::DynamicType: Clone + Eq + Hash,
{
    // They are large, and say nothing that is looked at.
    let event = event.modify(|object| object.meta_mut().managed_fields = None);
    let known = writer.as_reader();
    let before = known_before(&known, kind, &event);
    writer.apply_watcher_event(&event);
    match &event {
        Event::Apply(object) => {
            let before = before.values().next().map(AsRef::as_ref);
            let now = Some(object);
            ring(bells, Changed { before, now });
        }
        Event::Delete(object) => {
            let before = Some(object);
            ring(bells, Changed { before, now: None });
        }
        Event::InitDone => ring_for_all(bells, ring, &before, &by_key(&known, kind)),
        Event::Init | Event::InitApply(_) => {}
    }
}

type ByKey<K> = HashMap<ObjectRef<K>, Arc<K>>;

/// What is known so far of the objects that an event is about.
fn known_before<K>(known: &Store<K>, kind: &K::DynamicType, event: &Event<K>) -> ByKey<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Clone + Eq + Hash,
{
    match event {
        Event::Apply(object) => {
            let key = ObjectRef::from_obj_with(object, kind.clone());
            let before = known.get(&key);
            before.map(|before| (key, before)).into_iter().collect()
        }
        Event::InitDone => by_key(known, kind),
        Event::Delete(_) | Event::Init | Event::InitApply(_) => HashMap::new(),
    }
}

fn by_key<K>(known: &Store<K>, kind: &K::DynamicType) -> ByKey<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Clone + Eq + Hash,
{
    let objects = known.state().into_iter();
    objects
        .map(|object| {
            (
                ObjectRef::from_obj_with(object.as_ref(), kind.clone()),
                object,
            )
        })
        .collect()
}

/// Rings for what is another after everything was listed anew: changes may have been missed meanwhile, and deletions.
fn ring_for_all<K>(
    bells: &Bells,
    ring: fn(&Bells, Changed<'_, K>),
    before: &ByKey<K>,
    now: &ByKey<K>,
) where
    K: Resource + 'static,
    K::DynamicType: Eq + Hash,
{
    let version = |object: &Arc<K>| object.meta().resource_version.clone();
    for (key, object) in now {
        let old = before.get(key);
        if old.map(version) != Some(version(object)) {
            let before = old.map(AsRef::as_ref);
            let now = Some(object.as_ref());
            ring(bells, Changed { before, now });
        }
    }
    for (_, gone) in before.iter().filter(|(key, _)| !now.contains_key(key)) {
        ring(
            bells,
            Changed {
                before: Some(gone.as_ref()),
                now: None,
            },
        );
    }
}

impl Bells {
    /// For the source, and for the Pipelines that read it.
    fn source(&self, changed: Changed<'_, EventSource>) {
        let Some(source) = changed.both().last().filter(|_| changed.is_of_users()) else {
            return;
        };
        self.sources.ring(source);
        self.pipelines_where(source.namespace(), |pipeline| {
            pipeline.source_names().any(|name| name == source.name())
        });
    }

    /// For the Sink, and for the Pipelines that write to it.
    fn sink(&self, changed: Changed<'_, Sink>) {
        let Some(sink) = changed.both().last().filter(|_| changed.is_of_users()) else {
            return;
        };
        self.sinks.ring(sink);
        self.pipelines_where(sink.namespace(), |pipeline| {
            pipeline.sink_names().any(|name| name == sink.name())
        });
    }

    /// For the Pipeline, and for those that wait for it to make room for their outputs.
    fn pipeline(&self, changed: Changed<'_, Pipeline>) {
        let Some(pipeline) = changed.both().last().filter(|_| changed.is_of_users()) else {
            return;
        };
        self.pipelines.ring(pipeline);
        let taken = Reason::OutputTaken.as_str();
        let waits = |other: &Pipeline| {
            let conditions = other.status().shared.conditions;
            conditions.iter().any(|condition| condition.reason == taken)
        };
        let waiting = self.world.pipelines.state_filter(waits);
        waiting
            .iter()
            .for_each(|pipeline| self.pipelines.ring(pipeline.as_ref()));
    }

    /// For everything that uses the Secret.
    fn secret(&self, changed: Changed<'_, Secret>) {
        let Some(secret) = changed.both().last() else {
            return;
        };
        if changed.before.map(|secret| &secret.data) == changed.now.map(|secret| &secret.data) {
            return;
        }
        let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let all_use_it = name == self.secret_of_kafka;
        let uses = |own: Option<&str>| all_use_it || own == Some(name);
        let sources = self
            .world
            .sources
            .state_filter(|source| source.namespace() == namespace && uses(source.secret_name()));
        sources
            .iter()
            .for_each(|source| self.sources.ring(source.as_ref()));
        let sinks = self
            .world
            .sinks
            .state_filter(|sink| sink.namespace() == namespace && uses(sink.secret_name()));
        sinks.iter().for_each(|sink| self.sinks.ring(sink.as_ref()));
        self.pipelines_where(namespace, |pipeline| {
            let mut names = pipeline.sink_names();
            all_use_it || names.any(|name| sinks.iter().any(|sink| sink.name() == name))
        });
    }

    /// For the resource that owns the object.
    fn child(&self, changed: Changed<'_, DynamicObject>) {
        let owners = changed.both().flat_map(|object| {
            let namespace = object.metadata.namespace.clone().unwrap_or_default();
            let owners = object.metadata.owner_references.iter().flatten();
            owners.map(move |owner| {
                (
                    owner.kind.parse::<Kind>(),
                    owner.name.as_str(),
                    namespace.clone(),
                )
            })
        });
        for (kind, name, namespace) in owners {
            match kind {
                Ok(Kind::EventSource) => {
                    let source = self.world.source(&namespace, name);
                    source
                        .iter()
                        .for_each(|source| self.sources.ring(source.as_ref()));
                }
                Ok(Kind::Pipeline) => {
                    let key = ObjectRef::new(name).within(&namespace);
                    let pipeline = self.world.pipelines.get(&key);
                    pipeline
                        .iter()
                        .for_each(|pipeline| self.pipelines.ring(pipeline.as_ref()));
                }
                // Nothing is made for Sinks.
                Ok(Kind::Sink) | Err(_) => {}
            }
        }
    }

    /// For everything that something may run for.
    fn all_with_workloads(&self) {
        let sources = self.world.sources.state();
        let sources = sources.iter();
        sources.for_each(|source| self.sources.ring(source.as_ref()));
        let pipelines = self.world.pipelines.state();
        let pipelines = pipelines.iter();
        pipelines.for_each(|pipeline| self.pipelines.ring(pipeline.as_ref()));
    }

    fn pipelines_where(&self, namespace: &str, is_meant: impl Fn(&Pipeline) -> bool) {
        let meant = |pipeline: &Pipeline| pipeline.namespace() == namespace && is_meant(pipeline);
        let meant = self.world.pipelines.state_filter(meant);
        meant
            .iter()
            .for_each(|pipeline| self.pipelines.ring(pipeline.as_ref()));
    }
}
