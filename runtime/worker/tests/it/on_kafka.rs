//! The same worker over a real Kafka, whose topics provision made.
use std::sync::Arc;

use tidewheel_e2e::kafka::Kafka;
use tidewheel_kafka::Connection;
use tidewheel_log_kafka::KafkaLog;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::topics::of_plan_sources;
use tidewheel_provision::kafka::Topics;

use crate::chains::{check_hours, hourly_plan};
use crate::end_to_end::{check_counts, counts_plan};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_become_rows_windows_dead_letters_and_ledgers() {
    let plan = counts_plan();
    let log = log_with_topics(&plan, 7).await;
    check_counts(log, plan).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_are_made_of_minutes() {
    let plan = hourly_plan();
    let log = log_with_topics(&plan, 9).await;
    check_hours(log, plan).await;
}

/// Kafka with all topics of a plan, of which none was there.
async fn log_with_topics(plan: &Arc<Plan>, count: usize) -> Arc<KafkaLog> {
    let kafka = tokio::task::spawn_blocking(Kafka::shared).await.unwrap();
    let servers = kafka.unwrap().bootstrap();
    let connection = Connection::new([("bootstrap.servers", servers)]).unwrap();
    let topics = Topics::new(&connection).unwrap();
    let mut made = topics
        .ensure_plans(std::slice::from_ref(plan))
        .await
        .unwrap();
    made.extend(topics.ensure(&of_plan_sources(plan)).await.unwrap());
    assert_eq!(made.len(), count, "{made:?}");
    Arc::new(KafkaLog::new(connection).unwrap())
}
