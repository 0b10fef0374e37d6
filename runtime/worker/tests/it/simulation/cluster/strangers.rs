//! Members of consumer groups that do no work: their coming and going is what makes groups share out partitions anew.
use futures::FutureExt as _;
use futures::executor::block_on;
use tidewheel_log::{Clock as _, Log as _, Member};
use tidewheel_planner::plan::StepKind;

use super::Cluster;
use crate::fixture::names;

/// A member that does no work.
pub(super) struct Stranger {
    member: Box<dyn Member>,
    until_ms: i64,
}

impl Cluster {
    /// Has somebody join the group of an input for some time, where its topic is there.
    pub(super) fn let_stranger_join(&mut self, which: usize, for_ms: i64) {
        let names = names(&self.plan);
        let sources = self.plan.sources.iter();
        let mut groups: Vec<(String, String)> = sources
            .map(|source| (names.source_group(&source.name), source.topic.clone()))
            .collect();
        let steps = self.plan.steps.iter();
        for step in steps.filter(|step| matches!(step.kind, StepKind::Aggregate(_))) {
            let generation = self.version as i64 + 1;
            groups.push((
                names.partials_group(&step.name, generation),
                names.partials(&step.name, generation),
            ));
        }
        let (group, topic) = &groups[which % groups.len()];
        if let Ok(member) = block_on(self.log.join(group, topic)) {
            self.trace(|_| format!("a stranger joins {group}"));
            let until_ms = self.world.now_ms() + for_ms;
            self.strangers.push(Stranger { member, until_ms });
        }
    }

    /// Strangers show that they are there, or leave.
    pub(super) fn look_after_strangers(&mut self) {
        let now_ms = self.world.now_ms();
        self.strangers.retain(|stranger| stranger.until_ms > now_ms);
        for stranger in &mut self.strangers {
            let _ = stranger.member.next().now_or_never();
        }
    }
}
