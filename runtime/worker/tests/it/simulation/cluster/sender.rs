//! What comes into the sources: events, and dead letters that are sent again.
use futures::executor::block_on;
use tidewheel_engine::wire::dead_letter::Letter;
use tidewheel_engine::wire::sent_again::Unsendable;
use tidewheel_log::{Clock as _, Log as _, NewRecord};

use super::Cluster;
use crate::fixture::{names, read_all};
use crate::simulation::event::{Again, Event, To};
use crate::simulation::scenario::SOURCES;
use crate::simulation::story::Sending;

impl Cluster {
    /// Sends an event, unless the story lacks the partition that it goes to.
    pub(super) fn send(&mut self, sending: &Sending) {
        let place @ (source, partition) = sending.place;
        if !self.partitions.contains(&place) {
            return;
        }
        let repeated_ms = sending.repeats.and_then(|number| self.sent.get(&number));
        let sent_ms = self.world.now_ms() - sending.behind_ms;
        let event = Event {
            ts_ms: repeated_ms.copied().unwrap_or(sent_ms),
            ..sending.event.clone()
        };
        let record = NewRecord {
            topic: self.plan.sources[source].topic.clone(),
            partition: Some(partition),
            key: Some(event.id.clone().into()),
            value: event.value(),
            headers: Vec::new(),
        };
        let appended = block_on(self.log.append(vec![record])).unwrap()[0];
        self.sent.insert(sending.number, event.ts_ms);
        self.events
            .insert((source, partition, appended.offset), event);
    }

    /// Sends one of the dead letters of records again, each once; or one that another pipeline could have had.
    pub(super) fn send_again(&mut self, which: usize, is_ours: bool) {
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
        let (source, letter, record) = &letters[which % letters.len()];
        let first = self.events[&(*source, letter.partition, letter.offset)].clone();
        let mut repeats_ms = first.again.as_ref().map(|again| again.repeats_ms.clone());
        repeats_ms
            .get_or_insert_default()
            .push(letter.append_time_ms);
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
