//! Controllers that keep EventSources, Pipelines and Sinks as they are declared.
//!
//! ```text
//!  watches ──▶ World, a copy of all that resources are made of ──┐
//!     └──▶ queues: whose resource it was about ──────────────────┼──▶ reconcile
//!                                                                │      dereference   from the copy
//!                                                                │      judge         the planner, as `tidewheel check` does
//!                                                                │      topics, tables  through provision
//!                                                                │      build         objects, without a client
//!                                                                │      apply         where something differs
//!                                                                └──    report        conditions, Events
//!  workers ──▶ scaling: how many of them there should be, which reconcile applies
//! ```
//! Nothing that runs is torn down because something else failed, no spec is ever written, and where nothing changes nothing is written.
mod alerts;
mod amount;
mod apply;
mod bell;
mod children;
mod claims;
mod conditions;
mod context;
mod controllers;
mod deletions;
mod documents;
mod drift;
mod judge;
mod kafka;
mod lease;
mod metrics;
mod own;
mod presence;
mod reached;
mod reconcile;
mod report;
mod resource;
mod rhythm;
mod run;
mod scaling;
mod secrets;
mod settings;
mod watches;
mod world;

pub use conditions::Reason;
pub use metrics::Metrics;
pub use run::{Operator, OperatorError};
pub use settings::{Monitoring, RoleSettings, Settings, Workloads};
