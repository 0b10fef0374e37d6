//! Reconciling: dereference, judge, build, apply, report. Only the last two, and the topics and tables between, touch the network.
mod deletion;
pub(crate) mod event_source;
mod monitors;
pub(crate) mod pipeline;
pub(crate) mod sink;
mod tables;
mod trouble;
mod workers;
mod workloads;

use std::time::Duration;

use kube::runtime::controller::Action;

use crate::apply::ApplyError;
use crate::conditions::{Finding, Reason, Standing, worst};
use crate::context::Context;
use crate::report;
use crate::resource::Declared;

/// Why a reconcile has to be done again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// The API server could not be asked, or somebody was faster.
    #[error("the API server: {0}")]
    Kube(#[from] kube::Error),
}

impl ReconcileError {
    /// A word for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Kube(kube::Error::Api(status)) => match status.code {
                403 => "Forbidden",
                409 => "Conflict",
                429 => "TooManyRequests",
                500.. => "ServerError",
                _ => "Refused",
            },
            Self::Kube(_) => "Unreachable",
        }
    }
}

/// Says what was found, and when to look again.
async fn report<K: Declared>(
    resource: &K,
    context: &Context,
    findings: &[Finding],
    workers: Option<&report::Workers>,
) -> Result<Action, ReconcileError> {
    let stuck = worst(findings).filter(|worst| worst.reason.standing() == Standing::Stuck);
    let (namespace, name) = (resource.namespace(), resource.name());
    let stalled_by = stuck.map(|stuck| stuck.reason);
    context.metrics.stands(K::KIND, namespace, name, stalled_by);
    report::findings(resource, context, findings, workers).await?;
    let uid = resource.uid();
    let pause: Duration = if findings.iter().any(is_tried_again) {
        for finding in findings.iter().filter(|finding| is_tried_again(finding)) {
            context.metrics.failed(K::KIND, finding.reason.as_str());
        }
        context.rhythm.failed(uid)
    } else {
        context.rhythm.succeeded(uid)
    };
    Ok(Action::requeue(pause))
}

/// Whether nobody says when it has changed.
fn is_tried_again(finding: &Finding) -> bool {
    let is_outside = matches!(
        finding.reason,
        Reason::TopicsRefused
            | Reason::TablesRefused
            | Reason::DatabaseUnsuitable
            | Reason::ObjectRefused
            | Reason::NameTaken
            | Reason::KafkaChanged
    );
    let is_watched = matches!(finding.reason, Reason::RollingOut | Reason::Blocked);
    let waits = finding.reason.standing() == Standing::Waiting && !is_watched;
    is_outside || waits
}

/// What an object that could not be applied means; an error where that is nothing that users have to know.
fn refused(error: ApplyError) -> Result<Finding, ReconcileError> {
    let reason = match error {
        ApplyError::Taken { .. } => Reason::NameTaken,
        ApplyError::Refused { .. } => Reason::ObjectRefused,
        ApplyError::Kube(error) => return Err(error.into()),
    };
    Ok(Finding::new(
        crate::conditions::Aspect::Workloads,
        reason,
        error.to_string(),
    ))
}
