//! Retention takes records of sources, also some that nobody has read, which somebody acknowledges then.
use std::collections::BTreeMap;

use bytes::Bytes;
use futures::executor::block_on;
use tidewheel_engine::wire::acknowledgement::{Acknowledged, Acknowledgement, Place};
use tidewheel_log::{Clock as _, Log as _, keep_newest};
use tidewheel_worker::acknowledge;

use super::Cluster;
use crate::fixture::{names, read_all};

impl Cluster {
    /// Deletes what a partition of a source has had for longer than `kept_ms`.
    pub(super) fn retain(&mut self, place: (usize, i32), kept_ms: i64) {
        if !self.partitions.contains(&place) {
            return;
        }
        let (source, partition) = place;
        let topic = self.plan.sources[source].topic.clone();
        let oldest_ms = self.world.now_ms() - kept_ms;
        for record in block_on(read_all(&self.log, &topic, partition)) {
            if record.append_time_ms >= oldest_ms {
                break;
            }
            let below = record.offset + 1;
            block_on(self.log.delete_below(&topic, partition, below)).unwrap();
            self.trace(|_| format!("offset {} of {place:?} is gone", record.offset));
            let gone = (source, partition, record.offset);
            self.gone.insert(gone, record.append_time_ms);
        }
    }

    /// Acknowledges whatever the tasks of sources wait for.
    pub(super) fn acknowledge(&self) {
        let names = names(&self.plan);
        let pipeline = format!("{}/{}", self.plan.namespace, self.plan.name);
        for &(source, partition) in &self.partitions {
            let input = self.plan.sources[source].name.clone();
            let home = names.state(&input);
            let partitions = block_on(self.log.topic(&home)).unwrap();
            if partitions.is_none_or(|home| home.partitions <= partition) {
                continue;
            }
            let mut state: BTreeMap<Bytes, Bytes> = BTreeMap::new();
            let records = block_on(read_all(&self.log, &home, partition));
            records
                .into_iter()
                .for_each(|record| keep_newest(&mut state, record));
            let place = Place {
                pipeline: pipeline.clone(),
                input,
                partition,
            };
            let waiting = Acknowledgement::read(&state, None).unwrap();
            let Some((missing, false)) = waiting.waiting(&place) else {
                continue;
            };
            self.trace(|_| format!("{missing:?} of {place:?} is acknowledged"));
            // Whoever acknowledges takes the task over, as a worker would.
            let id = names.task(&place.input, partition);
            self.unended.take_over(&id, || false);
            let acknowledged = Acknowledged::new(&missing.hash(&place), false);
            block_on(acknowledge(
                &self.log,
                &names,
                (&place, None),
                &acknowledged,
            ))
            .unwrap();
        }
    }
}
