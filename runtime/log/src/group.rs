//! Consumer groups: who has which partition of a topic. Pure but for the bell that waiting members listen to.
//!
//! The protocol is cooperative and incremental. Whenever members or partitions change, [`balance`] decides who *should* have
//! what, moving as little as it can. A member that has too much is told at its next call, and has given it up when it calls
//! again; only then is the partition free for its next owner. Who does not call is passed over after the session timeout.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::Notify;

use crate::Assignment;

/// Identity of a member within its group, in order of joining.
pub(crate) type MemberId = u64;
/// Name of a group and number of its topic.
pub(crate) type GroupKey = (String, u32);

/// All groups of a log, in an order of their own, so that a simulation repeats itself exactly.
#[derive(Default)]
pub(crate) struct Groups {
    groups: BTreeMap<GroupKey, Group>,
}

impl Groups {
    /// The group, made where it does not exist.
    pub(crate) fn entry(
        &mut self,
        key: GroupKey,
        partitions: i32,
        session_timeout_ms: i64,
    ) -> &mut Group {
        self.groups
            .entry(key)
            .or_insert_with(|| Group::new(partitions, session_timeout_ms))
    }

    pub(crate) fn get(&mut self, key: &GroupKey) -> Option<&mut Group> {
        self.groups.get_mut(key)
    }

    /// A topic got more partitions.
    pub(crate) fn resize(&mut self, topic: u32, partitions: i32, now_ms: i64) {
        for (_, group) in self
            .groups
            .iter_mut()
            .filter(|((_, number), _)| *number == topic)
        {
            group.resize(partitions, now_ms);
        }
    }

    /// A topic is no more: its members find no group when they look.
    pub(crate) fn dissolve(&mut self, topic: u32) {
        self.groups.retain(|(_, number), group| {
            if *number == topic {
                group.changed.notify_waiters();
            }
            *number != topic
        });
    }

    /// Passes over members whose time is up, in every group.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        self.groups
            .values_mut()
            .for_each(|group| group.expire(now_ms));
    }

    pub(crate) fn reported(&self, group: &str, topic: u32) -> BTreeMap<i32, i64> {
        self.groups
            .get(&(group.to_owned(), topic))
            .map(|group| group.reported.clone())
            .unwrap_or_default()
    }
}

/// One group over one topic.
pub(crate) struct Group {
    session_timeout_ms: i64,
    seats: BTreeMap<MemberId, Seat>,
    next_member: MemberId,
    /// Who has each partition: told that it is theirs and has not given it up.
    owners: Vec<Option<MemberId>>,
    /// Who should have it.
    targets: Vec<Option<MemberId>>,
    reported: BTreeMap<i32, i64>,
    /// Rung whenever anything of the above changed.
    pub(crate) changed: Arc<Notify>,
}

/// A member as its group sees it.
#[derive(Debug)]
struct Seat {
    last_seen_ms: i64,
    /// Whether it waits in `next` right now, which is as good as being seen.
    waiting: bool,
    /// Since when it has something to give up, ms.
    asked_since_ms: Option<i64>,
    /// What it was told to give up and may work on until it calls again.
    giving_up: BTreeSet<i32>,
    /// What was taken from it and it does not know yet.
    lost: BTreeSet<i32>,
    /// Passed over: has nothing and gets nothing until it calls again.
    expelled: bool,
    /// Whether it was ever told what it has, be it nothing.
    welcomed: bool,
}

impl Group {
    pub(crate) fn new(partitions: i32, session_timeout_ms: i64) -> Self {
        let none = vec![None; partitions.max(0) as usize];
        Self {
            session_timeout_ms,
            seats: BTreeMap::new(),
            next_member: 0,
            owners: none.clone(),
            targets: none,
            reported: BTreeMap::new(),
            changed: Arc::default(),
        }
    }

    pub(crate) fn join(&mut self, now_ms: i64) -> MemberId {
        let id = self.next_member;
        self.next_member += 1;
        let seat = Seat {
            last_seen_ms: now_ms,
            waiting: false,
            asked_since_ms: None,
            giving_up: BTreeSet::new(),
            lost: BTreeSet::new(),
            expelled: false,
            welcomed: false,
        };
        self.seats.insert(id, seat);
        self.rebalance(now_ms);
        id
    }

    pub(crate) fn leave(&mut self, id: MemberId, now_ms: i64) {
        if self.seats.remove(&id).is_some() {
            self.free(|owner| owner == id);
            self.rebalance(now_ms);
        }
    }

    pub(crate) fn report(&mut self, partition: i32, next_offset: i64) {
        self.reported.insert(partition, next_offset);
    }

    fn resize(&mut self, partitions: i32, now_ms: i64) {
        let partitions = partitions.max(0) as usize;
        if partitions > self.owners.len() {
            self.owners.resize(partitions, None);
            self.targets.resize(partitions, None);
            self.rebalance(now_ms);
        }
    }

    /// A member calls `next`: it lives, and has given up what it was told to.
    pub(crate) fn call(&mut self, id: MemberId, now_ms: i64) {
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        seat.last_seen_ms = now_ms;
        seat.waiting = true;
        let given_up = std::mem::take(&mut seat.giving_up);
        let returns = std::mem::take(&mut seat.expelled);
        for partition in &given_up {
            self.owners[*partition as usize] = None;
        }
        if returns {
            self.rebalance(now_ms);
        } else if !given_up.is_empty() {
            self.settle(now_ms);
        }
    }

