//! What a take-over does to whoever had the id before, and to what was left open.
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    error::RDKafkaErrorCode,
    producer::{BaseProducer, BaseRecord, Producer},
};
use tidewheel_e2e::kafka::Kafka;
use tidewheel_log::{Log, LogError, take_over};
use tidewheel_log_contract::Subject;

use crate::setup::{record, shared};

const WAIT: Duration = Duration::from_secs(30);
const SERVERS: &str = "TIDEWHEEL_TEST_KAFKA";
const TOPIC: &str = "TIDEWHEEL_TEST_TOPIC";
const ID: &str = "TIDEWHEEL_TEST_ID";

/// A client that has a transaction open, in which a record is stored already.
fn open_transaction(servers: &str, id: &str, topic: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("transactional.id", id)
        .set("transaction.timeout.ms", "60000")
        .create()
        .unwrap();
    producer.init_transactions(WAIT).unwrap();
    producer.begin_transaction().unwrap();
    let open: BaseRecord<'_, str, str> =
        BaseRecord::to(topic).partition(0).key("k").payload("open");
    producer.send(open).map_err(|(error, _)| error).unwrap();
    producer.flush(WAIT).unwrap();
    producer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_is_fenced_in_the_middle_of_its_transaction() {
    let subject = shared().await;
    let (a, id) = (subject.topic(1).await, subject.name("task"));
    let servers = Kafka::shared().unwrap().bootstrap();
    let zombie = tokio::task::block_in_place(|| open_transaction(servers, &id, &a));
    let before = subject.log.offsets(&a, 0).await.unwrap();
    assert_eq!(
        (before.earliest, before.end),
        (0, 0),
        "nothing of it is to be seen"
    );

    let mut owner = subject.log.producer(&id).await.unwrap();
    let after = subject.log.offsets(&a, 0).await.unwrap();
    assert_eq!(
        after.end, 2,
        "the take-over ended the transaction: a record and a marker"
    );
    owner
        .commit(vec![record(&a, 0, "k", "owner")])
        .await
        .unwrap();
    let fenced = tokio::task::block_in_place(|| zombie.commit_transaction(WAIT)).unwrap_err();
    assert_eq!(fenced.rdkafka_error_code(), Some(RDKafkaErrorCode::Fenced));
    let (records, next_offset) = subject.all(&a, 0).await;
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].offset, next_offset), (2, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_aborted_is_passed_over() {
    let subject = shared().await;
    let a = subject.topic(1).await;
    let servers = Kafka::shared().unwrap().bootstrap();
    let id = subject.name("task");
    tokio::task::block_in_place(|| {
        open_transaction(servers, &id, &a)
            .abort_transaction(WAIT)
            .unwrap();
    });
    // The broker answers once it has decided, and writes the marker thereafter.
    subject.await_end(&a, 0, 2).await;
    let (records, next_offset) = subject.all(&a, 0).await;
    assert_eq!((records.len(), next_offset), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wrote_behind_somebody_elses_open_transaction_goes_on() {
    let subject = shared().await;
    let (a, state) = (subject.topic(1).await, subject.topic(1).await);
    let (id, other) = (subject.name("task"), subject.name("other"));
    let servers = Kafka::shared().unwrap().bootstrap();
    let open = tokio::task::block_in_place(|| open_transaction(servers, &other, &a));
    let mut owner = take_over(&subject.log, &id, (&state, 0), |_| {})
        .await
        .unwrap();
    for number in ["1", "2", "3"] {
        let records = vec![record(&a, 0, "k", number), record(&state, 0, "k", number)];
        owner.commit(records).await.unwrap();
        // Long enough for an outage to have come between.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    tokio::task::block_in_place(|| open.abort_transaction(WAIT).unwrap());
    let next = take_over(&subject.log, &id, (&state, 0), |_| {}).await;
    next.unwrap();
    assert_eq!(subject.values(&a, 0).await, ["1", "2", "3"]);
}

#[test]
#[ignore = "the process that is killed by the test below"]
fn holder() {
    let Ok(servers) = std::env::var(SERVERS) else {
        return;
    };
    let (topic, id) = (std::env::var(TOPIC).unwrap(), std::env::var(ID).unwrap());
    let _open = open_transaction(&servers, &id, &topic);
    println!("open");
    std::thread::sleep(Duration::from_secs(600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transaction_of_a_killed_process_is_ended_by_the_next_owner() {
    let subject = shared().await;
    let (a, id) = (subject.topic(1).await, subject.name("task"));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "takeover::holder", "--ignored", "--nocapture"])
        .env(SERVERS, Kafka::shared().unwrap().bootstrap())
        .env(TOPIC, &a)
        .env(ID, &id)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(lines.any(|line| line.contains("open")));
    child.kill().unwrap();
    child.wait().unwrap();

    // What others wrote behind it waits for it to end.
    let other = vec![record(&a, 0, "k", "other")];
    subject.log.append(other).await.unwrap();
    assert_eq!(subject.log.offsets(&a, 0).await.unwrap().end, 0);
    let mut owner = subject.log.producer(&id).await.unwrap();
    owner
        .commit(vec![record(&a, 0, "k", "owner")])
        .await
        .unwrap();
    assert_eq!(subject.values(&a, 0).await, ["other", "owner"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_nobody_waits_for_is_not_followed_by_another() {
    let subject = shared().await;
    let (a, id) = (subject.topic(1).await, subject.name("task"));
    let mut owner = subject.log.producer(&id).await.unwrap();
    let first = vec![record(&a, 0, "k", "first")];
    let hurry = Duration::from_micros(100);
    let dropped = tokio::time::timeout(hurry, owner.commit(first)).await;
    assert!(dropped.is_err());
    let second = owner.commit(vec![record(&a, 0, "k", "second")]).await;
    assert!(
        matches!(second, Err(LogError::Unavailable { .. })),
        "{second:?}"
    );
    // The next owner begins when the outcome is certain.
    let mut next = subject.log.producer(&id).await.unwrap();
    next.commit(vec![record(&a, 0, "k", "next")]).await.unwrap();
    let values = subject.values(&a, 0).await;
    assert!(
        values == ["first", "next"] || values == ["next"],
        "{values:?}"
    );
}
