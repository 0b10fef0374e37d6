//! Reconciling a Sink: whether results can go there. Its tables are those of the Pipelines that write to it.
use std::sync::Arc;

use kube::runtime::controller::Action;
use tidewheel_provision::postgres;

use super::{ReconcileError, report, tables};
use crate::conditions::{Aspect, Finding, Reason};
use crate::context::Context;
use crate::documents::hash;
use crate::judge;
use crate::resource::{Declared, Sink};

/// Looks whether results can go to a Sink.
pub(crate) async fn reconcile(sink: Arc<Sink>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let uid = sink.metadata.uid.as_deref().unwrap_or_default();
    if sink.is_deleted() {
        context.rhythm.forget(uid);
        return Ok(Action::await_change());
    }
    let findings = look(&sink, &context, uid).await;
    report(sink.as_ref(), &context, &findings).await
}

async fn look(sink: &Sink, context: &Context, uid: &str) -> Vec<Finding> {
    let judged = match judge::sink(sink) {
        Ok(judged) => judged,
        Err(findings) => return findings,
    };
    let Some(postgres) = &judged.spec.postgres else {
        let message = "results go to topics of the Kafka that Pipelines run on";
        return vec![Finding::new(Aspect::Whole, Reason::NothingToConnect, message)];
    };
    let url = match tables::url(&context.world, sink.namespace(), &postgres.connection.secret_ref) {
        Ok(url) => url,
        Err(finding) => return vec![finding],
    };
    let subject = hash(url.as_bytes());
    if let Some(findings) = context.rhythm.found(uid, &subject) {
        return findings;
    }
    match postgres::answers(&url).await {
        Ok(()) => {
            let findings = vec![Finding::new(Aspect::Schemas, Reason::Connected, "the database answers")];
            context.rhythm.remember(uid, subject, findings.clone());
            findings
        }
        Err(error) => vec![tables::finding(sink.name(), &error)],
    }
}