    /// A member's call of `next` ended, with an answer or without.
    pub(crate) fn hang_up(&mut self, id: MemberId, now_ms: i64) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.waiting = false;
            seat.last_seen_ms = now_ms;
        }
    }

    /// What a member that waits in `next` is to be told now.
    pub(crate) fn answer(&mut self, id: MemberId, now_ms: i64) -> Option<Assignment> {
        self.expire(now_ms);
        let seat = self.seats.get_mut(&id)?;
        if !seat.lost.is_empty() {
            return Some(Assignment::Lost(
                std::mem::take(&mut seat.lost).into_iter().collect(),
            ));
        }
        let places = || self.owners.iter().zip(&self.targets).zip(0_i32..);
        let too_much: Vec<i32> = places()
            .filter(|((owner, target), _)| **owner == Some(id) && **target != Some(id))
            .map(|(_, partition)| partition)
            .collect();
        if !too_much.is_empty() {
            seat.giving_up = too_much.iter().copied().collect();
            return Some(Assignment::Revoked(too_much));
        }
        let free: Vec<i32> = places()
            .filter(|((owner, target), _)| owner.is_none() && **target == Some(id))
            .map(|(_, partition)| partition)
            .collect();
        for partition in &free {
            self.owners[*partition as usize] = Some(id);
        }
        let is_surplus = !seat.welcomed && !self.targets.contains(&Some(id));
        if free.is_empty() && !is_surplus {
            return None;
        }
        seat.welcomed = true;
        Some(Assignment::Assigned(free))
    }

    /// Passes over members whose time is up, as long as somebody is left to take over.
    fn expire(&mut self, now_ms: i64) {
        let timeout = self.session_timeout_ms;
        let is_late = |seat: &Seat| {
            let silent = !seat.waiting && now_ms - seat.last_seen_ms >= timeout;
            let asked = seat
                .asked_since_ms
                .map(|since| since.max(seat.last_seen_ms));
            silent || asked.is_some_and(|since| now_ms - since >= timeout)
        };
        let late: Vec<MemberId> = self
            .seats
            .iter()
            .filter(|(_, seat)| !seat.expelled && is_late(seat))
            .map(|(id, _)| *id)
            .collect();
        let present = self.seats.values().filter(|seat| !seat.expelled).count();
        if late.is_empty() || late.len() == present {
            return;
        }
        for id in late {
            let taken = self.free(|owner| owner == id);
            if let Some(seat) = self.seats.get_mut(&id) {
                seat.expelled = true;
                seat.giving_up.clear();
                seat.lost.extend(taken);
            }
        }
        self.rebalance(now_ms);
    }

    fn free(&mut self, is_freed: impl Fn(MemberId) -> bool) -> Vec<i32> {
        let mut freed = Vec::new();
        for (owner, partition) in self.owners.iter_mut().zip(0..) {
            if owner.is_some_and(&is_freed) {
                *owner = None;
                freed.push(partition);
            }
        }
        freed
    }

    fn rebalance(&mut self, now_ms: i64) {
        let members: Vec<MemberId> = self
            .seats
            .iter()
            .filter(|(_, seat)| !seat.expelled)
            .map(|(id, _)| *id)
            .collect();
        // A partition on its way to somebody stays promised to them.
        let held: Vec<Option<MemberId>> = self
            .owners
            .iter()
            .zip(&self.targets)
            .map(|(owner, target)| owner.or(*target))
            .collect();
        self.targets = balance(&members, &held);
        self.settle(now_ms);
    }

    /// Starts and stops the clocks of those who have something to give up, and lets everybody look.
    fn settle(&mut self, now_ms: i64) {
        for (id, seat) in &mut self.seats {
            let mut places = self.owners.iter().zip(&self.targets);
            let has_too_much =
                places.any(|(owner, target)| *owner == Some(*id) && *target != Some(*id));
            seat.asked_since_ms = has_too_much.then(|| seat.asked_since_ms.unwrap_or(now_ms));
        }
        self.changed.notify_waiters();
    }
}

/// Who should have each partition: every member as many as any other or one more, and as much as possible what it holds.
fn balance(members: &[MemberId], held: &[Option<MemberId>]) -> Vec<Option<MemberId>> {
    if members.is_empty() {
        return vec![None; held.len()];
    }
    let count = |member: MemberId| {
        held.iter()
            .filter(|holder| **holder == Some(member))
            .count()
    };
    // Those who hold most keep the one more: that moves least.
    let mut by_load: Vec<(usize, MemberId)> = members
        .iter()
        .map(|member| (count(*member), *member))
        .collect();
    by_load.sort_by_key(|(load, member)| (usize::MAX - load, *member));
    let (share, rest) = (held.len() / members.len(), held.len() % members.len());
    let mut room: BTreeMap<MemberId, usize> = by_load
        .iter()
        .enumerate()
        .map(|(rank, (_, member))| (*member, share + usize::from(rank < rest)))
        .collect();
    let mut targets: Vec<Option<MemberId>> = held
        .iter()
        .map(|holder| {
            let room = room.get_mut(&(*holder)?)?;
            *room = room.checked_sub(1)?;
            *holder
        })
        .collect();
    let mut free = room
        .into_iter()
        .flat_map(|(member, room)| std::iter::repeat_n(member, room));
    for target in targets.iter_mut().filter(|target| target.is_none()) {
        *target = free.next();
    }
    targets
}
