//! What becomes of each letter that is to be sent again, and how that is told.
use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use tidewheel_engine::wire::dead_letter::Reason;
use tidewheel_engine::wire::sent_again::Target;

use super::letters::Found;
use super::shown::audience;
use crate::place::PipelineName;
use crate::printed;
use crate::view::text::timestamp;

/// So many offsets are named of letters that share an outcome.
const NAMED: usize = 5;

/// What becomes of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is to be sent.
    Due,
    /// It was sent.
    Sent,
    /// It was sent at this time before, ms since the epoch.
    SentBefore(i64),
    /// Why it cannot be sent.
    Cannot(String),
}

/// A letter that was chosen.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) offset: i64,
    pub(super) outcome: Outcome,
    targets: Vec<Target>,
    is_late: bool,
    /// The topic and partition that it came from.
    origin: Option<(String, i32)>,
}

impl Chosen {
    /// Judges a letter by what it says; `allowed` are existing topics that may be appended to.
    pub(super) fn judge(found: &Found, pipeline: &PipelineName, allowed: &[String]) -> Self {
        let letter = &found.letter;
        let targets = letter.targets();
        let outcome = match (found.sent_ms, &targets, &letter.topic) {
            (Some(ms), ..) => Outcome::SentBefore(ms),
            (None, Err(cannot), _) => Outcome::Cannot(cannot.to_string()),
            (None, Ok(_), None) => Outcome::Cannot("it does not say where it came from".to_owned()),
            (None, Ok(_), Some(topic)) => {
                let is_own = *topic == pipeline.own_topic(&letter.input);
                if is_own || allowed.contains(topic) {
                    Outcome::Due
                } else {
                    Outcome::Cannot(format!(
                        "it came from the existing topic {topic}, whose other readers would see it twice: --append-to {topic} sends it all the same"
                    ))
                }
            }
        };
        let topic = letter.topic.clone();
        Self {
            offset: found.offset,
            outcome,
            targets: targets.unwrap_or_default(),
            is_late: letter.reason == Reason::Late.as_str(),
            origin: topic.map(|topic| (topic, letter.partition)),
        }
    }

    /// The topic that it is to be sent to.
    pub(super) fn due_topic(&self) -> Option<&str> {
        let (topic, _) = self.origin.as_ref()?;
        (self.outcome == Outcome::Due).then_some(topic)
    }

    /// Judges a letter that is due by the `partitions` of the topics that there are.
    pub(super) fn find_place(&mut self, partitions: &BTreeMap<String, i32>) {
        let (Outcome::Due, Some((topic, partition))) = (&self.outcome, &self.origin) else {
            return;
        };
        match partitions.get(topic) {
            Some(count) if partition < count => {}
            Some(_) => {
                let gone = format!("topic {topic} no longer has partition {partition}");
                self.outcome = Outcome::Cannot(gone);
            }
            None => {
                self.outcome = Outcome::Cannot(format!("there is no longer a topic {topic}"));
            }
        }
    }

    fn shown(&self) -> ShownOutcome<'_> {
        let (outcome, why) = match &self.outcome {
            Outcome::Due => ("due", None),
            Outcome::Sent => ("sent", None),
            Outcome::SentBefore(ms) => ("sentBefore", Some(timestamp(*ms))),
            Outcome::Cannot(why) => ("cannotBeSent", Some(why.clone())),
        };
        let is_sent = matches!(self.outcome, Outcome::Due | Outcome::Sent);
        ShownOutcome {
            offset: self.offset,
            outcome,
            to: is_sent.then_some(self.targets.as_slice()),
            at: why.clone().filter(|_| outcome == "sentBefore"),
            why: why.filter(|_| outcome == "cannotBeSent"),
        }
    }

    /// What is told of it, together with others of which the same is so.
    fn told(&self) -> String {
        match &self.outcome {
            Outcome::Due => format!("would be sent again to {}", audience(&self.targets)),
            Outcome::Sent => format!("sent again to {}", audience(&self.targets)),
            Outcome::SentBefore(_) => "sent again before, and not once more".to_owned(),
            Outcome::Cannot(why) => format!("cannot be sent: {why}"),
        }
    }
}

/// An outcome as JSON has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownOutcome<'a> {
    offset: i64,
    outcome: &'static str,
    /// Whom it is for; empty: all of the pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a [Target]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Writes what became of the letters, one by one, for programs.
pub(super) fn write_json(out: &mut impl Write, chosen: &[Chosen]) -> io::Result<()> {
    let shown: Vec<ShownOutcome<'_>> = chosen.iter().map(Chosen::shown).collect();
    printed::write_json(out, &shown)
}

/// Writes what became of the letters, for people.
pub(super) fn write_table(out: &mut impl Write, chosen: &[Chosen]) -> io::Result<()> {
    if chosen.is_empty() {
        return writeln!(out, "no dead letters");
    }
    let mut groups: Vec<(String, Vec<i64>)> = Vec::new();
    for one in chosen {
        let told = one.told();
        match groups.iter_mut().find(|(group, _)| *group == told) {
            Some((_, offsets)) => offsets.push(one.offset),
            None => groups.push((told, vec![one.offset])),
        }
    }
    for (told, offsets) in groups {
        let named: Vec<String> = offsets.iter().take(NAMED).map(i64::to_string).collect();
        let more = if offsets.len() > NAMED { ", ..." } else { "" };
        let named = named.join(", ");
        writeln!(out, "{} {told}  (offset {named}{more})", offsets.len())?;
    }
    let is_sent = |one: &&Chosen| matches!(one.outcome, Outcome::Due | Outcome::Sent);
    let late = chosen
        .iter()
        .filter(is_sent)
        .filter(|one| one.is_late)
        .count();
    if late > 0 {
        writeln!(
            out,
            "note: {late} of them came after their windows had closed, and are late once more unless `late.allowed` has grown"
        )?;
    }
    Ok(())
}
