//! What a change of a pipeline meets besides: waits that change with it, windows of another kind, retention, partitions that are added.
use super::{OUT_OF_ORDER_MS, Scenario, Shape, Version};
use crate::simulation::world::World;

const WAITS_MS: [i64; 4] = [1_000, 2_000, OUT_OF_ORDER_MS, 8_000];

impl Scenario {
    /// The same where more changes with its versions, and more happens meanwhile.
    pub(crate) fn with_more_changed(mut self, world: &World) -> Self {
        if self.versions.len() == 1 {
            return self;
        }
        if world.chance(0.4) {
            let later = self.versions.iter_mut().skip(1);
            later.for_each(|version| version.out_of_order_ms = *world.pick(&WAITS_MS));
        }
        if world.chance(0.3) && self.chain.is_none() {
            self.mix_kinds(world);
        }
        let are_sessions = |version: &Version| version.windows.is_session;
        let may_grow = self.chain.is_none() && !self.versions.iter().any(are_sessions);
        // What was final before a partition is added takes nothing of it.
        self.grows = may_grow && world.chance(0.3);
        let is_alike = |version: &Version| version.out_of_order_ms == OUT_OF_ORDER_MS;
        let may_forget = self.chain.is_none() && self.versions.iter().all(is_alike);
        if may_forget && world.chance(0.5) {
            self.forgets = true;
            // What it knew it does not know again where retention has taken it: how far a worker has come decides then.
            self.deduplicates = false;
        }
        self
    }

    /// Whether the grouped windows are sessions in all versions, or in none.
    pub(crate) fn has_one_kind(&self) -> bool {
        let mut kinds = self
            .versions
            .iter()
            .map(|version| version.windows.is_session);
        let first = kinds.next();
        kinds.all(|kind| Some(kind) == first)
    }

    /// Has windows of some versions be of another kind.
    fn mix_kinds(&mut self, world: &World) {
        for version in &mut self.versions {
            let windows = version.windows;
            if world.chance(0.5) {
                version.windows = match windows.is_session {
                    true => Shape::draw(world, &[5_000, 10_000]),
                    false => windows.in_sessions(windows.size_ms.min(5_000)),
                };
            }
        }
    }
}
