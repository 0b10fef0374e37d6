//! The controllers of the three kinds, over one copy of a scope.
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use kube::runtime::applier;
use kube::runtime::controller::{Action, Config, Error};
use kube::runtime::reflector::Store;

use crate::bell::Queue;
use crate::context::Context;
use crate::reconcile::{ReconcileError, event_source, pipeline, sink};
use crate::resource::Declared;
use crate::watches::Queues;

/// How long it is waited for more to happen to a resource before it is looked at.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Runs the controllers of a world that is known. Ends when the queues do.
pub(crate) async fn run(context: Arc<Context>, queues: Queues) {
    let world = context.world.clone();
    tokio::join!(
        control(
            world.sources,
            queues.sources,
            context.clone(),
            |source, context| { event_source::reconcile(source, context).boxed() }
        ),
        control(
            world.sinks,
            queues.sinks,
            context.clone(),
            |sink, context| { sink::reconcile(sink, context).boxed() }
        ),
        control(
            world.pipelines,
            queues.pipelines,
            context.clone(),
            |pipeline, context| { pipeline::reconcile(pipeline, context).boxed() }
        ),
    );
}

type Reconcile<K> = fn(Arc<K>, Arc<Context>) -> BoxFuture<'static, Result<Action, ReconcileError>>;

async fn control<K: Declared>(
    store: Store<K>,
    queue: Queue<K>,
    context: Arc<Context>,
    reconcile: Reconcile<K>,
) {
    let measured = move |resource: Arc<K>, context: Arc<Context>| {
        let reconciling = reconcile(resource.clone(), context.clone());
        async move {
            context
                .metrics
                .began(K::KIND, resource.namespace(), resource.name());
            let began = Instant::now();
            let done = reconciling.await;
            context
                .metrics
                .ended(K::KIND, began.elapsed().as_secs_f64());
            done
        }
        .boxed()
    };
    let config = Config::default().debounce(DEBOUNCE);
    let metrics = context.metrics.clone();
    let reconciled = applier(measured, failed, context, store, queue, config);
    // Failures were told where they were found; what is gone needs no looking at.
    let done = |done| {
        if let Err(Error::ObjectNotFound(gone)) = done {
            let namespace = gone.namespace.as_deref().unwrap_or_default();
            metrics.gone(K::KIND, namespace, &gone.name);
        }
        std::future::ready(())
    };
    reconciled.for_each(done).await;
}

fn failed<K: Declared>(resource: Arc<K>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let (namespace, name) = (resource.namespace(), resource.name());
    tracing::warn!(kind = %K::KIND, namespace, name, %error, "it is tried again");
    context.metrics.failed(K::KIND, error.reason());
    let uid = resource.uid();
    Action::requeue(context.rhythm.failed(uid))
}
