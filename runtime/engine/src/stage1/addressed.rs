//! Records that were sent again: each is for the places of one pipeline that had not taken what it repeats, and for nobody else.
//!
//! What failed at a step is for that step and all that it feeds. The steps before it pass it on: they had taken what it repeats, and to a
//! deduplication it is no duplicate of that. Everything else skips it.
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use arrow::array::UInt32Array;
use tidewheel_log::Record;
use tidewheel_planner::plan::{Plan, Relation};

use super::fates::Fate;
use super::reach::{reached, row_outputs};
use super::slice::Traced;
use crate::error::EngineError;
use crate::sabotage::{self, Bug};
use crate::wire::sent_again::{Repeated, SentAgain, Target};

/// The records of a slice that were sent again, by index.
#[derive(Debug, Default)]
pub(crate) struct Addressed(BTreeMap<u32, Address>);

/// Whom a record is for.
#[derive(Debug)]
enum Address {
    /// Another pipeline.
    Elsewhere,
    /// Nobody can say, or nobody who is there; why, for people.
    Unknown(String),
    /// Places of this pipeline.
    Here(Places),
}

/// Places of a pipeline, by index into its plan.
#[derive(Debug)]
struct Places {
    /// Steps that take it.
    steps: BTreeSet<usize>,
    /// Row outputs that take it.
    outputs: BTreeSet<usize>,
    /// Steps on its way there.
    passes: BTreeSet<usize>,
    repeats: Vec<Repeated>,
}

impl Addressed {
    /// Looks for records that were sent again. `source` is an index into the plan.
    pub(crate) fn read(plan: &Plan, source: usize, records: &[Record]) -> Self {
        let again = |(index, record): (usize, &Record)| {
            let again = SentAgain::read(&record.headers)?;
            Some((index as u32, again))
        };
        let again = records.iter().enumerate().filter_map(again);
        let address = again.map(|(index, again)| {
            let address = match again {
                Err(error) => Address::Unknown(error.to_string()),
                Ok(again) => Address::of(plan, source, again),
            };
            (index, address)
        });
        Self(address.collect())
    }

    /// Records that this pipeline does not look at.
    pub(crate) fn elsewhere(&self) -> impl Iterator<Item = u32> {
        let elsewhere = |address: &Address| matches!(address, Address::Elsewhere);
        self.which(elsewhere).into_iter()
    }

    /// Records of which nobody can say whom they are for, and why.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = (u32, &str)> {
        self.0
            .iter()
            .filter_map(|(&record, address)| match address {
                Address::Unknown(why) => Some((record, why.as_str())),
                _ => None,
            })
    }

    /// What `step` is given of one of its inputs.
    pub(crate) fn for_step<'a>(
        &self,
        step: usize,
        input: &'a Traced,
    ) -> Result<Cow<'a, Traced>, EngineError> {
        self.without_skipped(input, |places| {
            !places.steps.contains(&step) && !places.passes.contains(&step)
        })
    }

    /// What `output` is given of its relation.
    pub(crate) fn for_output<'a>(
        &self,
        output: usize,
        input: &'a Traced,
    ) -> Result<Cow<'a, Traced>, EngineError> {
        self.without_skipped(input, |places| !places.outputs.contains(&output))
    }

    /// Whether a record only passes `step`, which has taken what it repeats.
    pub(crate) fn passes(&self, record: u32, step: usize) -> bool {
        let places = self.places(record);
        places.is_some_and(|places| places.passes.contains(&step))
            && !sabotage::is(Bug::DuplicateOfItself)
    }

    /// What a record repeats.
    pub(crate) fn repeats(&self, record: u32) -> &[Repeated] {
        self.places(record)
            .map_or(&[], |places| places.repeats.as_slice())
    }

    /// The records of which `is` is so.
    pub(crate) fn repeating(&self, is: impl Fn(u32, &Repeated) -> bool) -> BTreeSet<u32> {
        let records = self.0.keys().copied();
        records
            .filter(|&record| self.repeats(record).iter().any(|of| is(record, of)))
            .collect()
    }

    fn places(&self, record: u32) -> Option<&Places> {
        match self.0.get(&record)? {
            Address::Here(places) => Some(places),
            _ => None,
        }
    }

    fn which(&self, is: impl Fn(&Address) -> bool) -> BTreeSet<u32> {
        let found = self.0.iter().filter(|(_, address)| is(address));
        found.map(|(&record, _)| record).collect()
    }

    fn without_skipped<'a>(
        &self,
        input: &'a Traced,
        skips: impl Fn(&Places) -> bool,
    ) -> Result<Cow<'a, Traced>, EngineError> {
        let skipped = self.which(|address| match address {
            Address::Here(places) => skips(places),
            _ => false,
        });
        if skipped.is_empty() || sabotage::is(Bug::SentToEverybody) {
            return Ok(Cow::Borrowed(input));
        }
        let kept = (0..).zip(&input.rows.records);
        let kept = kept.filter(|(_, record)| !skipped.contains(record));
        let kept: Vec<u32> = kept.map(|(row, _)| row).collect();
        let rows = input.rows.take(&UInt32Array::from(kept));
        let mut fates = input.fates.clone();
        for record in skipped {
            fates[record as usize] = Fate::Skipped;
        }
        Ok(Cow::Owned(Traced {
            rows: rows.map_err(|error| EngineError::aggregation("sent again", &error))?,
            fates,
        }))
    }
}

