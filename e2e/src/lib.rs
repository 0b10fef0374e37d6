//! Real servers for tests: each on loopback, on free ports, in a folder of its own, and gone with the process that started it.
//!
//! `scripts/servers.sh` fetches what they need; `make test` calls it.
pub mod cache;
pub mod cluster;
pub mod disk;
pub mod gateway_api;
pub mod kafka;
mod ports;
pub mod postgres;
mod process;
pub mod prometheus;
pub mod registry;
mod server;
mod supervised;
mod told;
mod usage;

pub use server::ServerError;
pub use told::{measured, not_tried};
pub use usage::{Usage, descendants, machine_cpu};
