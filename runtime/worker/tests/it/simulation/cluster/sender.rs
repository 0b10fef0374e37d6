//! What comes into the sources: events, and dead letters that are sent again.
use std::collections::BTreeMap;
use std::sync::Arc;

use futures::executor::block_on;
use tidewheel_engine::wire::dead_letter::Letter;
use tidewheel_engine::wire::sent_again::Unsendable;
use tidewheel_log::{Clock as _, Log as _, NewRecord};

use super::Cluster;
use crate::fixture::{names, read_all};
use crate::simulation::scenario::{Again, Event, SOURCES, To};

impl Cluster {
    /// Sends some events, and lets some time pass before.
    pub(super) fn send(&mut self) {
        let world = Arc::clone(&self.world);
        world.advance(world.between(0, 4_000));
        let mut held_back_ms = BTreeMap::new();
        for (&task, is_asleep) in &mut self.partitions {
            if *is_asleep && world.chance(0.2) {
                // What comes first may have been on its way for long.
                held_back_ms.insert(task, world.between(0, 25_000));
                *is_asleep = false;
            } else if world.chance(0.15) {
                *is_asleep = true;
            }
        }
        let awake: Vec<(usize, i32)> = self
            .partitions
            .iter()
            .filter(|(_, is_asleep)| !**is_asleep)
            .map(|(task, _)| *task)
            .collect();
        if awake.is_empty() {
            return;
        }
        for _ in 0..world.between(1, 14) {
            let (source, partition) = *world.pick(&awake);
            let recent: Vec<Event> = self
                .events
                .range((source, partition, 0)..(source, partition + 1, 0))
                .rev()
                .take(30)
                .map(|(_, event)| event.clone())
                .collect();
            let event = Event::draw(
                &world,
                (source, partition),
                self.events.len(),
                world.now_ms() - held_back_ms.get(&(source, partition)).unwrap_or(&0),
                &recent,
            );
            let record = NewRecord {
                topic: self.plan.sources[source].topic.clone(),
                partition: Some(partition),
                key: Some(event.id.clone().into()),
                value: event.value(),
                headers: Vec::new(),
            };
            let appended = block_on(self.log.append(vec![record])).unwrap()[0];
            self.events
                .insert((source, partition, appended.offset), event);
            if world.chance(0.3) {
                world.advance(world.between(0, 500));
            }
        }
    }

    /// Sends one of the dead letters of records again, each once. Now and then one that another pipeline could have had.
    pub(super) fn send_again(&mut self) {
        let world = Arc::clone(&self.world);
        let topic = names(&self.plan).dead_letters();
        let letters = block_on(read_all(&self.log, &topic, 0)).into_iter();
        let letters = letters.filter(|record| !self.sent_again.contains(&record.offset));
        let letters = letters.filter_map(|record| {
            let letter = Letter::read(&record).unwrap();
            let source = SOURCES.iter().position(|name| *name == letter.input)?;
            Some((source, letter, record))
        });
        let letters: Vec<_> = letters.collect();
        if letters.is_empty() {
            return;
        }
        let (source, letter, record) = world.pick(&letters);
        let first = self.events[&(*source, letter.partition, letter.offset)].clone();
        let mut repeats_ms = first.again.as_ref().map(|again| again.repeats_ms.clone());
        repeats_ms
            .get_or_insert_default()
            .push(letter.append_time_ms);
        let is_ours = world.chance(0.85);
        let to = match letter.step.as_deref() {
            _ if !is_ours => To::Nobody,
            None | Some("parsed") => first.to(),
            Some("rows") => To::One("rows"),
            Some("win") => To::One("win"),
            Some("tot") => To::One("tot"),
            Some(other) => panic!("nothing fails at {other}"),
        };
        let pipeline = if is_ours { "shop/kpis" } else { "shop/others" };
        let again = match letter.send_again(pipeline, record) {
            Ok(again) => again,
            Err(Unsendable::PartlyTaken(_)) if self.scenario.doubles || self.scenario.unnests => {
                self.sent_again.insert(record.offset);
                return;
            }
            Err(cannot) => panic!("{cannot}"),
        };
        if is_ours {
            self.sent_again.insert(record.offset);
        }
        self.trace(|_| format!("letter {} is sent again, to {to:?}", record.offset));
        let appended = block_on(self.log.append(vec![again])).unwrap()[0];
        let event = Event {
            again: Some(Again {
                to,
                repeats_ms: repeats_ms.unwrap_or_default(),
            }),
            ..first
        };
        let place = (*source, appended.partition, appended.offset);
        self.events.insert(place, event);
    }
}
