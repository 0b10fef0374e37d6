//! Groups that grow and shrink while their members work.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tidewheel_log::{Assignment, Log, Member};
use tidewheel_log_contract::Subject;
use tokio::sync::oneshot;

use crate::setup::{OnKafka, shared, with_newer_groups};

const PATIENCE: Duration = Duration::from_secs(60);

/// Who works on which partition.
#[derive(Clone, Default)]
struct Owners(Arc<Mutex<BTreeMap<i32, usize>>>);

impl Owners {
    fn take(&self, partition: i32, member: usize) {
        let before = self.0.lock().insert(partition, member);
        assert_eq!(before, None, "partition {partition} has two owners");
    }

    fn give(&self, partition: i32, member: usize) {
        assert_eq!(self.0.lock().remove(&partition), Some(member));
    }

    /// Waits until all partitions are shared out evenly among so many members.
    async fn shared_among(&self, members: usize, partitions: usize) {
        let is_even = || {
            let owners = self.0.lock();
            let working: BTreeSet<usize> = owners.values().copied().collect();
            let load = |member| owners.values().filter(|owner| **owner == member).count();
            let even = working
                .iter()
                .all(|member| load(*member) == partitions / members);
            owners.len() == partitions && working.len() == members && even
        };
        let waiting = async {
            while !is_even() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, waiting).await;
        done.unwrap_or_else(|_| panic!("not shared among {members}: {:?}", self.0.lock()));
    }
}

/// A member that works until it is told to leave.
async fn work(
    mut member: Box<dyn Member>,
    number: usize,
    owners: Owners,
    mut stop: oneshot::Receiver<()>,
) {
    let mut mine = BTreeSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => {
                mine.iter().for_each(|partition| owners.give(*partition, number));
                return member.leave().await.unwrap();
            }
            change = member.next() => match change.unwrap() {
                Assignment::Assigned(partitions) => for partition in partitions {
                    owners.take(partition, number);
                    mine.insert(partition);
                },
                Assignment::Revoked(partitions) => {
                    tokio::time::sleep(Duration::from_millis(300)).await; // finishes what it has in hand
                    for partition in partitions {
                        mine.remove(&partition);
                        owners.give(partition, number);
                    }
                }
                Assignment::Lost(partitions) => panic!("{number} lost {partitions:?}"),
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_partition_has_one_owner_while_members_come_and_go() {
    members_come_and_go(shared().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_partition_has_one_owner_by_the_newer_protocol_too() {
    members_come_and_go(with_newer_groups().await).await;
}

async fn members_come_and_go(subject: OnKafka) {
    let (a, group) = (subject.topic(6).await, subject.name("group"));
    let owners = Owners::default();
    let mut members = Vec::new();
    for number in 0..3 {
        let member = subject.log.join(&group, &a).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let working = tokio::spawn(work(member, number, owners.clone(), stopped));
        members.push((stop, working));
        if number != 1 {
            owners.shared_among(members.len(), 6).await;
        }
    }
    for left in [2, 1] {
        let (stop, working) = members.remove(0);
        stop.send(()).unwrap();
        working.await.unwrap();
        owners.shared_among(left, 6).await;
    }
    let (stop, working) = members.remove(0);
    stop.send(()).unwrap();
    working.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_ask_for_too_long_loses_its_partitions() {
    one_does_not_ask(&[
        ("session.timeout.ms", "1000"),
        ("heartbeat.interval.ms", "200"),
        ("max.poll.interval.ms", "1500"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_ask_for_too_long_loses_them_by_the_newer_protocol_too() {
    one_does_not_ask(&[
        ("group.protocol", "consumer"),
        // Not less than the session timeout, which is the broker's.
        ("max.poll.interval.ms", "6000"),
    ])
    .await;
}

async fn one_does_not_ask(properties: &[(&str, &str)]) {
    let servers = tidewheel_e2e::kafka::Kafka::shared().unwrap().bootstrap();
    let all = [("bootstrap.servers", servers)].into_iter();
    let impatient = OnKafka::with(all.chain(properties.iter().copied()), servers);
    let (a, group) = (impatient.topic(2).await, impatient.name("group"));
    let mut stuck = impatient.log.join(&group, &a).await.unwrap();
    assert_eq!(told(&mut stuck).await, Assignment::Assigned(vec![0, 1]));
    let mut other = impatient.log.join(&group, &a).await.unwrap();
    // The first does not ask any more, and the second gets everything.
    let mut has = BTreeSet::new();
    while has.len() < 2 {
        if let Assignment::Assigned(partitions) = told(&mut other).await {
            has.extend(partitions);
        }
    }
    let serving = tokio::spawn(async move { while other.next().await.is_ok() {} });
    assert_eq!(told(&mut stuck).await, Assignment::Lost(vec![0, 1]));
    serving.abort();
}

async fn told(member: &mut Box<dyn Member>) -> Assignment {
    let next = tokio::time::timeout(PATIENCE, member.next()).await;
    next.expect("the group says nothing").unwrap()
}
