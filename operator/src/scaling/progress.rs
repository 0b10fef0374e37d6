//! How much comes in, how much waits, and how much a worker gets done, from what workers show again and again. Pure.
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::exposition::{Shown, Task, TaskKey};

/// How far back rates are measured.
const WINDOW: Duration = Duration::from_secs(30);
/// How long a worker must have had enough to do before its rate says what it can.
const SHORTEST_WORK: Duration = Duration::from_secs(9);
/// A worker has enough to do while more waits than it gets done in this time: less is what is always under way.
const ENOUGH: Duration = Duration::from_secs(2);
/// How long it is known what a worker can. The world may have changed since.
const MEMORY: Duration = Duration::from_secs(30 * 60);

/// The partitions of each input; none of an input whose topic is somebody else's, so that only workers know.
pub(crate) type Inputs = BTreeMap<String, Option<u32>>;

/// An input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Flow {
    pub(crate) input: String,
    pub(crate) partitions: u32,
    /// Records that wait.
    pub(crate) lag: u64,
    /// Records that come in a second.
    pub(crate) incoming: f64,
    /// Records that one worker gets done in a second while it has enough to do; none where none had.
    pub(crate) per_replica: Option<f64>,
}

/// Why it is not known how things flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// No worker says how far this partition was read, or where it ends.
    Partition(TaskKey),
    /// No worker has shown any task.
    Nothing,
    /// It was looked at once only.
    Early,
}

/// What workers have shown in the last half minute, and what is remembered for longer.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    looks: VecDeque<Look>,
    work: BTreeMap<(String, String), Work>,
    /// What a worker can, by input, and when that was measured.
    per_replica: BTreeMap<String, (f64, Instant)>,
    /// The most partitions that were seen of each input.
    seen: BTreeMap<String, u32>,
}

/// Where each partition ended.
#[derive(Debug)]
struct Look {
    at: Instant,
    ends: BTreeMap<TaskKey, u64>,
}

/// What a worker does of an input while it has the same tasks all the time.
#[derive(Debug, Default)]
struct Work {
    /// Where its tasks were at the last look, by partition.
    offsets: BTreeMap<u32, u64>,
    /// When, the sum of next offsets, and the sum of lags.
    marks: VecDeque<(Instant, u64, u64)>,
}

