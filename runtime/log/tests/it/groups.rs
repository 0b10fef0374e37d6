//! Consumer groups.
use std::{collections::BTreeMap, task::Poll, time::Duration};

use tidewheel_log::{Assignment, EmbeddedLog, Log, Member, Options};

use crate::setup::{HandClock, now, options, poll_once, topic};

fn log(partitions: i32) -> (EmbeddedLog, HandClock) {
    let clock = HandClock::default();
    let log = EmbeddedLog::in_memory(options(&clock));
    log.create_topic(&topic("a", partitions)).unwrap();
    (log, clock)
}

fn join(log: &EmbeddedLog) -> Box<dyn Member> {
    now(log.join("g", "a")).unwrap()
}

/// What a member is told now, if anything.
fn told(member: &mut Box<dyn Member>) -> Option<Assignment> {
    match poll_once(member.next()) {
        Poll::Ready(answer) => Some(answer.unwrap()),
        Poll::Pending => None,
    }
}

use Assignment::{Assigned, Lost, Revoked};

#[test]
fn a_partition_moves_only_after_its_owner_gave_it_up() {
    let (log, _) = log(4);
    let mut first = join(&log);
    assert_eq!(told(&mut first), Some(Assigned(vec![0, 1, 2, 3])));
    let mut second = join(&log);
    assert_eq!(told(&mut second), None, "the first still has them");
    assert_eq!(told(&mut first), Some(Revoked(vec![2, 3])));
    assert_eq!(told(&mut second), None, "the first may still work on them");
    assert_eq!(told(&mut first), None, "this call gives them up");
    assert_eq!(told(&mut second), Some(Assigned(vec![2, 3])));
}

#[test]
fn who_leaves_or_is_dropped_hands_over_at_once() {
    let (log, _) = log(3);
    let mut first = join(&log);
    assert_eq!(told(&mut first), Some(Assigned(vec![0, 1, 2])));
    let (mut second, mut third) = (join(&log), join(&log));
    assert_eq!(told(&mut first), Some(Revoked(vec![1, 2])));
    drop(first);
    assert_eq!(told(&mut second), Some(Assigned(vec![0, 1])));
    assert_eq!(told(&mut third), Some(Assigned(vec![2])));
    now(second.leave()).unwrap();
    assert_eq!(told(&mut third), Some(Assigned(vec![0, 1])));
}

#[test]
fn a_rebalance_moves_no_more_than_it_must() {
    let (log, _) = log(7);
    let mut members = vec![join(&log)];
    let mut owned: BTreeMap<i32, usize> = BTreeMap::new();
    for round in 1..=7 {
        let mut moved = 0;
        for _ in 0..3 {
            for (index, member) in members.iter_mut().enumerate() {
                match told(member) {
                    Some(Assigned(partitions)) => partitions.into_iter().for_each(|partition| {
                        assert_eq!(owned.insert(partition, index), None, "two owners");
                        moved += 1;
                    }),
                    Some(Revoked(partitions)) => {
                        // Given up at the next call, which is when it leaves this model too.
                        assert_eq!(told(member), None);
                        partitions
                            .iter()
                            .for_each(|partition| assert_eq!(owned.remove(partition), Some(index)));
                    }
                    Some(Lost(_)) => panic!("nobody is late"),
                    None => {}
                }
            }
        }
        assert_eq!(owned.len(), 7);
        let loads: Vec<usize> = (0..members.len())
            .map(|index| owned.values().filter(|owner| **owner == index).count())
            .collect();
        assert!(
            loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1,
            "{loads:?}"
        );
        let least = if round == 1 { 7 } else { 7 / members.len() };
        assert_eq!(moved, least, "moves when member {round} joined");
        members.push(join(&log));
    }
}

#[test]
fn who_does_not_call_within_the_session_timeout_loses_its_partitions() {
    let (log, clock) = log(2);
    let mut stuck = join(&log);
    assert_eq!(told(&mut stuck), Some(Assigned(vec![0, 1])));
    let mut other = join(&log);
    clock.forward(5_999);
    assert_eq!(told(&mut other), None);
    clock.forward(1);
    assert_eq!(told(&mut other), Some(Assigned(vec![0, 1])));
    assert_eq!(told(&mut stuck), Some(Lost(vec![0, 1])));
    assert_eq!(
        told(&mut stuck),
        None,
        "it is a member again, and waits for its share"
    );
    assert_eq!(told(&mut other), Some(Revoked(vec![1])));
    assert_eq!(told(&mut other), None);
    assert_eq!(told(&mut stuck), Some(Assigned(vec![1])));
}

#[test]
fn who_is_told_to_give_up_and_works_on_loses_it_too() {
    let (log, clock) = log(2);
    let mut slow = join(&log);
    told(&mut slow);
    let mut other = join(&log);
    assert_eq!(told(&mut slow), Some(Revoked(vec![1])));
    clock.forward(6_000);
    assert_eq!(told(&mut other), Some(Assigned(vec![0, 1])));
    assert_eq!(told(&mut slow), Some(Lost(vec![0, 1])));
}

#[test]
fn a_late_member_keeps_its_partitions_while_nobody_else_is_there() {
    let (log, clock) = log(2);
    let mut only = join(&log);
    told(&mut only);
    clock.forward(60_000);
    log.maintain().unwrap();
    assert_eq!(told(&mut only), None);
}

#[test]
fn added_partitions_are_shared_out() {
    let (log, _) = log(2);
    let mut first = join(&log);
    let mut second = join(&log);
    assert_eq!(
        (told(&mut first), told(&mut second)),
        (Some(Assigned(vec![0])), Some(Assigned(vec![1])))
    );
    log.create_topic(&topic("a", 4)).unwrap();
    assert_eq!(
        (told(&mut first), told(&mut second)),
        (Some(Assigned(vec![2])), Some(Assigned(vec![3])))
    );
}

#[test]
fn groups_do_not_know_each_other() {
    let (log, _) = log(1);
    let mut one = join(&log);
    let mut two = now(log.join("h", "a")).unwrap();
    assert_eq!(
        (told(&mut one), told(&mut two)),
        (Some(Assigned(vec![0])), Some(Assigned(vec![0])))
    );
    now(one.report(0, 17)).unwrap();
    assert_eq!(log.reported("g", "a"), BTreeMap::from([(0, 17)]));
    assert_eq!(log.reported("h", "a"), BTreeMap::new());
}

#[tokio::test]
async fn a_member_that_waits_is_woken_by_a_change() {
    let log = EmbeddedLog::in_memory(Options::default());
    log.create_topic(&topic("a", 2)).unwrap();
    let mut first = log.join("g", "a").await.unwrap();
    first.next().await.unwrap();
    let waiting = tokio::spawn(async move { (first.next().await, first) });
    tokio::task::yield_now().await;
    let _second = log.join("g", "a").await.unwrap();
    assert_eq!(waiting.await.unwrap().0.unwrap(), Revoked(vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_waits_takes_over_from_one_that_hangs() {
    let (log, clock) = log(1);
    let mut hangs = log.join("g", "a").await.unwrap();
    hangs.next().await.unwrap();
    let mut other = log.join("g", "a").await.unwrap();
    assert_eq!(other.next().await.unwrap(), Assigned(vec![]));
    let waiting = tokio::spawn(async move { other.next().await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    clock.forward(10_000);
    assert_eq!(waiting.await.unwrap().unwrap(), Assigned(vec![0]));
}
