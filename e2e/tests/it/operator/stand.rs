//! A Pipeline that is changed while events flow.
use std::{cell::Cell, time::Instant};

use tidewheel_e2e::measured;

use super::{
    sender::Sender,
    shop::{PATIENCE, Shop},
};

/// A Pipeline with the name `changing`, and who sends to its source.
pub(super) struct Stand {
    pub(super) shop: Shop,
    pub(super) sender: Sender,
    /// How many events were sent.
    pub(super) sent: usize,
    /// The event with a number.
    pub(super) event: Box<dyn Fn(usize) -> String>,
    /// How often pods of two plans were seen at work at the same time.
    side_by_side: Cell<usize>,
}

impl Stand {
    /// A Pipeline over this source, in a namespace.
    pub(super) fn new(
        namespace: &'static str,
        source: impl FnOnce(&Shop) -> String,
        pipeline: &str,
        event: impl Fn(usize) -> String + 'static,
    ) -> Self {
        let shop = Shop::new(namespace);
        shop.apply(&source(&shop));
        shop.apply_example("sink.yaml");
        shop.secret(shop.cluster.postgres_in_pods());
        shop.apply(pipeline);
        for what in ["eventsource/clicks", "pipeline/changing"] {
            shop.wait_for(what, "Ready");
        }
        Self {
            sender: Sender::inside(&shop),
            shop,
            sent: 0,
            event: Box::new(event),
            side_by_side: Cell::new(0),
        }
    }

    /// Sends the next events.
    pub(super) fn send(&mut self, count: usize) {
        let events: Vec<String> = (self.sent..self.sent + count).map(&self.event).collect();
        self.sender.send(&events);
        self.sent += count;
    }

    /// Applies a form of the Pipeline and sends until no worker of the last one is there.
    pub(super) fn change(&mut self, pipeline: &str) {
        let before = self.workers(".metadata.uid");
        self.shop.apply(pipeline);
        let began = Instant::now();
        loop {
            self.send(20);
            let now = self.workers(".metadata.uid");
            let old = now.iter().filter(|uid| before.contains(uid)).count();
            if old == 0 && !now.is_empty() {
                break;
            }
            let ready = self.workers(".status.containerStatuses[0].ready");
            if 0 < old && old < now.len() && ready.iter().filter(|is| *is == "true").count() > old {
                self.side_by_side.set(self.side_by_side.get() + 1);
            }
            assert!(
                began.elapsed() < PATIENCE,
                "the workers stay as they are: {}",
                self.shop.everything()
            );
        }
        self.shop.wait_for("pipeline/changing", "Ready");
        self.send(100);
    }

    /// Waits until each event that was sent is a row, once.
    pub(super) fn until_all_are_rows(&self, what: &str) {
        let count =
            "SELECT count(*), count(DISTINCT event_id) FROM all_clicks WHERE ts < '2016-01-01Z'";
        let all = format!("{0}|{0}", self.sent);
        self.shop
            .until(&format!("{what}: every event is a row, once"), || {
                self.shop.sql(count) == all
            });
    }

    /// That workers of two plans were seen at work at the same time, and how often.
    pub(super) fn expect_side_by_side(&self) {
        let (name, moments) = (self.shop.name, self.side_by_side.get());
        measured(&format!(
            "{name}: workers of both plans were seen {moments} times side by side; {} events, requests sent again: {}",
            self.sent, self.sender.again
        ));
        assert!(moments > 0, "workers of two plans were never seen together");
    }

    fn workers(&self, member: &str) -> Vec<String> {
        self.shop.of_pods("worker", member)
    }
}

/// A form of a Pipeline: as it is, with this instead of that.
pub(super) fn edited(pipeline: &str, edits: &[(&str, &str)]) -> String {
    let edit = |yaml: String, (from, to): &(&str, &str)| {
        assert!(yaml.contains(from), "{from}");
        yaml.replace(from, to)
    };
    edits.iter().fold(pipeline.to_owned(), edit)
}
