//! Schemas of a schema registry that speaks Confluent's API: asked for by their ids, each once.
//!
//! ```no_run
//! use tidewheel_registry::{Access, Registry};
//!
//! # async fn read() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new(&Access::new("http://registry:8081"))?;
//! let schema = registry.schema(7).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A schema of an id never changes, so what was read once is kept for good. Whatever stands in the way of reading one may be over in a
//! moment: asking again is the caller's. So may a registry know an id a moment later that it does not know now; only where it says so for a
//! while, in its own words, there is no such schema.
mod absences;
mod access;
mod answer;
mod registry;

pub use access::{Access, AccessError};
pub use registry::{Registry, RegistryError};
