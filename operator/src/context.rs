//! What every reconcile has at hand.
use std::collections::HashSet;
use std::time::Duration;

use kube::Client;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;

use crate::bell::Bell;
use crate::children::Owner;
use crate::claims::Claims;
use crate::deletions::Deletions;
use crate::kafka::Clients;
use crate::metrics::Metrics;
use crate::reached::Reached;
use crate::resource::{Declared, Pipeline};
use crate::rhythm::Rhythm;
use crate::scaling::Scalings;
use crate::settings::Settings;
use crate::world::World;

/// How often it is looked what is gone.
const FORGETS_EVERY: Duration = Duration::from_secs(60);

/// What every reconcile has at hand.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) world: World,
    /// Over all namespaces that are looked after.
    pub(crate) claims: Claims,
    pub(crate) kafka: Clients,
    pub(crate) rhythm: Rhythm,
    pub(crate) reached: Reached,
    pub(crate) deletions: Deletions,
    pub(crate) scalings: Scalings,
    /// Has a Pipeline looked at.
    pub(crate) bell: Bell<Pipeline>,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
}

/// The resource as the owner of what is made for it.
pub(crate) fn owner<K: Declared>(resource: &K) -> Owner {
    Owner {
        kind: K::KIND,
        namespace: resource.namespace().to_owned(),
        name: resource.name().to_owned(),
        uid: resource.meta().uid.clone().unwrap_or_default(),
    }
}

/// Forgets again and again what is remembered of resources that are gone, and clients of namespaces that say no longer how Kafka is reached.
/// Never ends.
pub(crate) async fn forget_what_is_gone(context: &Context) {
    loop {
        tokio::time::sleep(FORGETS_EVERY).await;
        let (world, secret) = (&context.world, &context.settings.kafka_secret);
        let uids = uids(world);
        context.rhythm.retain(&uids);
        context.reached.retain(&uids);
        context
            .kafka
            .retain(|namespace| world.secret(namespace, secret).is_some());
    }
}

/// The uids of all resources.
fn uids(world: &World) -> HashSet<String> {
    fn of<K: Declared>(resources: &Store<K>) -> impl Iterator<Item = String> {
        let resources = resources.state().into_iter();
        resources.filter_map(|resource| resource.meta().uid.clone())
    }
    of(&world.sources)
        .chain(of(&world.sinks))
        .chain(of(&world.pipelines))
        .collect()
}