impl Address {
    fn of(plan: &Plan, source: usize, again: SentAgain) -> Self {
        if again.pipeline != plan.full_name() {
            return Self::Elsewhere;
        }
        let within = reached(plan, source);
        let mut takers: BTreeSet<usize> = within.iter().copied().collect();
        let mut outputs: BTreeSet<usize> = row_outputs(plan, source, &within).into_iter().collect();
        // Whoever is before or behind every place where it failed.
        let mut concerned = takers.clone();
        for target in &again.targets {
            let (before, behind, fed) = match target {
                Target::Step(name) => {
                    let found = within.iter().find(|&&step| plan.steps[step].name == *name);
                    let Some(&step) = found else {
                        return Self::gone(target);
                    };
                    let behind = behind(plan, &within, step);
                    let fed = outputs.iter().copied().filter(|&output| {
                        matches!(plan.outputs[output].from, Relation::Step(from) if behind.contains(&from))
                    });
                    let fed = fed.collect();
                    (before(plan, &[Relation::Step(step)]), behind, fed)
                }
                Target::Output(name) => {
                    let found = outputs
                        .iter()
                        .find(|&&output| plan.outputs[output].name == *name);
                    let Some(&output) = found else {
                        return Self::gone(target);
                    };
                    let before = before(plan, &[plan.outputs[output].from]);
                    (before, BTreeSet::new(), BTreeSet::from([output]))
                }
            };
            concerned.retain(|step| before.contains(step) || behind.contains(step));
            takers = &takers & &behind;
            outputs = &outputs & &fed;
        }
        Self::Here(Places {
            passes: &concerned - &takers,
            steps: takers,
            outputs,
            repeats: again.repeats,
        })
    }

    fn gone(target: &Target) -> Self {
        Self::Unknown(format!(
            "it was sent again for {target}, which is no longer there; send it again once a plan has that, or leave it"
        ))
    }
}

/// The steps that rows come through on their way into `relations`, those included.
fn before(plan: &Plan, relations: &[Relation]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = relations.to_vec();
    while let Some(relation) = open.pop() {
        if let Relation::Step(step) = relation
            && found.insert(step)
        {
            open.extend(plan.steps[step].kind.reads());
        }
    }
    found
}

/// `step`, and those of `within` (in order) that its rows come to.
fn behind(plan: &Plan, within: &[usize], step: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::from([step]);
    for &other in within {
        let reads = plan.steps[other].kind.reads();
        let is_fed =
            |relation: &Relation| matches!(relation, Relation::Step(from) if found.contains(from));
        if reads.iter().any(is_fed) {
            found.insert(other);
        }
    }
    found
}
