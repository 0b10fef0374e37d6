//! What has to come out: a plain computation over the source's topic, record by record, which shares no code with the engine.
use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::ledger::Ledger;
use super::topic::Found;

const OUT_OF_ORDER_MS: i64 = 10_000;
const FUTURE_MS: i64 = 3_600_000;
const WITHIN_MS: i64 = 10_000;

/// A place in the source's topic: partition and offset.
pub(crate) type Place = (i32, i64);

/// A row of the rows' table and topic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) ts_ms: i64,
    pub(crate) kind: Option<String>,
    pub(crate) value: Option<i64>,
    pub(crate) share: Option<i64>,
    pub(crate) note: Option<String>,
}

impl Row {
    /// PostgreSQL's texts have no NUL.
    pub(crate) fn is_refused(&self) -> bool {
        self.note.as_ref().is_some_and(|note| note.contains('\0'))
    }
}

/// A dead letter: place, reason, and the step or output, where it is not the event itself.
pub(crate) type Letter = (Place, String, String);

/// The start of a window, and a kind.
pub(crate) type Kind = (i64, Option<String>);

/// The start of a window, and a rest.
pub(crate) type Rest = (i64, Option<i64>);

/// A row of `per_kind` without its window and kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OfKind {
    pub(crate) n: i64,
    pub(crate) total: Option<i64>,
    pub(crate) low: Option<i64>,
    pub(crate) high: Option<i64>,
    pub(crate) first: String,
    pub(crate) last: String,
}

/// A row of `per_rest` without its window and rest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OfRest {
    pub(crate) n: i64,
    pub(crate) total: Option<i64>,
}

/// The watermarks that were decreed: by partition, the offset from which each holds.
pub(crate) type Decrees = BTreeMap<i32, Vec<(i64, i64)>>;

/// The answer.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) rows: BTreeMap<Place, Row>,
    pub(crate) per_kind: BTreeMap<Kind, OfKind>,
    pub(crate) per_rest: BTreeMap<Rest, OfRest>,
    pub(crate) letters: Vec<Letter>,
    /// By output of rows, aggregate step (`step per_kind`), and output of windows.
    pub(crate) ledgers: BTreeMap<String, Ledger>,
}

/// Answers for all records of the source's topic, each partition in its order.
pub(crate) fn ask(records: &[Found], decrees: &Decrees) -> Answer {
    let mut answer = Answer::default();
    let mut groups = Groups::default();
    let mut partitions: BTreeMap<i32, Partition> = BTreeMap::new();
    for record in records {
        let partition = partitions.entry(record.partition).or_default();
        let decreed_ms = decrees
            .get(&record.partition)
            .into_iter()
            .flatten()
            .filter(|(from, _)| *from <= record.offset)
            .map(|(_, ms)| *ms)
            .max();
        let watermark_ms = partition.by_events_ms.max(decreed_ms);
        let fate = partition.judge(record);
        answer.enter(record, fate, watermark_ms, &mut groups);
    }
    answer.fold(groups);
    answer
}

/// What becomes of a record on its way to the rows.
enum Fate {
    Dead(&'static str, &'static str),
    Filtered,
    Duplicate,
    Row(Row),
}

/// What is known of a partition up to a record.
#[derive(Default)]
struct Partition {
    by_events_ms: Option<i64>,
    /// When each id was appended last.
    seen: HashMap<String, i64>,
}

impl Partition {
    fn judge(&mut self, record: &Found) -> Fate {
        let event = match decode(record.value.as_deref()) {
            Ok(event) => event,
            Err(reason) => return Fate::Dead(reason, ""),
        };
        let Event { id, ts_ms, .. } = &event;
        if *ts_ms > record.appended_at_ms + FUTURE_MS {
            return Fate::Dead("Future", "");
        }
        self.by_events_ms = self.by_events_ms.max(Some(ts_ms - OUT_OF_ORDER_MS));
        if event.kind.as_deref() == Some("noise") {
            return Fate::Filtered;
        }
        if event.value.is_some() && event.per == Some(0) {
            return Fate::Dead("Evaluation", "parsed");
        }
        let before = self.seen.insert(id.clone(), record.appended_at_ms);
        if before.is_some_and(|before| record.appended_at_ms - before <= WITHIN_MS) {
            return Fate::Duplicate;
        }
        let share = event.value.zip(event.per).map(|(value, per)| value / per);
        Fate::Row(Row {
            id: event.id,
            ts_ms: event.ts_ms,
            kind: event.kind,
            value: event.value,
            share,
            note: match event.note.as_deref() {
                Some("refuse") => Some("\0".to_owned()),
                _ => event.note,
            },
        })
    }
}

/// An event that fits the schema.
struct Event {
    id: String,
    ts_ms: i64,
    kind: Option<String>,
    value: Option<i64>,
    per: Option<i64>,
    note: Option<String>,
}

fn decode(value: Option<&[u8]>) -> Result<Event, &'static str> {
    let bytes = value.ok_or("Empty")?;
    let json: Value = serde_json::from_slice(bytes).map_err(|_| "Malformed")?;
    let object = json.as_object().ok_or("NotAnObject")?;
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or("WrongType"),
    };
    if object.get("id").is_some_and(Value::is_null) {
        return Err("Null");
    }
    let (value, per) = (number("value")?, number("per")?);
    Ok(Event {
        id: text("id").ok_or("Missing")?,
        ts_ms: millis(object.get("ts").ok_or("Missing")?),
        kind: text("kind"),
        value,
        per,
        note: text("note"),
    })
}

