//! Reconciling a Sink: whether results can go there. Its tables are those of the Pipelines that write to it.
use std::sync::Arc;

use kube::runtime::controller::Action;
use tidewheel_provision::postgres;

use super::deletion;
use super::pipeline::DATA;
use super::{ReconcileError, report, tables};
use crate::conditions::{Aspect, Finding, Reason};
use crate::context::Context;
use crate::deletions::{Deleted, Removal};
use crate::documents::hash;
use crate::judge;
use crate::resource::{Declared, Sink};

/// Looks whether results can go to a Sink.
pub(crate) async fn reconcile(
    sink: Arc<Sink>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let is_delete = deletion::is_delete(sink.as_ref(), "/postgres/deletionPolicy");
    if sink.is_deleted() {
        let remove = async { Ok(release(&sink, &context)) };
        return deletion::finalize(sink.as_ref(), &context, is_delete, remove).await;
    }
    deletion::guard(sink.as_ref(), &context, is_delete).await?;
    let uid = sink.uid();
    let findings = look(&sink, &context, uid).await;
    report(sink.as_ref(), &context, &findings, None).await
}

/// Waits for the Pipelines whose tables go with them: they need it to do so. Its own deletion deletes nothing.
fn release(sink: &Sink, context: &Context) -> Removal {
    let writers = context.world.pipelines.state_filter(|pipeline| {
        let is_here = pipeline.namespace() == sink.namespace();
        let takes_tables = deletion::is_delete(pipeline, DATA);
        is_here && takes_tables && pipeline.sink_names().any(|name| name == sink.name())
    });
    if writers.is_empty() {
        return Removal::Tried(Deleted::default());
    }
    let names: Vec<&str> = writers.iter().map(|pipeline| pipeline.name()).collect();
    Removal::Held(format!(
        "tables of the Pipelines {} are in it, and go with them",
        names.join(", ")
    ))
}

async fn look(sink: &Sink, context: &Context, uid: &str) -> Vec<Finding> {
    let judged = match judge::sink(sink) {
        Ok(judged) => judged,
        Err(findings) => return findings,
    };
    let Some(postgres) = &judged.spec.postgres else {
        let message = "results go to topics of the Kafka that Pipelines run on";
        return vec![Finding::new(
            Aspect::Whole,
            Reason::NothingToConnect,
            message,
        )];
    };
    let url = match tables::url(
        &context.world,
        sink.namespace(),
        &postgres.connection.secret_ref,
    ) {
        Ok(url) => url,
        Err(finding) => return vec![finding],
    };
    let subject = hash(url.as_bytes());
    if let Some(findings) = context.rhythm.found(uid, &subject) {
        return findings;
    }
    match postgres::answers(&url).await {
        Ok(()) => {
            let findings = vec![Finding::new(
                Aspect::Schemas,
                Reason::Connected,
                "the database answers",
            )];
            context.rhythm.remember(uid, subject, findings.clone());
            findings
        }
        Err(error) => vec![tables::finding(sink.name(), &error)],
    }
}
