//! Real servers for tests: each on loopback, on free ports, in a folder of its own, and gone with the process that started it.
//!
//! `scripts/servers.sh` fetches what they need; `make test` calls it.
mod cache;
pub mod cluster;
pub mod disk;
pub mod kafka;
mod not_tried;
mod ports;
pub mod postgres;
mod process;
pub mod prometheus;
mod server;
mod supervised;
mod usage;

pub use not_tried::not_tried;
pub use server::ServerError;
pub use usage::Usage;
