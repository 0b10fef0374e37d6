//! The database goes back in time.
use futures::executor::block_on;
use tidewheel_planner::plan::{Output, StepKind};
use tidewheel_sinks::{OutputId, Sink, TaskId};

use super::Cluster;

/// The database as it once was.
pub(super) struct Saved {
    known: Vec<bool>,
    bytes: Vec<u8>,
}

impl Cluster {
    /// Saves the database while no process is there.
    pub(super) fn save_database(&mut self) {
        let known = self.close_database();
        self.save(known);
    }

    /// Puts the database back to where it was saved, while no process is there. Where it would have lost an output's progress altogether, which
    /// is for a person to judge, it is saved instead.
    pub(super) fn set_database_back(&mut self) {
        let known = self.close_database();
        match self.saved.take() {
            Some(saved) if saved.known == known => {
                self.trace(|_| "the database is as it was".to_owned());
                std::fs::write(self.database.path(), saved.bytes).unwrap();
            }
            _ => self.save(known),
        }
    }

    fn save(&mut self, known: Vec<bool>) {
        self.trace(|_| "the database is saved".to_owned());
        self.saved = Some(Saved {
            known,
            bytes: std::fs::read(self.database.path()).unwrap(),
        });
    }

    /// Nobody has it open any more. For what it has progress.
    fn close_database(&mut self) -> Vec<bool> {
        (0..self.processes.len())
            .rev()
            .for_each(|index| self.crash(index, false));
        let known = self.known_progress();
        block_on(self.database.close()).unwrap();
        known
    }

    /// For which outputs and partitions the database has progress.
    fn known_progress(&self) -> Vec<bool> {
        let plan = &self.plan;
        let mut known = Vec::new();
        for output in &plan.outputs {
            let Some(table) = output.table() else {
                continue;
            };
            let id = OutputId {
                pipeline: format!("{}/{}", plan.namespace, plan.name),
                output: output.name.clone(),
            };
            for task in self.writers_of(output) {
                let mut writer = block_on(self.database.writer(&id, table, &task)).unwrap();
                known.push(block_on(writer.last_commit()).unwrap().is_some());
            }
        }
        known
    }

    /// The tasks that write an output.
    fn writers_of(&self, output: &Output) -> Vec<TaskId> {
        let task = |input: &str, partition| TaskId {
            input: input.to_owned(),
            partition,
        };
        let step = match output.name.as_str() {
            "rows" => {
                let sources = self.scenario.sources();
                let of_source =
                    |&(source, partition): &(usize, i32)| task(sources[source], partition);
                return self.partitions.iter().map(of_source).collect();
            }
            "tots" => "tot",
            "pers" => "per",
            "spans" => "span",
            _ => "win",
        };
        let planned = self.plan.steps.iter().find(|planned| planned.name == step);
        let Some(StepKind::Aggregate(aggregate)) = planned.map(|planned| &planned.kind) else {
            panic!("{step} is no aggregate step")
        };
        (0..aggregate.partitions as i32)
            .map(|partition| task(step, partition))
            .collect()
    }
}
