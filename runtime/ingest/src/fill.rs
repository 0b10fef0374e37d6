//! Ids that are made at ingest where events have none.
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use memchr::{memchr, memmem};
use rand::Rng as _;
use rand::rngs::ThreadRng;
use uuid::Builder;

use crate::check::{GeneratedValue, RefusedEvent};
use crate::object;
use crate::source::Source;

/// A column that is filled in when it is absent.
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

    /// A value for an event whose column decoded to NULL. None where a null was sent: that is not absent.
    pub(crate) fn make(&self, event: &[u8], ids: &mut Ids) -> Option<Made<'_>> {
        if self.is_in(event) {
            return None;
        }
        Some(Made {
            fill: self,
            id: ids.next(),
        })
    }

    fn is_in(&self, event: &[u8]) -> bool {
        // Without escapes a name can only be there as it is written, which is quick to rule out.
        let may_be_there = memchr(b'\\', event).is_some()
            || memmem::find(event, self.quoted_member.as_bytes()).is_some();
        may_be_there && object::has_member(event, &self.member)
    }

    pub(crate) fn refuse_null(&self, index: u32) -> RefusedEvent {
        RefusedEvent {
            index,
            field: Some(self.name.to_string()),
            code: "Null",
            reason: "is null: send a uuid, or leave the member out to have one made".to_owned(),
        }
    }
}

impl Made<'_> {
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

/// The event with what was made for it in front, or as it is.
pub(crate) fn extended(event: &Bytes, made: &[Made<'_>]) -> Bytes {
    if made.is_empty() {
        return event.clone();
    }
    let members = made
        .iter()
        .map(|made| (made.fill.quoted_member.as_str(), made.id.as_str()));
    object::with_members(event, members)
}
