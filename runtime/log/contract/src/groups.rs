//! Consumer groups.
use std::{collections::BTreeSet, time::Duration};

use tidewheel_log::{Assignment, Cleanup, Member, TopicSettings};

use crate::subject::{PATIENCE, Subject};

/// How long to look whether something happens that must not.
const WATCH: Duration = Duration::from_millis(500);

/// What a member is told next, once that is more than that nothing is added.
async fn told(member: &mut Box<dyn Member>) -> Assignment {
    let next = async {
        loop {
            match member.next().await.unwrap() {
                Assignment::Assigned(partitions) if partitions.is_empty() => {}
                change => return change,
            }
        }
    };
    let next = tokio::time::timeout(PATIENCE, next).await;
    next.expect("the group says nothing")
}

/// What a member gets, however many steps that takes, until it has `count` partitions.
async fn gets(member: &mut Box<dyn Member>, count: usize) -> BTreeSet<i32> {
    let mut has = BTreeSet::new();
    while has.len() != count {
        match told(member).await {
            Assignment::Assigned(partitions) => has.extend(partitions),
            Assignment::Revoked(partitions) => partitions.iter().for_each(|partition| {
                has.remove(partition);
            }),
            Assignment::Lost(partitions) => panic!("{partitions:?} were lost"),
        }
    }
    has
}

/// One member.
pub async fn the_only_member_gets_everything(subject: &dyn Subject) {
    let (a, group) = (subject.topic(3).await, subject.name("group"));
    let mut only = subject.log().join(&group, &a).await.unwrap();
    assert_eq!(told(&mut only).await, Assignment::Assigned(vec![0, 1, 2]));
    only.leave().await.unwrap();
    let nowhere = subject.name("nowhere");
    assert!(subject.log().join(&group, &nowhere).await.is_err());
}

/// The hand-over.
pub async fn a_partition_moves_only_after_its_owner_gave_it_up(subject: &dyn Subject) {
    let (a, group) = (subject.topic(4).await, subject.name("group"));
    let mut first = subject.log().join(&group, &a).await.unwrap();
    assert_eq!(gets(&mut first, 4).await.len(), 4);
    let mut second = subject.log().join(&group, &a).await.unwrap();
    let (of_first, of_second) = tokio::join!(
        told(&mut first),
        tokio::time::timeout(WATCH, told(&mut second))
    );
    assert!(of_second.is_err(), "the first still has them");
    let Assignment::Revoked(moving) = of_first else {
        panic!("{of_first:?}");
    };
    assert_eq!(moving.len(), 2);
    let early = tokio::time::timeout(WATCH, told(&mut second)).await;
    assert!(
        early.is_err(),
        "the first may still work on them: {early:?}"
    );
    // This call gives them up.
    let giving_up =
        tokio::spawn(async move { tokio::time::timeout(PATIENCE, told(&mut first)).await });
    assert_eq!(told(&mut second).await, Assignment::Assigned(moving));
    giving_up.abort();
}

/// Leaving.
pub async fn who_leaves_hands_over_at_once(subject: &dyn Subject) {
    let (a, group) = (subject.topic(2).await, subject.name("group"));
    let mut first = subject.log().join(&group, &a).await.unwrap();
    assert_eq!(gets(&mut first, 2).await.len(), 2);
    first.leave().await.unwrap();
    let mut second = subject.log().join(&group, &a).await.unwrap();
    assert_eq!(gets(&mut second, 2).await.len(), 2);
}

/// More members than partitions.
pub async fn who_has_nothing_to_do_is_told_so(subject: &dyn Subject) {
    let (a, group) = (subject.topic(1).await, subject.name("group"));
    let mut first = subject.log().join(&group, &a).await.unwrap();
    assert_eq!(gets(&mut first, 1).await.len(), 1);
    let mut second = subject.log().join(&group, &a).await.unwrap();
    let serving = tokio::spawn(async move {
        let change = told(&mut first).await;
        panic!("nothing moves: {change:?}");
    });
    let next = tokio::time::timeout(PATIENCE / 2, second.next()).await;
    let next = next.expect("it is told nothing").unwrap();
    assert_eq!(next, Assignment::Assigned(Vec::new()));
    assert!(!serving.is_finished());
    serving.abort();
}

/// A topic that grows.
pub async fn added_partitions_are_shared_out(subject: &dyn Subject) {
    let (a, group) = (subject.topic(1).await, subject.name("group"));
    let mut only = subject.log().join(&group, &a).await.unwrap();
    assert_eq!(told(&mut only).await, Assignment::Assigned(vec![0]));
    let grown = TopicSettings {
        name: a,
        partitions: 3,
        cleanup: Cleanup::Retention { ms: None },
    };
    subject.create_topic(&grown).await;
    assert_eq!(told(&mut only).await, Assignment::Assigned(vec![1, 2]));
}

/// Two groups over one topic.
pub async fn groups_do_not_know_each_other(subject: &dyn Subject) {
    let a = subject.topic(1).await;
    let mut members = Vec::new();
    for stem in ["group", "other"] {
        let mut member = subject.log().join(&subject.name(stem), &a).await.unwrap();
        assert_eq!(told(&mut member).await, Assignment::Assigned(vec![0]));
        member.report(0, 0).await.unwrap();
        members.push(member);
    }
}