/// A time as whole milliseconds or as text.
pub(crate) fn millis(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| {
        let time = chrono::DateTime::parse_from_rfc3339(value.as_str().unwrap());
        time.unwrap().timestamp_millis()
    })
}

/// The windows of an aggregate step.
struct Shape {
    step: &'static str,
    size_ms: i64,
    allowed_ms: i64,
}

const PER_KIND: Shape = Shape {
    step: "per_kind",
    size_ms: 60_000,
    allowed_ms: 60_000,
};
const PER_REST: Shape = Shape {
    step: "per_rest",
    size_ms: 30_000,
    allowed_ms: 20_000,
};

impl Shape {
    /// The start of the window that takes a row; none where that takes no more.
    fn window(&self, ts_ms: i64, watermark_ms: Option<i64>) -> Option<i64> {
        let start_ms = ts_ms.div_euclid(self.size_ms) * self.size_ms;
        let closes_ms = start_ms + self.size_ms + self.allowed_ms;
        watermark_ms
            .is_none_or(|ms| ms < closes_ms)
            .then_some(start_ms)
    }
}

/// The rows of each group of each window.
#[derive(Default)]
struct Groups {
    per_kind: BTreeMap<Kind, Vec<(Place, Row)>>,
    per_rest: BTreeMap<Rest, Vec<Row>>,
}

impl Answer {
    fn enter(
        &mut self,
        record: &Found,
        fate: Fate,
        watermark_ms: Option<i64>,
        groups: &mut Groups,
    ) {
        let place = (record.partition, record.offset);
        match fate {
            Fate::Dead(reason, step) => {
                self.letters
                    .push((place, reason.to_owned(), step.to_owned()));
                self.count_everywhere(&format!("dead_lettered.{reason}"));
            }
            Fate::Filtered => self.count_everywhere("filtered.parsed"),
            Fate::Duplicate => self.count_everywhere("duplicate"),
            Fate::Row(row) => {
                self.count("sent", "written");
                if row.is_refused() {
                    self.bury("readings_once", place, "Refused", "readings_once");
                } else {
                    self.count("readings_once", "written");
                }
                let window = PER_KIND.window(row.ts_ms, watermark_ms);
                if let Some(start_ms) = self.let_in(&PER_KIND, place, window) {
                    let group = groups.per_kind.entry((start_ms, row.kind.clone()));
                    group.or_default().push((place, row.clone()));
                }
                let window = PER_REST.window(row.ts_ms, watermark_ms);
                if let Some(start_ms) = self.let_in(&PER_REST, place, window) {
                    let rest = row.value.map(|value| value % 7);
                    let group = groups.per_rest.entry((start_ms, rest));
                    group.or_default().push(row.clone());
                }
                self.rows.insert(place, row);
            }
        }
        for ledger in ["readings_once", "sent", "step per_kind", "step per_rest"] {
            self.count(ledger, "read");
        }
    }

    fn let_in(&mut self, shape: &Shape, place: Place, window: Option<i64>) -> Option<i64> {
        let ledger = format!("step {}", shape.step);
        match window {
            Some(_) => self.count(&ledger, "written"),
            None => self.bury(&ledger, place, "Late", shape.step),
        }
        window
    }

    fn bury(&mut self, ledger: &str, place: Place, reason: &str, step: &str) {
        self.letters
            .push((place, reason.to_owned(), step.to_owned()));
        self.count(ledger, &format!("dead_lettered.{reason}"));
    }

    fn count_everywhere(&mut self, fate: &str) {
        for ledger in ["readings_once", "sent", "step per_kind", "step per_rest"] {
            self.count(ledger, fate);
        }
    }

    fn count(&mut self, ledger: &str, fate: &str) {
        self.ledgers
            .entry(ledger.to_owned())
            .or_default()
            .add(fate, 1);
    }

    /// Groups become rows, and contributions are counted.
    fn fold(&mut self, groups: Groups) {
        for (key, members) in groups.per_kind {
            self.contribute("per_kind", members.len());
            let rows = || members.iter().map(|(_, row)| row);
            let by_time = |(place, row): &&(Place, Row)| (row.ts_ms, *place);
            let row = OfKind {
                n: members.len() as i64,
                total: total(rows()),
                low: rows().filter_map(|row| row.share).min(),
                high: rows().filter_map(|row| row.share).max(),
                first: members.iter().min_by_key(by_time).unwrap().1.id.clone(),
                last: members.iter().max_by_key(by_time).unwrap().1.id.clone(),
            };
            self.per_kind.insert(key, row);
        }
        for (key, members) in groups.per_rest {
            self.contribute("per_rest", members.len());
            let row = OfRest {
                n: members.len() as i64,
                total: total(members.iter()),
            };
            self.per_rest.insert(key, row);
        }
    }

    fn contribute(&mut self, output: &str, contributions: usize) {
        let ledger = self.ledgers.entry(output.to_owned()).or_default();
        ledger.add("read", contributions as u64);
        ledger.add("written", contributions as u64);
    }
}

fn total<'a>(rows: impl Iterator<Item = &'a Row>) -> Option<i64> {
    rows.filter_map(|row| row.value).reduce(|a, b| a + b)
}
