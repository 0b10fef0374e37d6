//! The same worker over a real Kafka, whose topics provision made.
use std::sync::Arc;

use tidewheel_e2e::kafka::Kafka;
use tidewheel_kafka::Connection;
use tidewheel_log_kafka::KafkaLog;
use tidewheel_planner::topics::of_plan_sources;
use tidewheel_provision::kafka::Topics;

use crate::end_to_end::{check_counts, counts_plan};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_become_rows_windows_dead_letters_and_ledgers() {
    let kafka = tokio::task::spawn_blocking(Kafka::shared).await.unwrap();
    let servers = kafka.unwrap().bootstrap();
    let connection = Connection::new([("bootstrap.servers", servers)]).unwrap();
    let plan = counts_plan();
    let topics = Topics::new(&connection).unwrap();
    let mut made = topics
        .ensure_plans(std::slice::from_ref(&plan))
        .await
        .unwrap();
    made.extend(topics.ensure(&of_plan_sources(&plan)).await.unwrap());
    assert_eq!(made.len(), 7, "{made:?}");
    let log = KafkaLog::new(connection).unwrap();
    check_counts(Arc::new(log), plan).await;
}
