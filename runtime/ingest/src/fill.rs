//! Ids that are made at ingest where events have none.
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use memchr::{memchr, memmem};
use rand::Rng as _;
use rand::rngs::ThreadRng;
use uuid::Builder;

use crate::check::GeneratedValue;
use crate::object;
use crate::source::Source;

/// A column that is filled in when it is absent or null.
#[derive(Debug)]
pub(crate) struct Fill {
    pub(crate) column: usize,
    name: Arc<str>,
    member: String,
    /// The member's name as JSON.
    quoted_member: String,
}

/// A value that was made.
#[derive(Debug)]
pub(crate) struct Made<'a> {
    fill: &'a Fill,
    pub(crate) id: String,
}

/// Makes ids for one batch: UUIDs of version 7, so that databases find new ones side by side.
pub(crate) struct Ids {
    now_ms: u64,
    random: ThreadRng,
}

impl Ids {
    pub(crate) fn new() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            now_ms: u64::try_from(since_epoch.as_millis()).unwrap_or_default(),
            random: rand::rng(),
        }
    }

    fn next(&mut self) -> String {
        Builder::from_unix_timestamp_millis(self.now_ms, &self.random.random())
            .into_uuid()
            .to_string()
    }
}

impl Fill {
    /// The columns of `source` that are to be filled in.
    pub(crate) fn all(source: &Source) -> Vec<Self> {
        let fills = source.generated.iter().filter_map(|&column| {
            let field = source.schema.fields.get(column)?;
            let member = field.path.first()?.clone();
            Some(Self {
                column,
                name: Arc::from(field.name.as_str()),
                quoted_member: serde_json::Value::from(member.as_str()).to_string(),
                member,
            })
        });
        fills.collect()
    }

    /// A value for an event whose column decoded to NULL.
    pub(crate) fn make(&self, ids: &mut Ids) -> Made<'_> {
        Made {
            fill: self,
            id: ids.next(),
        }
    }
}

impl Made<'_> {
    fn in_place_of_null(&self, event: &[u8]) -> Option<Bytes> {
        // Without escapes a name can only be there as it is written, which is quick to rule out.
        let may_be_there = memchr(b'\\', event).is_some()
            || memmem::find(event, self.fill.quoted_member.as_bytes()).is_some();
        may_be_there
            .then(|| object::with_null_replaced(event, &self.fill.member, &self.id))
            .flatten()
    }

    pub(crate) fn column(&self) -> usize {
        self.fill.column
    }

    pub(crate) fn into_value(self, index: u32) -> GeneratedValue {
        GeneratedValue {
            index,
            field: self.fill.name.clone(),
            value: self.id,
        }
    }
}

/// The event with what was made for it: in the place of its nulls, and in front.
pub(crate) fn extended(event: &Bytes, made: &[Made<'_>]) -> Bytes {
    if made.is_empty() {
        return event.clone();
    }
    let mut event = event.clone();
    let mut absent = Vec::with_capacity(made.len());
    for made in made {
        match made.in_place_of_null(&event) {
            Some(replaced) => event = replaced,
            None => absent.push((made.fill.quoted_member.as_str(), made.id.as_str())),
        }
    }
    if absent.is_empty() {
        return event;
    }
    object::with_members(&event, absent.into_iter())
}
