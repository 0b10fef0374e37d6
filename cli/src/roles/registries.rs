//! The schema registries of a pipeline's sources.
use std::sync::Arc;

use async_trait::async_trait;
use tidewheel_decode::writer_schema::WriterSchema;
use tidewheel_planner::plan::Plan;
use tidewheel_registry::{Access, Registry, RegistryError};
use tidewheel_worker::{Schemas, SchemasError, SchemasOf};

use crate::failure::Failure;
use crate::roles::secrets::Secrets;

struct Asked(Registry);

#[async_trait]
impl Schemas for Asked {
    async fn schema(&self, id: u32) -> Result<Arc<WriterSchema>, SchemasError> {
        let schema = self.0.schema(id).await;
        schema.map_err(|error| match error {
            RegistryError::NotYet { .. } => SchemasError::NotYet(error.to_string()),
            _ => SchemasError::Unavailable(error.to_string()),
        })
    }
}

/// A registry for each source that has one. Connects when a record comes that names a schema.
pub(crate) fn registries(plan: &Plan, secrets: &Secrets) -> Result<SchemasOf, Failure> {
    let mut registries = SchemasOf::new();
    for source in &plan.sources {
        let Some(registry) = &source.registry else {
            continue;
        };
        let refused = |reason: String| {
            let help = "see `schemaRegistry` in docs/reference.md";
            Failure::usage(format!("EventSource {}: {reason}", source.name), help)
        };
        let mut access = Access::new(&registry.url);
        if let Some(secret) = &registry.secret {
            let values = secrets.all(&plan.namespace, secret);
            let values = values.map_err(|error| refused(error.to_string()))?.values;
            access = access
                .with_secret(&values)
                .map_err(|error| refused(error.to_string()))?;
        }
        let registry = Registry::new(&access).map_err(|error| refused(error.to_string()))?;
        registries.insert(source.name.clone(), Arc::new(Asked(registry)));
    }
    Ok(registries)
}
