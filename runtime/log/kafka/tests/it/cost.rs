//! What transactions cost this process.
use std::time::{Duration, Instant};

use tidewheel_log::Log;
use tidewheel_log_contract::Subject;

use crate::setup::{record, shared};

const PRODUCERS: usize = 24;
const EVERY: Duration = Duration::from_millis(200);
const FOR: Duration = Duration::from_secs(20);

/// CPU time that this process has used, all its threads together.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1;
    let mut ticks = fields
        .split_whitespace()
        .skip(11)
        .map(|field| field.parse::<u64>().unwrap());
    let (user, system) = (ticks.next().unwrap(), ticks.next().unwrap());
    Duration::from_millis((user + system) * 10) // a tick is 10 ms on every Linux
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it alone"]
async fn twenty_four_tasks_that_commit_five_times_a_second() {
    let subject = shared().await;
    let (a, state) = (subject.topic(24).await, subject.topic(24).await);
    let began = Instant::now();
    let mut producers = Vec::new();
    for _ in 0..PRODUCERS {
        producers.push(subject.log.producer(&subject.name("task")).await.unwrap());
    }
    println!(
        "taken over {PRODUCERS} ids one after another in {:?}",
        began.elapsed()
    );
    let (cpu_before, began) = (cpu_time(), Instant::now());
    let tasks = producers
        .into_iter()
        .zip(0..)
        .map(|(mut producer, partition)| {
            let (a, state) = (a.clone(), state.clone());
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(EVERY);
                let mut took = Vec::new();
                while began.elapsed() < FOR {
                    ticks.tick().await;
                    let value = "x".repeat(1_000);
                    let records = vec![
                        record(&a, partition, "k", &value),
                        record(&a, (partition + 1) % 24, "k", &value),
                        record(&state, partition, "progress", "1"),
                    ];
                    let before = Instant::now();
                    producer.commit(records).await.unwrap();
                    took.push(before.elapsed());
                }
                took
            })
        });
    let tasks: Vec<_> = tasks.collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    let (cpu, time) = (cpu_time() - cpu_before, began.elapsed());
    took.sort();
    println!(
        "{} commits in {time:?}: {:.3} cores, commit p50 {:?} p99 {:?}",
        took.len(),
        cpu.as_secs_f64() / time.as_secs_f64(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
    );
}
