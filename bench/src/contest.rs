//! Contenders that do the same work, and the table that they make.
use std::time::Duration;

use crate::figures::{Column, Comparison, Row, median, mib};

/// One way of doing the work, and what each round has shown of it.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) rounds: Vec<Round>,
}

/// What a round took of one contender.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// Events that were measured.
    pub(crate) events: f64,
    pub(crate) spent: Spent,
    /// The most memory that the contender has had so far.
    pub(crate) peak_bytes: u64,
    /// How long each answer took, where there are answers; in order.
    pub(crate) answers: Vec<Duration>,
    /// What is wrong with the result, where it was looked at.
    pub(crate) verdict: Option<Verdict>,
}

/// How a result differs from what it must be, events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Rows that are missing.
    pub(crate) rows_lost: u64,
    /// Rows that are there once more than they should be, each time counted.
    pub(crate) rows_doubled: u64,
    /// Events that windows lack.
    pub(crate) counts_lost: u64,
    /// Events that windows have too many of.
    pub(crate) counts_doubled: u64,
}

/// Time, and processor time, between two moments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spent {
    pub(crate) took: Duration,
    pub(crate) contender: Duration,
    pub(crate) kafka: Duration,
    pub(crate) postgres: Duration,
    /// The share of the machine's processor time that programs had which are no part of the measurement, 0 to 1.
    pub(crate) others: f64,
}

impl Contender {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rounds: Vec::new(),
        }
    }

    fn row(&self) -> Row {
        Row {
            name: self.name.clone(),
            values: Vec::new(),
        }
    }

    /// Over the rounds whose result was looked at; none where none was.
    fn total(&self, value: fn(&Verdict) -> u64) -> Option<f64> {
        let verdicts = self.rounds.iter().filter_map(|round| round.verdict);
        let values: Vec<u64> = verdicts.map(|verdict| value(&verdict)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<u64>() as f64)
    }

    /// The median over the rounds that have a value.
    fn median(&self, value: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.rounds.iter().filter_map(value).collect();
        (!values.is_empty()).then(|| median(values))
    }
}

impl Round {
    /// Events per second.
    fn rate(&self) -> f64 {
        self.events / self.spent.took.as_secs_f64()
    }

    /// CPU seconds per million events.
    fn cost(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() / (self.events / 1e6)
    }

    /// How long `share` of the answers took at most, ms.
    fn answered_ms(&self, share: f64) -> Option<f64> {
        let last = self.answers.len().checked_sub(1)?;
        let took = self.answers.get((last as f64 * share).round() as usize)?;
        Some(took.as_secs_f64() * 1e3)
    }
}

impl Verdict {
    fn lost(&self) -> u64 {
        self.rows_lost + self.counts_lost
    }

    fn doubled(&self) -> u64 {
        self.rows_doubled + self.counts_doubled
    }
}

/// The table of contenders: medians over the rounds. The first one is compared with each of the others, round by round.
pub(crate) fn comparison(name: &str, contenders: &[Contender]) -> Comparison {
    let first = contenders.first();
    let compared = first.map_or_else(String::new, |first| format!("{} is faster by", first.name));
    let mut columns = Vec::new();
    let mut rows: Vec<Row> = contenders.iter().map(Contender::row).collect();
    let mut add = |name: &str, unit: &str, value: &dyn Fn(&Contender) -> Option<f64>| {
        let values: Vec<Option<f64>> = contenders.iter().map(value).collect();
        // What nobody has is no column.
        if values.iter().any(Option::is_some) {
            columns.push(Column::new(name, unit));
            for (row, value) in rows.iter_mut().zip(values) {
                row.values.push(value);
            }
        }
    };
    add("rate", "events/s", &|one| {
        one.median(|round| Some(round.rate()))
    });
    add(&compared, "times", &|one| {
        let both = first?.rounds.iter().zip(&one.rounds);
        let ratios: Vec<f64> = both.map(|(first, own)| first.rate() / own.rate()).collect();
        (!ratios.is_empty()).then(|| median(ratios))
    });
    for (name, cpu) in CPU {
        add(name, "s per million", &|one| {
            let used = |round: &Round| !cpu(&round.spent).is_zero();
            one.median(|round| used(round).then(|| round.cost(cpu(&round.spent))))
        });
    }
    add("peak of memory", "MiB", &|one| {
        one.median(|round| Some(mib(round.peak_bytes)))
    });
    add("answer p50", "ms", &|one| {
        one.median(|round| round.answered_ms(0.5))
    });
    add("answer p99", "ms", &|one| {
        one.median(|round| round.answered_ms(0.99))
    });
    add("lost", "of all rounds", &|one| one.total(Verdict::lost));
    add("doubled", "of all rounds", &|one| {
        one.total(Verdict::doubled)
    });
    add("other programs", "% of the machine", &|one| {
        one.median(|round| Some(round.spent.others * 100.0))
    });
    Comparison {
        name: name.to_owned(),
        columns,
        rows,
    }
}

