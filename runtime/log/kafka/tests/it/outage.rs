//! A broker that goes away in the middle of it all.
use std::time::Duration;

use futures::future::join_all;
use tidewheel_e2e::kafka::{Kafka, Options};
use tidewheel_log::{Log, LogError, Record, take_over};

use crate::setup::{OnKafka, own_broker, record, text};
use crate::task::{Task, Topics};

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_task_goes_on_exactly_where_it_was_when_the_broker_stops_dies_and_hangs() {
    let mut kafka = own_broker(Options::default()).await;
    let subject = OnKafka::at(kafka.bootstrap());
    let topics = Topics::create(&subject, 1).await;
    let mut task = Task::new(&subject, &topics, 0);
    task.run_until(20).await;
    let blows: [fn(&mut Kafka); 3] = [
        |kafka| kafka.stop().unwrap(),
        |kafka| kafka.kill().unwrap(),
        |kafka| {
            kafka.pause().unwrap();
            // Longer than a transaction may stay open.
            std::thread::sleep(Duration::from_secs(12));
            kafka.resume().unwrap();
        },
    ];
    for blow in blows {
        let until = task.next + 60;
        let struck = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            tokio::task::block_in_place(|| {
                blow(&mut kafka);
                kafka.start_again().unwrap();
            });
        };
        tokio::join!(struck, task.run_until(until));
    }
    topics.assert_written_once(&subject, &[task.next]).await;
}

/// Kafka 4.3 forgets to end some of the transactions that are being committed when the broker dies (KAFKA-20734): those that still wait for
/// their markers when the broker's session of before runs out. Of 24 tasks that is one or two each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_a_broker_that_dies_forgets_to_end_is_neither_lost_nor_seen_twice() {
    const TASKS: i32 = 24;
    let mut kafka = own_broker(Options::default()).await;
    let subject = OnKafka::at(kafka.bootstrap());
    let topics = Topics::create(&subject, TASKS).await;
    let mut tasks: Vec<Task<'_>> = (0..TASKS)
        .map(|index| Task::new(&subject, &topics, index))
        .collect();
    join_all(tasks.iter_mut().map(|task| task.run_until(20))).await;
    for _ in 0..2 {
        let all = tasks.iter_mut().map(|task| task.run_until(task.next + 100));
        let killed = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            tokio::task::block_in_place(|| {
                kafka.kill().unwrap();
                kafka.start_again().unwrap();
            });
        };
        tokio::join!(killed, join_all(all));
    }
    let next: Vec<u32> = tasks.iter().map(|task| task.next).collect();
    topics.assert_written_once(&subject, &next).await;
}

/// The same at will: in one partition each, and in all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broker_forgot_to_end_is_ended_as_the_state_of_its_task_says() {
    let mut kafka = own_broker(Options::default()).await;
    let subject = OnKafka::at(kafka.bootstrap());
    let (written, state) = (subject.topic(4).await, subject.topic(4).await);
    let take_over = async |task: i32| {
        let mut progress = Vec::new();
        let each = |record: Record| progress.push(text(&record.value));
        let id = format!("task-{task}");
        let holder = take_over(&subject.log, &id, (&state, task), each).await;
        holder.map(|holder| (holder, progress))
    };
    // Of each task a partition of both topics.
    let whole = |task, value: &str| {
        let elsewhere = record(&written, task, "k", value);
        vec![elsewhere, record(&state, task, "progress", value)]
    };
    let at_home = |task, value: &str| vec![record(&state, task, "progress", value)];
    let (mut lives, _) = take_over(0).await.unwrap();
    lives.commit(whole(0, "1")).await.unwrap();
    let (mut other, _) = take_over(1).await.unwrap();
    other.commit(whole(1, "1")).await.unwrap();
    let (mut other, _) = take_over(2).await.unwrap();
    other.commit(whole(2, "1")).await.unwrap();
    other.commit(at_home(2, "2")).await.unwrap();
    let (mut other, _) = take_over(3).await.unwrap();
    other.commit(whole(3, "1")).await.unwrap();
    drop(other);
    for task in 0..4 {
        subject.await_end(&written, task, 2).await;
        subject
            .await_end(&state, task, if task == 2 { 4 } else { 2 })
            .await;
    }
    // What ended in the partitions is known to have by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::task::block_in_place(|| {
        kafka.kill().unwrap();
        (0..4).for_each(|task| kafka.forget_end(&written, task).unwrap());
        kafka.forget_end(&state, 3).unwrap();
        kafka.start_again().unwrap();
    });
    for task in 0..4 {
        assert_eq!(subject.log.offsets(&written, task).await.unwrap().end, 0);
    }
    // Whoever lived through it commits nothing that would leave it open, or share its fate.
    let refused = lives.commit(at_home(0, "2")).await.unwrap_err();
    assert!(refused.to_string().contains("KAFKA-20734"), "{refused}");
    // What is committed at home is there, whether anything came after it or not. What is not is done again, once.
    for (task, known) in [(0, &["1"][..]), (1, &["1"]), (2, &["1", "2"]), (3, &[])] {
        let (mut holder, progress) = take_over(task).await.unwrap();
        assert_eq!(progress, known, "task {task}");
        assert_eq!(
            subject.values(&written, task).await,
            known.get(..1).unwrap_or_default()
        );
        holder.commit(whole(task, "3")).await.unwrap();
        let expected: Vec<&str> = known.iter().take(1).copied().chain(["3"]).collect();
        assert_eq!(
            subject.values(&written, task).await,
            expected,
            "task {task}"
        );
        let (_, progress) = take_over(task).await.unwrap();
        assert_eq!(progress.last().unwrap(), "3");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_is_not_at_the_end() {
    let kafka = own_broker(Options::default()).await;
    let subject = OnKafka::at(kafka.bootstrap());
    let a = subject.topic(1).await;
    let wait = Duration::from_millis(200);
    let mut reader = subject.log.reader(&a, 0, 0).await.unwrap();
    assert!(reader.fetch(1, 1, wait).await.unwrap().at_end);
    kafka.pause().unwrap();
    // Says so once what it knew is old.
    while reader.fetch(1, 1, wait).await.unwrap().at_end {}
    kafka.resume().unwrap();
    while !reader.fetch(1, 1, wait).await.unwrap().at_end {}
    subject
        .log
        .append(vec![record(&a, 0, "k", "v")])
        .await
        .unwrap();
    while reader.fetch(1, 1, wait).await.unwrap().records.is_empty() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_calls_fail_and_say_why() {
    let subject = OnKafka::at("127.0.0.1:1");
    let refused = subject.log.topic("a").await.unwrap_err();
    assert!(
        matches!(&refused, LogError::Unavailable { reason } if reason.contains("127.0.0.1:1")),
        "{refused}"
    );
}
