//! Events by their number. No I/O.
use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use tidewheel_crds::EventSourceSpec;

use crate::declaration::Declaration;
use crate::error::GeneratorError;
use crate::event::Object;
use crate::value::Values;

/// Makes the events of an EventSource, one after the other.
#[derive(Debug, Clone)]
pub struct Generator {
    event: Object,
    /// Never drawn from: each event draws from a stream of its own.
    seeded: ChaCha8Rng,
    /// What decides the events.
    declaration: Bytes,
    /// From which event on `count` counts.
    first: u64,
    position: u64,
    count: Option<u64>,
    events_per_second: u32,
    size_bytes: usize,
}

impl Generator {
    /// The events that `spec.generator` declares, from the first one on.
    ///
    /// # Errors
    /// [`GeneratorError`] for specs that break the rules of an EventSource.
    pub fn new(spec: &EventSourceSpec) -> Result<Self, GeneratorError> {
        let declared = spec.generator.as_ref().ok_or(GeneratorError::NoGenerator)?;
        let unknown = declared
            .fields
            .iter()
            .find(|given| !spec.schema.fields.iter().any(|f| f.name == given.field));
        if let Some(given) = unknown {
            return Err(GeneratorError::Field {
                field: given.field.clone(),
                reason: "is not a column of schema.fields".to_owned(),
            });
        }
        let mut event = Object::default();
        let mut declaration = Declaration::new(declared.seed);
        for column in &spec.schema.fields {
            let wrong = |reason| GeneratorError::Field {
                field: column.name.clone(),
                reason,
            };
            let given = declared.fields.iter().find(|f| f.field == column.name);
            let values = match given {
                Some(given) => Values::new(given, column.type_).map_err(wrong)?,
                None if column.generate.is_some() => Values::uuids(),
                None if column.required => {
                    return Err(wrong("is required: say how it is made".to_owned()));
                }
                None => continue,
            };
            declaration.add(column, given);
            let path: Vec<_> = column.path().split('.').collect();
            event.insert(&path, values);
        }
        Ok(Self {
            event,
            seeded: ChaCha8Rng::seed_from_u64(declared.seed),
            declaration: declaration.into_bytes(),
            first: 0,
            position: 0,
            count: declared.count,
            events_per_second: declared.events_per_second,
            size_bytes: 256,
        })
    }

    /// The next event as JSON, made for the time `now_ms` (since the epoch): its times are that, less their delays. None when all were made.
    pub fn next(&mut self, now_ms: i64) -> Option<Bytes> {
        if self.is_finished() {
            return None;
        }
        let mut random = self.seeded.clone();
        random.set_stream(self.position);
        let mut event = Vec::with_capacity(self.size_bytes);
        self.event.write(&mut event, &mut random, now_ms);
        self.size_bytes = self.size_bytes.max(event.len());
        self.position += 1;
        Some(Bytes::from(event))
    }

    /// What decides the events: the seed, and each column's path, type and values. Equal ones make equal events; the rate and
    /// the count have no part in it.
    pub fn declaration(&self) -> &Bytes {
        &self.declaration
    }

    /// The event from which on the declared count counts.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Counts from the event `first` on, of which those before `next` were made.
    pub fn resume(&mut self, first: u64, next: u64) {
        self.first = first;
        self.seek(next);
    }

    /// Goes to an event (from 0): it is the next one.
    pub fn seek(&mut self, event: u64) {
        self.position = event;
    }

    /// Leaves events out.
    pub fn skip(&mut self, events: u64) {
        self.position = self.position.saturating_add(events);
    }

    /// The number of the next event, from 0.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether as many were made as are declared.
    pub fn is_finished(&self) -> bool {
        let made = self.position.saturating_sub(self.first);
        self.count.is_some_and(|count| made >= count)
    }

    /// The declared rate.
    pub fn events_per_second(&self) -> u32 {
        self.events_per_second
    }
}