/// Somebody's part of the processor time.
type CpuOf = fn(&Spent) -> Duration;

/// Whose processor time has a column.
const CPU: [(&str, CpuOf); 3] = [
    ("own CPU", |spent| spent.contender),
    ("Kafka's CPU", |spent| spent.kafka),
    ("PostgreSQL's CPU", |spent| spent.postgres),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Contender, Round, Spent, Verdict, comparison};
    use crate::figures::Comparison;

    fn contender(name: &str, seconds: &[u64]) -> Contender {
        let round = |&seconds| Round {
            events: 2e6,
            spent: Spent {
                took: Duration::from_secs(seconds),
                contender: Duration::from_secs(6),
                kafka: Duration::from_secs(1),
                postgres: Duration::ZERO,
                others: 0.25,
            },
            peak_bytes: 3 << 20,
            answers: (0..=100).map(Duration::from_millis).collect(),
            verdict: None,
        };
        Contender {
            name: name.to_owned(),
            rounds: seconds.iter().map(round).collect(),
        }
    }

    fn row(comparison: &Comparison, index: usize) -> Vec<(&str, Option<f64>)> {
        let names = comparison.columns.iter().map(|column| column.name.as_str());
        names
            .zip(comparison.rows[index].values.iter().copied())
            .collect()
    }

    #[test]
    fn ratios_are_taken_round_by_round_and_then_their_median() {
        let both = [
            contender("ours", &[1, 2, 4]),
            contender("theirs", &[2, 8, 4]),
        ];
        let made = comparison("windows", &both);
        let same = [
            ("own CPU", Some(3.0)),
            ("Kafka's CPU", Some(0.5)),
            ("peak of memory", Some(3.0)),
            ("answer p50", Some(50.0)),
            ("answer p99", Some(99.0)),
            ("other programs", Some(25.0)),
        ];
        let ours = [("rate", Some(1e6)), ("ours is faster by", Some(1.0))];
        assert_eq!(row(&made, 0), [&ours[..], &same].concat());
        let theirs = [("rate", Some(5e5)), ("ours is faster by", Some(2.0))];
        assert_eq!(row(&made, 1), [&theirs[..], &same].concat());
    }

    #[test]
    fn what_only_one_has_is_a_column_with_a_gap() {
        let (mut ours, mut theirs) = (contender("ours", &[1, 1]), contender("theirs", &[2, 2]));
        for round in ours.rounds.iter_mut().chain(&mut theirs.rounds) {
            round.answers.clear();
        }
        ours.rounds[0].spent.postgres = Duration::from_secs(2);
        theirs.rounds[0].verdict = Some(Verdict {
            rows_lost: 1,
            counts_lost: 2,
            ..Verdict::default()
        });
        theirs.rounds[1].verdict = theirs.rounds[0].verdict;
        let made = comparison("windows", &[ours, theirs]);
        let columns = ["PostgreSQL's CPU", "answer p50", "lost", "doubled"];
        let values = |index| {
            let all = row(&made, index);
            columns.map(|name| {
                all.iter()
                    .find(|(column, _)| *column == name)
                    .map(|(_, value)| *value)
            })
        };
        assert_eq!(values(0), [Some(Some(1.0)), None, Some(None), Some(None)]);
        assert_eq!(
            values(1),
            [Some(None), None, Some(Some(6.0)), Some(Some(0.0))]
        );
    }
}
