//! What everybody has used of the machine between two moments.
use std::time::{Duration, Instant};

use tidewheel_e2e::{Usage, machine_cpu};

use super::Stack;
use crate::contest::Spent;

/// How much processor time everybody has had at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    at: Instant,
    contender: Duration,
    kafka: Duration,
    postgres: Duration,
    /// This process and all that it has started.
    ours: Duration,
    machine: Duration,
}

impl Meter {
    /// Reads it now, for a contender with this process id.
    pub(crate) fn read(stack: &Stack, contender: u32) -> Self {
        let at = Instant::now();
        let cpu = |process| Usage::of_tree(process).unwrap_or_default().cpu;
        let servers = stack.used();
        Self {
            at,
            contender: cpu(contender),
            kafka: servers.kafka.cpu,
            postgres: servers.postgres.cpu,
            ours: cpu(std::process::id()),
            machine: machine_cpu().unwrap_or_default(),
        }
    }

    /// What was spent from this moment to a later one.
    pub(crate) fn until(&self, end: &Self) -> Spent {
        let took = end.at.saturating_duration_since(self.at);
        let ours = end.ours.saturating_sub(self.ours);
        let machine = end.machine.saturating_sub(self.machine);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let all = took.as_secs_f64() * cores as f64;
        Spent {
            took,
            contender: end.contender.saturating_sub(self.contender),
            kafka: end.kafka.saturating_sub(self.kafka),
            postgres: end.postgres.saturating_sub(self.postgres),
            others: machine.saturating_sub(ours).as_secs_f64() / all,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Meter;

    #[test]
    fn others_are_whoever_is_not_ours() {
        let seconds = Duration::from_secs;
        let begin = Meter {
            at: Instant::now(),
            contender: seconds(5),
            kafka: seconds(10),
            postgres: seconds(7),
            ours: seconds(30),
            machine: seconds(100),
        };
        let end = Meter {
            at: begin.at + seconds(10),
            contender: seconds(9),
            kafka: seconds(11),
            postgres: seconds(7),
            ours: seconds(36),
            machine: seconds(108),
        };
        let spent = begin.until(&end);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(
            (spent.took, spent.contender, spent.kafka, spent.postgres),
            (seconds(10), seconds(4), seconds(1), Duration::ZERO)
        );
        assert!(
            (spent.others - 0.2 / cores as f64).abs() < 1e-9,
            "{}",
            spent.others
        );
    }
}
