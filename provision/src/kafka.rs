//! Topics on Kafka.
//!
//! A topic that is not there is made. One that is there gets the partitions that it lacks, and those of its settings that the plan
//! declares are corrected; whatever else somebody has configured stays as it is. Nothing is made smaller, and nothing deleted unless exactly that is asked for. Where a user chose the name, for an
//! output, a topic that is there already with other records or times than it would have is somebody else's, and refused.
//! ```no_run
//! use tidewheel_kafka::Connection;
//! use tidewheel_planner::topics::of_plan_sources;
//! use tidewheel_provision::kafka::Topics;
//!
//! # async fn run(plan: &tidewheel_planner::plan::Plan) -> Result<(), tidewheel_provision::kafka::TopicError> {
//! # let connection = Connection::new([("bootstrap.servers", "127.0.0.1:9092")]).unwrap();
//! let topics = Topics::new(&connection)?;
//! let mut changes = topics.ensure_plans(std::slice::from_ref(plan)).await?;
//! changes.extend(topics.ensure(&of_plan_sources(plan)).await?);
//! for change in changes {
//!     println!("{change}"); // topic shop.clicks was made with 6 partitions
//! }
//! # Ok(())
//! # }
//! ```
mod admin;
mod adoption;
mod allotment;
mod change;
mod error;
mod settings;
mod topics;

pub use change::{Change, What};
pub use error::TopicError;
pub use topics::{Found, Topics};
