//! The watches that keep the copy of the cluster, and tell controllers whose resource something was about.
mod bells;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, join_all};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::DynamicObject;
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use self::bells::{
    Bells, Changed, OF_PIPELINES, OF_PODS, OF_SECRETS, OF_SINKS, OF_SOURCES, Told, of_children,
};
use crate::bell::{Bell, Queue};
use crate::children::{COMPONENT, ChildKind, MANAGED_BY, MANAGER, Role};
use crate::claims::Claims;
use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::resource::{EventSource, Pipeline, Sink};
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

/// Watches everything in a scope. The watches are done only when the returned future is driven, which ends never.
pub(crate) fn watch(
    client: &Client,
    scope: &Scope,
    settings: &Settings,
    metrics: &Metrics,
    claims: &Claims,
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
        claims: claims.clone(),
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
            OF_SOURCES,
        )
        .boxed(),
        follow(
            sinks,
            (),
            watcher(scope.api(client), all.clone()),
            bells.clone(),
            OF_SINKS,
        )
        .boxed(),
        follow(
            pipelines,
            (),
            watcher(scope.api(client), all),
            bells.clone(),
            OF_PIPELINES,
        )
        .boxed(),
        follow(
            secrets,
            (),
            watcher(scope.api(client), secret),
            bells.clone(),
            OF_SECRETS,
        )
        .boxed(),
        follow(
            pods,
            (),
            watcher(scope.api(client), workers).map_ok(|event| event.modify(shorten)),
            bells.clone(),
            OF_PODS,
        )
        .boxed(),
    ];
    for (kind, writer) in children {
        let (api, ours) = (scope.api_of_children(client, kind), ours.clone());
        let watching = match world.monitors.get(&kind) {
            None => {
                let seen = watcher(api, ours);
                follow(
                    writer,
                    kind.resource(),
                    seen,
                    bells.clone(),
                    of_children(kind),
                )
                .boxed()
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
    let containers = pod.status.iter_mut();
    let containers = containers.flat_map(|status| status.container_statuses.iter_mut());
    for container in containers.flatten() {
        // How it fares is looked at, and how it ended last.
        *container = ContainerStatus {
            name: std::mem::take(&mut container.name),
            ready: container.ready,
            restart_count: container.restart_count,
            last_state: container.last_state.take(),
            ..ContainerStatus::default()
        };
    }
}

/// Keeps the copy of a kind, and rings for each change of an object. A watch that fails is begun again, with back-off.
async fn follow<K>(
    mut writer: Writer<K>,
    kind: K::DynamicType,
    seen: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    bells: Bells,
    told: Told<K>,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Clone + Debug + Eq + Hash + Send + Sync,
{
    let mut seen = std::pin::pin!(seen.default_backoff());
    while let Some(event) = seen.next().await {
        match event {
            Ok(event) => take_in(&mut writer, &kind, event, &bells, told),
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
                    take_in(&mut writer, &resource, event, &bells, of_children(kind));
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
    told: Told<K>,
) where
    K: Resource + Clone + 'static,
    K::DynamicType: Clone + Eq + Hash,
{
    // They are large, and say nothing that is looked at.
    let event = event.modify(|object| object.meta_mut().managed_fields = None);
    let known = writer.as_reader();
    let before = known_before(&known, kind, &event);
    // Before anybody can look at the copy.
    match &event {
        Event::Apply(object) | Event::InitApply(object) => (told.note)(bells, object, true),
        Event::Delete(object) => (told.note)(bells, object, false),
        Event::Init | Event::InitDone => {}
    }
    writer.apply_watcher_event(&event);
    match &event {
        Event::Apply(object) => {
            let before = before.values().next().map(AsRef::as_ref);
            let now = Some(object);
            (told.ring)(bells, Changed { before, now });
        }
        Event::Delete(object) => {
            let before = Some(object);
            (told.ring)(bells, Changed { before, now: None });
        }
        Event::InitDone => ring_for_all(bells, told, &before, &by_key(&known, kind)),
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
fn ring_for_all<K>(bells: &Bells, told: Told<K>, before: &ByKey<K>, now: &ByKey<K>)
where
    K: Resource + 'static,
    K::DynamicType: Eq + Hash,
{
    let version = |object: &Arc<K>| object.meta().resource_version.clone();
    for (key, object) in now {
        let old = before.get(key);
        if old.map(version) != Some(version(object)) {
            let before = old.map(AsRef::as_ref);
            let now = Some(object.as_ref());
            (told.ring)(bells, Changed { before, now });
        }
    }
    for (_, gone) in before.iter().filter(|(key, _)| !now.contains_key(key)) {
        (told.note)(bells, gone.as_ref(), false);
        let before = Some(gone.as_ref());
        (told.ring)(bells, Changed { before, now: None });
    }
}
