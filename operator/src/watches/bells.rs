//! Whose resource a change was about, and who takes it in.
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Resource;
use kube::api::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use tidewheel_crds::Kind;

use crate::bell::Bell;
use crate::children::ChildKind;
use crate::claims::Claims;
use crate::resource::{Declared, EventSource, Pipeline, Sink};
use crate::world::World;

/// A change of an object: what it was, and what it is; none where it was not there, or is no longer.
pub(super) struct Changed<'a, K> {
    pub(super) before: Option<&'a K>,
    pub(super) now: Option<&'a K>,
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

    /// The newer one, where anything but the status is another than before.
    fn by_users(self) -> Option<&'a K> {
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
        let is_changed = self.before.map(told) != self.now.map(told);
        self.both().last().filter(|_| is_changed)
    }
}

/// Where controllers are told.
#[derive(Clone)]
pub(super) struct Bells {
    pub(super) world: World,
    pub(super) claims: Claims,
    pub(super) secret_of_kafka: String,
    pub(super) sources: Bell<EventSource>,
    pub(super) sinks: Bell<Sink>,
    pub(super) pipelines: Bell<Pipeline>,
}

/// Who is told of the objects of a kind.
pub(super) struct Told<K> {
    /// Takes in what others go by, with whether it is there; of each object, however often it is seen.
    pub(super) note: fn(&Bells, &K, bool),
    /// Rings for those that a change is about.
    pub(super) ring: fn(&Bells, Changed<'_, K>),
}

impl<K> Clone for Told<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Told<K> {}

pub(super) const OF_SOURCES: Told<EventSource> = Told {
    note: Bells::note_source,
    ring: Bells::source,
};
pub(super) const OF_SINKS: Told<Sink> = Told {
    note: |_, _, _| {},
    ring: Bells::sink,
};
pub(super) const OF_PIPELINES: Told<Pipeline> = Told {
    note: Bells::note_pipeline,
    ring: Bells::pipeline,
};
pub(super) const OF_SECRETS: Told<Secret> = Told {
    note: |_, _, _| {},
    ring: Bells::secret,
};
/// Whoever looks at them looks at them all the time.
pub(super) const OF_PODS: Told<Pod> = Told {
    note: |_, _, _| {},
    ring: |_, _| {},
};

pub(super) fn of_children(kind: ChildKind) -> Told<DynamicObject> {
    Told {
        note: match kind {
            ChildKind::ConfigMap => Bells::note_specs,
            _ => |_, _, _| {},
        },
        ring: Bells::child,
    }
}

impl Bells {
    fn note_source(&self, source: &EventSource, is_there: bool) {
        match is_there {
            true => self.claims.source(source),
            false => self.claims.source_gone(source),
        }
    }

    fn note_pipeline(&self, pipeline: &Pipeline, is_there: bool) {
        match is_there {
            true => self.claims.pipeline(pipeline),
            false => self.claims.pipeline_gone(pipeline),
        }
    }

    fn note_specs(&self, specs: &DynamicObject, is_there: bool) {
        match is_there {
            true => self.claims.specs(specs),
            false => self.claims.specs_gone(specs),
        }
    }

    /// For the source, and for the Pipelines that read it.
    fn source(&self, changed: Changed<'_, EventSource>) {
        let Some(source) = changed.by_users() else {
            return;
        };
        self.sources.ring(source);
        self.pipelines_where(source.namespace(), |pipeline| {
            pipeline.source_names().any(|name| name == source.name())
        });
    }

    /// For the Sink, and for the Pipelines that write to it.
    fn sink(&self, changed: Changed<'_, Sink>) {
        let Some(sink) = changed.by_users() else {
            return;
        };
        self.sinks.ring(sink);
        self.pipelines_where(sink.namespace(), |pipeline| {
            pipeline.sink_names().any(|name| name == sink.name())
        });
    }

    /// For the Pipeline.
    fn pipeline(&self, changed: Changed<'_, Pipeline>) {
        let Some(pipeline) = changed.by_users() else {
            return;
        };
        self.pipelines.ring(pipeline);
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
        // Workers ask the registry, which is nothing to the source's own reconciliation.
        let read = self.world.sources.state_filter(|source| {
            source.namespace() == namespace && source.registry_secret_name() == Some(name)
        });
        self.pipelines_where(namespace, |pipeline| {
            let mut written = pipeline.sink_names();
            let mut sources = pipeline.source_names();
            all_use_it
                || written.any(|name| sinks.iter().any(|sink| sink.name() == name))
                || sources.any(|name| read.iter().any(|source| source.name() == name))
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
    pub(super) fn all_with_workloads(&self) {
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