impl Progress {
    /// What workers show at a time, by their names.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        inputs: Option<&Inputs>,
        workers: &BTreeMap<String, Shown>,
    ) -> Result<Vec<Flow>, Unknown> {
        self.measure(now, workers);
        let tasks = newest(workers);
        for (input, partition) in tasks.keys() {
            let seen = self.seen.entry(input.clone()).or_default();
            *seen = (*seen).max(partition + 1);
        }
        let partitions = self.partitions(inputs);
        let known = whole(&partitions, &tasks)?;
        let ends: BTreeMap<TaskKey, u64> = known
            .iter()
            .map(|(key, (next, lag))| (key.clone(), next + lag))
            .collect();
        let incoming = self.incoming(now, ends).ok_or(Unknown::Early)?;
        let flow = |(input, partitions): (&String, &u32)| Flow {
            input: input.clone(),
            partitions: *partitions,
            lag: known
                .iter()
                .filter(|((of, _), _)| of == input)
                .map(|(_, (_, lag))| lag)
                .sum(),
            incoming: incoming.get(input).copied().unwrap_or_default(),
            per_replica: self.per_replica.get(input).map(|(rate, _)| *rate),
        };
        Ok(partitions.iter().map(flow).collect())
    }

    /// What was measured before this process began, if nothing is known yet.
    pub(crate) fn remember(&mut self, input: &str, per_replica: f64, now: Instant) {
        self.per_replica
            .entry(input.to_owned())
            .or_insert((per_replica, now));
    }

    /// Nothing runs for now: what a worker can is as it was, and where things are is not.
    pub(crate) fn pause(&mut self) {
        self.looks.clear();
        self.work.clear();
    }

    /// Another plan runs, of which nothing is known.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// How many partitions each input has, as far as that is known.
    pub(crate) fn partitions(&self, inputs: Option<&Inputs>) -> BTreeMap<String, u32> {
        let Some(inputs) = inputs else {
            return self.seen.clone();
        };
        let known = inputs.iter().map(|(input, planned)| {
            let seen = self.seen.get(input).copied().unwrap_or_default();
            (input.clone(), planned.unwrap_or_default().max(seen))
        });
        known.collect()
    }

    /// Records that come in a second, by input; none before it was looked at twice.
    fn incoming(
        &mut self,
        now: Instant,
        ends: BTreeMap<TaskKey, u64>,
    ) -> Option<BTreeMap<String, f64>> {
        // A partition that ends before where it ended is another one.
        let is_reset = self.looks.back().is_some_and(|look| {
            let mut both = look.ends.iter();
            both.any(|(key, before)| ends.get(key).is_some_and(|end| end < before))
        });
        if is_reset {
            self.looks.clear();
        }
        while self
            .looks
            .front()
            .is_some_and(|look| now - look.at > WINDOW)
        {
            self.looks.pop_front();
        }
        let mut incoming = BTreeMap::new();
        let first = self.looks.front();
        if let Some(first) = first {
            let seconds = (now - first.at).as_secs_f64().max(f64::EPSILON);
            for (key, end) in &ends {
                let before = first.ends.get(key).unwrap_or(end);
                *incoming.entry(key.0.clone()).or_default() +=
                    end.saturating_sub(*before) as f64 / seconds;
            }
        }
        let found = first.map(|_| incoming);
        self.looks.push_back(Look { at: now, ends });
        found
    }

    /// Measures what workers can that have enough to do.
    fn measure(&mut self, now: Instant, workers: &BTreeMap<String, Shown>) {
        let mut doing: BTreeMap<(String, String), Vec<(u32, &Task)>> = BTreeMap::new();
        for (worker, shown) in workers {
            for ((input, partition), task) in &shown.tasks {
                let key = (worker.clone(), input.clone());
                doing.entry(key).or_default().push((*partition, task));
            }
        }
        self.work.retain(|key, _| doing.contains_key(key));
        let mut rates: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (key, tasks) in doing {
            let Some((next, lag)) = sums(&tasks) else {
                self.work.remove(&key);
                continue;
            };
            let input = key.1.clone();
            let work = self.work.entry(key).or_default();
            work.see(&tasks);
            if let Some(rate) = work.mark(now, next, lag) {
                rates.entry(input).or_default().push(rate);
            }
        }
        for (input, rates) in rates {
            let mean = rates.iter().sum::<f64>() / rates.len() as f64;
            self.per_replica.insert(input, (mean, now));
        }
        self.per_replica.retain(|_, (_, at)| now - *at < MEMORY);
    }
}

impl Work {
    /// What it did with other tasks says nothing. A task that stands still while something waits for it is being taken over, or reads what its deduplications have to know: what the
    /// worker gets done meanwhile is not what it can.
    fn see(&mut self, tasks: &[(u32, &Task)]) {
        let offset = |&(partition, task): &(u32, &Task)| Some((partition, task.next_offset?));
        let offsets: BTreeMap<u32, u64> = tasks.iter().filter_map(offset).collect();
        let stands_still = tasks.iter().any(|(partition, task)| {
            task.lag > Some(0) && self.offsets.get(partition) == offsets.get(partition)
        });
        if stands_still || !self.offsets.keys().eq(offsets.keys()) {
            self.marks.clear();
        }
        self.offsets = offsets;
    }

    /// How many records it got done in a second, where it had enough to do all the time.
    fn mark(&mut self, now: Instant, next: u64, lag: u64) -> Option<f64> {
        // It began again from an earlier state, or has nothing to do.
        if lag == 0
            || self
                .marks
                .back()
                .is_some_and(|(_, before, _)| next < *before)
        {
            self.marks.clear();
        }
        self.marks.push_back((now, next, lag));
        while self
            .marks
            .front()
            .is_some_and(|(at, _, _)| now - *at > WINDOW)
        {
            self.marks.pop_front();
        }
        let (at, first, _) = self.marks.front()?;
        let work = now - *at;
        let rate = (next - first) as f64 / work.as_secs_f64();
        let had_enough = |(_, _, lag): &(Instant, u64, u64)| {
            *lag as f64 >= (rate * ENOUGH.as_secs_f64()).max(1.0)
        };
        let is_measured = work >= SHORTEST_WORK && rate > 0.0;
        (is_measured && self.marks.iter().all(had_enough)).then_some(rate)
    }
}

