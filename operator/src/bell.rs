//! How controllers are told of resources that are to be looked at.
use std::convert::Infallible;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::runtime::reflector::ObjectRef;

use crate::metrics::Metrics;
use crate::resource::Declared;

/// Resources of a kind that are to be looked at.
pub(crate) type Queue<K> = UnboundedReceiver<Result<ObjectRef<K>, Infallible>>;

/// Has resources of a kind looked at.
#[derive(Clone)]
pub(crate) struct Bell<K: Declared> {
    to: UnboundedSender<Result<ObjectRef<K>, Infallible>>,
    metrics: Metrics,
}

impl<K: Declared> Bell<K> {
    /// A bell, and where its controller hears it.
    pub(crate) fn new(metrics: &Metrics) -> (Self, Queue<K>) {
        let (to, queue) = unbounded();
        let metrics = metrics.clone();
        (Self { to, metrics }, queue)
    }

    /// Has a resource looked at.
    pub(crate) fn ring(&self, resource: &K) {
        self.ring_for(resource.namespace(), resource.name());
    }

    /// Has the resource of a name looked at.
    pub(crate) fn ring_for(&self, namespace: &str, name: &str) {
        self.metrics.told(K::KIND, namespace, name);
        let resource = ObjectRef::new(name).within(namespace);
        // Where nobody listens the controller has ended, and then so has all else.
        let _ = self.to.unbounded_send(Ok(resource));
    }
}
