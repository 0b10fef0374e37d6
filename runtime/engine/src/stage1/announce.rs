//! What a source task tells others: partials with the watermark that they were made under, and its news on the watermarks topic.
use tidewheel_log::NewRecord;

use super::SourceTask;
use crate::chain::emission_count;
use crate::effects::Effects;
use crate::error::EngineError;
use crate::partials::{Audience, Placed, address};
use crate::sabotage::{self, Bug};
use crate::wire::partial::{self, PartialHeader};
use crate::wire::watermark::WatermarkRecord;

/// How often, in ms of the driver's clock, an active partition tells the others its watermark.
const TELL_EVERY_MS: i64 = 1_000;

impl SourceTask {
    /// What goes to the log before anything is read: where the task begins, which is decided once, and to each partition of the partials
    /// of a step that it has not fed before that it is there to be waited for; and that what was acknowledged is done. Nothing where the task
    /// goes on.
    pub fn begin_to_speak(&mut self) -> Result<Vec<NewRecord>, EngineError> {
        let mut log = Vec::new();
        for partials in self.partials.iter().filter(|partials| partials.is_new) {
            let header = PartialHeader {
                source: self.source().name.clone(),
                partition: self.setup.partition,
                from: partials.from,
                to: partials.from,
                watermark_ms: None,
                windows_from_ms: None,
            };
            let topic = self
                .names
                .partials(&self.step_name(partials.step), partials.generation.number);
            for target in 0..partials.told.len() {
                log.push(NewRecord {
                    topic: topic.clone(),
                    partition: Some(target as i32),
                    key: None,
                    value: Some(partial::encode(&header, None)?),
                    headers: Vec::new(),
                });
            }
        }
        if self.is_new || self.has_news || !log.is_empty() {
            log.push(self.progress_record());
        }
        let state = self.names.state(&self.source().name);
        log.extend(self.acknowledgement.settle(&state, self.setup.partition));
        self.is_new = false;
        self.has_news = false;
        self.partials
            .iter_mut()
            .for_each(|partials| partials.is_new = false);
        Ok(log)
    }

    /// The partition was fetched at its end at `clock_ms`: when it is idle by now, what that leads to.
    pub fn at_end(&mut self, clock_ms: i64) -> Result<Option<Effects>, EngineError> {
        if self.next_boundary().is_some() || !self.idleness.at_end(clock_ms) {
            return Ok(None);
        }
        let newly_idle = !self.idle;
        self.idle = true;
        let target_ms = self.idleness.target(&self.watermark_record(), clock_ms);
        let lifts = target_ms.filter(|&target_ms| self.emits_more(target_ms));
        match lifts {
            Some(target_ms) => self.decree(target_ms).map(Some),
            None if newly_idle => {
                let record = self.watermark_record();
                let log = vec![self.tell(record.clone())];
                self.note_told(record);
                Ok(Some(self.effects(log)))
            }
            None => Ok(None),
        }
    }

    /// Lifts the watermark to at least `watermark_ms`, from here on and in every replay.
    pub fn decree(&mut self, watermark_ms: i64) -> Result<Effects, EngineError> {
        self.watermark.current_ms = self.watermark.current_ms.max(Some(watermark_ms));
        let record = WatermarkRecord {
            decree_ms: self.watermark.current_ms,
            ..self.watermark_record()
        };
        let written = match sabotage::is(Bug::UnwrittenDecrees) {
            true => self.watermark_record(),
            false => record.clone(),
        };
        let mut log = vec![self.tell(written)];
        self.speaking.speak_up();
        self.note_told(record);
        for index in 0..self.partials.len() {
            // Whoever waits for this very watermark hears of it, even where it emits nothing.
            self.partials[index].told.fill(None);
            self.announce(index, Vec::new(), self.at, &mut log)?;
        }
        self.pass();
        Ok(self.effects(log))
    }

    /// Sends partials, and the watermark to every partition of the partials topic that waits for it.
    pub(super) fn announce(
        &mut self,
        index: usize,
        mut placed: Vec<Placed>,
        from: i64,
        log: &mut Vec<NewRecord>,
    ) -> Result<(), EngineError> {
        let step = self.partials[index].step;
        let watermark_ms = self.watermark.current_ms;
        let emissions = watermark_ms.map(|ms| emission_count(&self.setup.plan, step, ms));
        let header = PartialHeader {
            source: self.source().name.clone(),
            partition: self.setup.partition,
            from,
            to: self.at,
            watermark_ms,
            windows_from_ms: None,
        };
        let topic = self.names.partials(
            &self.setup.plan.steps[step].name,
            self.partials[index].generation.number,
        );
        let told = &mut self.partials[index].told;
        if sabotage::is(Bug::PlacedBySource) {
            let (by, of) = (self.setup.partition.unsigned_abs(), told.len() as u32);
            for placed in &mut placed {
                placed.target = (placed.target + by) % of;
            }
        }
        let audience = Audience {
            told,
            emissions,
            is_brief: self.speaking.is_brief(),
        };
        log.extend(address(&topic, &header, placed, audience)?);
        Ok(())
    }

    fn emits_more(&self, watermark_ms: i64) -> bool {
        self.partials.iter().any(|partials| {
            let count = |ms| emission_count(&self.setup.plan, partials.step, ms);
            self.watermark
                .current_ms
                .is_none_or(|current_ms| count(watermark_ms) > count(current_ms))
        })
    }

    fn watermark_record(&self) -> WatermarkRecord {
        WatermarkRecord {
            event_watermark_ms: self.watermark.by_events_ms,
            last_append_ms: self.last_append_ms(),
            idle: self.idle,
            ..WatermarkRecord::active(&self.source().name, self.setup.partition, self.at)
        }
    }

    fn tell(&self, record: WatermarkRecord) -> NewRecord {
        NewRecord {
            topic: self.names.watermarks(),
            partition: Some(0),
            key: Some(record.key()),
            value: Some(record.encode()),
            headers: Vec::new(),
        }
    }

    pub(super) fn tell_if_due(&mut self, clock_ms: i64, log: &mut Vec<NewRecord>) {
        if self.main_from > self.at || self.partials.is_empty() {
            return;
        }
        let record = self.watermark_record();
        let due = self.told.as_ref().is_none_or(|(told_at_ms, told)| {
            let news =
                told.event_watermark_ms != record.event_watermark_ms || told.idle != record.idle;
            news && (told.idle || clock_ms.saturating_sub(*told_at_ms) >= TELL_EVERY_MS)
        });
        if due {
            log.push(self.tell(record.clone()));
            self.told = Some((clock_ms, record));
        }
    }

    /// What the others know since: the next news differ from this.
    fn note_told(&mut self, record: WatermarkRecord) {
        let told_at_ms = self
            .told
            .as_ref()
            .map_or(i64::MIN, |(told_at_ms, _)| *told_at_ms);
        self.told = Some((told_at_ms, record));
    }
}