/// The sums of next offsets and of lags of tasks that all go on.
fn sums(tasks: &[(u32, &Task)]) -> Option<(u64, u64)> {
    let mut sums = (0, 0);
    for (_, task) in tasks.iter().filter(|(_, task)| !task.is_blocked) {
        sums.0 += task.next_offset?;
        sums.1 += task.lag?;
    }
    let goes_on = tasks.iter().all(|(_, task)| !task.is_blocked);
    goes_on.then_some(sums)
}

/// The tasks of all workers. Where two show one, the one that is further counts: the other is no longer its owner.
fn newest(workers: &BTreeMap<String, Shown>) -> BTreeMap<TaskKey, &Task> {
    let mut newest: BTreeMap<TaskKey, &Task> = BTreeMap::new();
    for (key, task) in workers.values().flat_map(|shown| &shown.tasks) {
        let before = newest.get(key);
        if before.is_none_or(|before| before.next_offset <= task.next_offset) {
            newest.insert(key.clone(), task);
        }
    }
    newest
}

/// The next offset and the lag of every partition.
fn whole(
    partitions: &BTreeMap<String, u32>,
    tasks: &BTreeMap<TaskKey, &Task>,
) -> Result<BTreeMap<TaskKey, (u64, u64)>, Unknown> {
    let mut known = BTreeMap::new();
    for (input, &count) in partitions {
        for partition in 0..count.max(1) {
            let key = (input.clone(), partition);
            let task = tasks.get(&key);
            let both = task.and_then(|task| Some((task.next_offset?, task.lag?)));
            let Some(both) = both else {
                return Err(Unknown::Partition(key));
            };
            known.insert(key, both);
        }
    }
    if known.is_empty() {
        return Err(Unknown::Nothing);
    }
    Ok(known)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// A worker with tasks of the input `a`: partition, next offset, lag.
    fn worker(tasks: &[(u32, u64, u64)]) -> Shown {
        let task = |(partition, next, lag): &(u32, u64, u64)| {
            let task = Task {
                next_offset: Some(*next),
                lag: Some(*lag),
                ..Task::default()
            };
            (("a".to_owned(), *partition), task)
        };
        Shown {
            tasks: tasks.iter().map(task).collect(),
            ..Shown::default()
        }
    }

    fn workers(shown: &[Shown]) -> BTreeMap<String, Shown> {
        let named = shown.iter().enumerate();
        named
            .map(|(index, shown)| (index.to_string(), shown.clone()))
            .collect()
    }

    fn inputs(partitions: Option<u32>) -> Inputs {
        [("a".to_owned(), partitions)].into()
    }

    /// Looks every five seconds at what `show` says.
    fn looks(
        count: u64,
        inputs: &Inputs,
        show: impl Fn(u64) -> Vec<Shown>,
    ) -> Vec<Result<Vec<Flow>, Unknown>> {
        let (began, mut progress) = (Instant::now(), Progress::default());
        let look = |index| {
            let now = began + Duration::from_secs(5 * index);
            progress.look(now, Some(inputs), &workers(&show(index)))
        };
        (0..count).map(look).collect()
    }

    #[test]
    fn what_comes_in_is_how_far_the_ends_move() {
        let found = looks(4, &inputs(Some(2)), |index| {
            vec![
                worker(&[(0, 100 * index, 0)]),
                worker(&[(1, 10, 40 * index)]),
            ]
        });
        assert_eq!(found[0], Err(Unknown::Early));
        let flow = &found[3].as_ref().unwrap()[0];
        assert_eq!((flow.lag, flow.incoming, flow.partitions), (120, 28.0, 2));
    }

    #[test]
    fn a_partition_that_nobody_shows_makes_all_unknown() {
        let one = |_| vec![worker(&[(0, 10, 0)])];
        let missing = Unknown::Partition(("a".to_owned(), 1));
        assert_eq!(looks(2, &inputs(Some(2)), one)[1], Err(missing.clone()));
        // Of a topic of somebody else's as many partitions are known as were seen.
        let growing = |index| match index {
            1 => vec![worker(&[(0, 10, 0), (1, 10, 0)])],
            _ => vec![worker(&[(0, 10, 0)])],
        };
        let found = looks(3, &inputs(None), growing);
        assert!(found[1].is_ok(), "{found:?}");
        assert_eq!(found[2], Err(missing));
        let nobody = |_| Vec::new();
        assert!(looks(1, &inputs(None), nobody)[0].is_err());
    }

    #[test]
    fn a_worker_can_what_it_did_while_it_had_enough_to_do() {
        // 50 records in a second, of 500 and then less and less.
        let found = looks(5, &inputs(Some(1)), |index| {
            vec![worker(&[(0, 250 * index, 5_000 - 250 * index)])]
        });
        let per_replica = |index: usize| found[index].as_ref().unwrap()[0].per_replica;
        assert_eq!(per_replica(1), None);
        assert_eq!(per_replica(4), Some(50.0));
    }

    #[test]
    fn what_a_worker_does_while_it_takes_a_task_over_says_nothing() {
        // One task gets 10 records done in a second, the other begins after 40 s and gets 50 done.
        let found = looks(12, &inputs(Some(2)), |index| {
            let taken_over = 250 * index.saturating_sub(8);
            vec![worker(&[(0, 50 * index, 5_000), (1, taken_over, 5_000)])]
        });
        let per_replica = |index: usize| found[index].as_ref().unwrap()[0].per_replica;
        assert_eq!(per_replica(8), None);
        assert_eq!(per_replica(11), Some(60.0));
    }

    #[test]
    fn what_a_worker_does_that_keeps_up_or_is_blocked_says_nothing() {
        let keeps_up = |index| vec![worker(&[(0, 250 * index, 40)])];
        let blocked = |index| {
            let mut worker = worker(&[(0, 250 * index, 5_000)]);
            let tasks = worker.tasks.values_mut();
            tasks.for_each(|task| task.is_blocked = true);
            vec![worker]
        };
        for found in [
            looks(9, &inputs(Some(1)), keeps_up),
            looks(9, &inputs(Some(1)), blocked),
        ] {
            assert_eq!(found[8].as_ref().unwrap()[0].per_replica, None);
        }
    }

    #[test]
    fn what_a_worker_can_is_remembered_while_it_has_little_to_do_and_not_for_ever() {
        let busy_then_idle = |index: u64| {
            let done = 250 * index.min(4);
            vec![worker(&[(0, done, if index < 4 { 5_000 } else { 0 })])]
        };
        let found = looks(400, &inputs(Some(1)), busy_then_idle);
        let per_replica = |index: usize| found[index].as_ref().unwrap()[0].per_replica;
        assert_eq!(per_replica(300), Some(50.0));
        assert_eq!(per_replica(399), None);
    }

    #[test]
    fn of_two_that_show_a_task_the_one_that_is_further_counts() {
        let found = looks(2, &inputs(Some(1)), |_| {
            vec![worker(&[(0, 100, 0)]), worker(&[(0, 60, 40)])]
        });
        assert_eq!(found[1].as_ref().unwrap()[0].lag, 0);
    }

    #[test]
    fn a_topic_that_was_made_again_begins_again() {
        let found = looks(4, &inputs(Some(1)), |index| match index {
            0 | 1 => vec![worker(&[(0, 1_000_000, 0)])],
            _ => vec![worker(&[(0, 5 * index, 0)])],
        });
        assert_eq!(found[2], Err(Unknown::Early));
        assert_eq!(found[3].as_ref().unwrap()[0].incoming, 1.0);
    }
}
