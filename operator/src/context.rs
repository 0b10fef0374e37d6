//! What every reconcile has at hand.
use kube::Client;
use kube::runtime::events::Recorder;

use crate::bell::Bell;
use crate::children::Owner;
use crate::kafka::Clients;
use crate::metrics::Metrics;
use crate::resource::{Declared, Pipeline};
use crate::rhythm::Rhythm;
use crate::scaling::Scalings;
use crate::settings::Settings;
use crate::world::World;

/// What every reconcile has at hand.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) world: World,
    pub(crate) kafka: Clients,
    pub(crate) rhythm: Rhythm,
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
