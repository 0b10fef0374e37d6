//! What the log says of a run once it is over.
use std::collections::{BTreeMap, BTreeSet};

use futures::executor::block_on;
use tidewheel_engine::wire::state::{SOURCE_PROGRESS_KEY, SourceProgress};
use tidewheel_engine::wire::watermark::WatermarkRecord;
use tidewheel_log::Log;
use tidewheel_planner::generations::{Allotment, AllottedStep};

use super::cluster::Cluster;
use super::oracle::{Judged, Stored};
use crate::fixture::{names, read_all};

/// What the log says of the plans that ran, and of what they read.
pub(crate) struct History {
    pub(crate) allotments: Vec<Allotment>,
    /// By revision, the version of its plan; absent where no process ever ran it.
    pub(crate) versions: BTreeMap<i64, usize>,
    /// Source and partition of each source task. Everything below is by task.
    pub(crate) tasks: Vec<(usize, i32)>,
    /// Up to which offset (exclusive) each revision did the work, ascending.
    covered: Vec<Vec<(i64, i64)>>,
    /// What was there before the pipeline began, where that is left out.
    pub(crate) before: Vec<Vec<Stored>>,
    pub(crate) records: Vec<Vec<Stored>>,
    /// What retention took before it was read.
    pub(crate) lost: Vec<Vec<Stored>>,
    /// And before a new generation of a step had read it again: by step and number, the offsets.
    lost_again: Vec<BTreeMap<(String, i64), BTreeSet<i64>>>,
    /// The offset from which each decree holds, and the watermark.
    pub(crate) decrees: Vec<Vec<(i64, i64)>>,
}

/// What a source task has passed over.
struct Passed {
    /// Where it began.
    start_offset: i64,
    /// Offsets that were deleted before it had read them.
    lost: BTreeSet<i64>,
    /// And before a new generation of a step had, by step and number.
    lost_again: BTreeMap<(String, i64), BTreeSet<i64>>,
}

impl Passed {
    fn read(state: &[tidewheel_log::Record]) -> Self {
        let mut passed = Self {
            start_offset: 0,
            lost: BTreeSet::new(),
            lost_again: BTreeMap::new(),
        };
        let (mut read_to, mut counted) = (None, BTreeMap::new());
        for progress in state.iter().filter_map(progress_of) {
            passed.start_offset = progress.start_offset;
            let to = progress.passed_over.map_or(0, |range| range.to);
            passed
                .lost
                .extend(read_to.unwrap_or(progress.start_offset)..to);
            read_to = read_to.max(Some(progress.main.next_offset));
            for (step, of_step) in progress.steps {
                let generation = (step, of_step.generation);
                let lost = of_step.ledger.lost as i64;
                let before = counted.insert(generation.clone(), lost).unwrap_or(0);
                let again = passed.lost_again.entry(generation).or_default();
                again.extend(to - (lost - before)..to);
            }
        }
        passed
    }
}

/// The progress that a record of a source's state holds, if it does.
fn progress_of(record: &tidewheel_log::Record) -> Option<SourceProgress> {
    let is_progress = record.key.as_deref() == Some(SOURCE_PROGRESS_KEY.as_bytes());
    let value = record.value.as_ref().filter(|_| is_progress)?;
    Some(SourceProgress::decode(value).unwrap())
}

