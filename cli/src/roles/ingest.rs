//! `tidewheel ingest`: the HTTP endpoint of EventSources.
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tidewheel_ingest::{Ingest, IngestSettings, listen};
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::roles::args::IngestArgs;
use crate::roles::operations::Operations;
use crate::roles::specs::RoleSpecs;
use crate::roles::{open_log, run_until_told};

/// What of the grace period is left for probes and clients to end.
const FOR_THE_REST: Duration = Duration::from_secs(2);

/// Takes events until SIGTERM, then answers what was begun.
pub(crate) fn run(args: IngestArgs) -> Result<Exit, Failure> {
    let specs = RoleSpecs::read(&args.specs.specs, &args.specs.secrets)?;
    let sources = specs.http_sources(&args.source)?;
    run_until_told(args.operations.grace, |stop| serve(args, sources, stop))
}

async fn serve(
    args: IngestArgs,
    sources: Vec<tidewheel_ingest::Source>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let log = open_log(&args.kafka.kafka)?;
    let settings = IngestSettings {
        shutdown_grace: args.operations.grace.saturating_sub(FOR_THE_REST),
        ..IngestSettings::default()
    };
    let registry = Registry::new();
    let failed = |error: &dyn std::error::Error| Failure::Run(error.to_string());
    let ingest =
        Ingest::new(settings, Arc::new(log.clone()), &registry).map_err(|error| failed(&error))?;
    ingest.replace(sources).map_err(|error| failed(&error))?;
    let listener = listen(args.listen).map_err(|error| {
        Failure::usage(
            format!("cannot listen on {}: {error}", args.listen),
            "give another address with --listen",
        )
    })?;
    let address = listener.local_addr()?;
    let readiness = Arc::new(ingest.clone());
    let operations = Operations::start(
        args.operations.operations,
        registry,
        Some(&log),
        vec![readiness],
    )?;
    tracing::info!(%address, "events are taken");
    // Probes are answered to the end: they say that it is shutting down.
    let drained = ingest
        .serve_router(listener, ingest.router(), stop.cancelled_owned())
        .await;
    operations.stop().await;
    match drained.cut_off {
        0 => Ok(()),
        count => Err(Failure::Run(format!(
            "{count} connections were cut off: their requests were not answered within the grace period"
        ))),
    }
}