impl History {
    pub(crate) fn read(cluster: &Cluster) -> Self {
        let (log, names) = (&cluster.log, names(&cluster.plan));
        let all = |topic: &str, partition| block_on(read_all(log, topic, partition));
        let allotments: Vec<Allotment> = all(&names.generations(), 0)
            .into_iter()
            .map(|record| Allotment::decode(record.value.as_ref().unwrap()).unwrap())
            .collect();
        let begins = allotments[0].sources.clone();
        let begins_once = |allotment: &Allotment| allotment.sources == begins;
        assert!(allotments.iter().all(begins_once), "{allotments:#?}");
        for (index, source) in cluster.plan.sources.iter().enumerate() {
            let first = &begins[&source.name].first;
            let expected = if cluster.scenario.latest {
                cluster.scenario.partitions[index]
            } else {
                0
            };
            assert!(first.len() >= expected as usize, "{first:?}");
        }
        let sources = &cluster.plan.sources;
        let tasks: Vec<(usize, i32)> = sources
            .iter()
            .enumerate()
            .flat_map(|(index, source)| {
                let topic = block_on(log.topic(&source.topic)).unwrap().unwrap();
                (0..topic.partitions).map(move |partition| (index, partition))
            })
            .collect();
        let covered = |&(source, partition): &(usize, i32)| {
            let mut covered: Vec<(i64, i64)> = Vec::new();
            let state = all(&names.state(&sources[source].name), partition);
            for progress in state.iter().filter_map(progress_of) {
                match covered.last_mut() {
                    Some((revision, to)) if *revision == progress.revision => {
                        *to = progress.main.next_offset
                    }
                    _ => covered.push((progress.revision, progress.main.next_offset)),
                }
            }
            covered
        };
        let stored = |&(source, partition): &(usize, i32)| {
            let stored = |(offset, append_time_ms): (i64, i64)| Stored {
                offset,
                append_time_ms,
                event: cluster.events[&(source, partition, offset)].clone(),
            };
            // What was added later has no place in the list.
            let first = begins[&sources[source].name].first.get(partition as usize);
            let gone = cluster
                .gone
                .range((source, partition, 0)..(source, partition + 1, 0));
            let gone = gone.map(|(&(.., offset), &append_time_ms)| (offset, append_time_ms));
            let there = all(&sources[source].topic, partition).into_iter();
            let records = gone.chain(there.map(|record| (record.offset, record.append_time_ms)));
            let is_before = |record: &Stored| first.is_some_and(|&first| record.offset < first);
            records.map(stored).partition::<Vec<_>, _>(is_before)
        };
        let (before, mut records): (Vec<_>, Vec<Vec<Stored>>) = tasks.iter().map(stored).unzip();
        let passed = |&(source, partition): &(usize, i32)| {
            Passed::read(&all(&names.state(&sources[source].name), partition))
        };
        let passed: Vec<Passed> = tasks.iter().map(passed).collect();
        let lost = |(records, passed): (&mut Vec<Stored>, &Passed)| {
            records.retain(|record| record.offset >= passed.start_offset);
            let is_lost = |record: &Stored| passed.lost.contains(&record.offset);
            let (lost, there) = std::mem::take(records).into_iter().partition(is_lost);
            *records = there;
            lost
        };
        let lost = records.iter_mut().zip(&passed).map(lost).collect();
        let lost_again = passed.into_iter().map(|passed| passed.lost_again);
        let mut decrees = vec![Vec::new(); tasks.len()];
        for record in all(&names.watermarks(), 0) {
            let told = WatermarkRecord::decode(record.value.as_ref().unwrap()).unwrap();
            let is_of = |&(source, partition): &(usize, i32)| {
                (sources[source].name.as_str(), partition) == (&told.source, told.partition)
            };
            let task = tasks.iter().position(is_of).unwrap();
            decrees[task].extend(told.decree_ms.map(|ms| (told.next_offset, ms)));
        }
        Self {
            allotments,
            versions: cluster.revisions.lock().unwrap().clone(),
            covered: tasks.iter().map(covered).collect(),
            before,
            records,
            lost,
            lost_again: lost_again.collect(),
            tasks,
            decrees,
        }
    }

    /// The index of a source task.
    pub(crate) fn task(&self, of: (usize, i32)) -> usize {
        self.tasks.iter().position(|&task| task == of).unwrap()
    }

    /// The revision that did the work for a record.
    pub(crate) fn revision(&self, task: usize, offset: i64) -> i64 {
        let covering = self.covered[task].iter().find(|(_, to)| *to > offset);
        covering
            .unwrap_or_else(|| {
                panic!(
                    "nobody took record {offset} of {:?}: {:?}",
                    self.tasks[task], self.covered[task]
                )
            })
            .0
    }

    /// Whether a generation of a step never read a record again.
    pub(crate) fn is_lost_again(&self, task: usize, step: &str, number: i64, offset: i64) -> bool {
        let lost = self.lost_again[task].get(&(step.to_owned(), number));
        lost.is_some_and(|lost| lost.contains(&offset))
    }

    /// What a generation of a step reads of what was judged: nothing of partitions that were added after it.
    pub(crate) fn read_by(
        &self,
        (step, number): (&str, i64),
        verdicts: &[Vec<Judged>],
    ) -> Vec<Vec<Judged>> {
        let of_it = |allotment: &&Allotment| allotment.steps[step].number == number;
        let last = self.allotments.iter().filter(of_it);
        let last = last.map(|allotment| allotment.revision).max();
        let of_task = |(task, judged): (usize, &Vec<Judged>)| {
            let is_there = |judged: &&Judged| {
                let began = self.covered[task].first();
                began.is_some_and(|(revision, _)| Some(*revision) <= last)
                    && !self.is_lost_again(task, step, number, judged.offset)
            };
            judged.iter().filter(is_there).cloned().collect()
        };
        verdicts.iter().enumerate().map(of_task).collect()
    }

    pub(crate) fn allotment(&self, revision: i64) -> &Allotment {
        self.allotments
            .iter()
            .find(|allotment| allotment.revision == revision)
            .unwrap()
    }

    pub(crate) fn is_single(&self) -> bool {
        self.allotments.len() == 1
    }

    /// The generations of an aggregate step, each with the version that it is of; none where nobody ever ran it.
    pub(crate) fn generations(&self, step: &str) -> Vec<(&AllottedStep, Option<usize>)> {
        let mut generations: Vec<(&AllottedStep, Option<usize>)> = Vec::new();
        for allotment in &self.allotments {
            let allotted = &allotment.steps[step];
            let version = self.versions.get(&allotment.revision).copied();
            match generations.last_mut() {
                Some((last, of)) if last.number == allotted.number => *of = of.or(version),
                _ => generations.push((allotted, version)),
            }
        }
        generations
    }
}
