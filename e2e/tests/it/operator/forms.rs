//! A Pipeline that takes one form after the other while time goes on: each of its windows is as one form has it, and the forms follow each
//! other as they were applied.
use std::{
    collections::{BTreeMap, BTreeSet},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    shop::{PATIENCE, Shop},
    stand::Stand,
};

/// Rows by the start of their windows, as text.
type Windows = BTreeMap<String, Vec<String>>;

/// What is known of when a form took the place of the one before.
struct Applied {
    /// Windows that begin up to then stay as they are.
    stays: String,
    /// A moment that was still to come in the events' time when no worker of the old form was left.
    over: String,
    /// The step was taken out before: the window that was open then, which began by now, has no row.
    taken_out: Option<String>,
}

/// A Pipeline, and the forms that it has taken.
pub(super) struct Forms {
    pub(super) stand: Stand,
    applied: Vec<Applied>,
    /// When the last one was in place, in the events' time.
    over: String,
}

impl Forms {
    /// A Pipeline in its first form, in a namespace. Each event is ten seconds after the one before.
    pub(super) fn new(
        namespace: &'static str,
        pipeline: &str,
        of_method: fn(usize) -> &'static str,
    ) -> Self {
        let source = |shop: &Shop| {
            // A pause of those who send must not make what follows late.
            let delay = "maxOutOfOrder: 1m";
            let source = shop.example("source.yaml");
            assert!(source.contains(delay), "{source}");
            source.replace(delay, "maxOutOfOrder: 1m, idleAfter: 1h")
        };
        let stand = Stand::new(namespace, source, pipeline, move |number| {
            event(number, of_method(number))
        });
        let over = time_of(&stand);
        Self {
            stand,
            applied: Vec::new(),
            over,
        }
    }

    /// Sends until there are rows of windows that begin four hours after the last form was in place, of all three groups, and says up to which
    /// start windows have to stay as they are. That is four hours before the newest: where their length changes, the new ones begin where
    /// windows of both lengths do, and a task that has no group may not have closed yet what the others have.
    pub(super) fn grow(&mut self, table: &str) -> String {
        self.grow_after(table, &self.over.clone())
    }

    fn grow_after(&mut self, table: &str, after: &str) -> String {
        let query = format!(
            "SELECT min(newest) - interval '4 hours' FROM (SELECT max(window_start) AS newest FROM {table} GROUP BY method) AS of_methods HAVING count(*) = 3"
        );
        let began = Instant::now();
        loop {
            self.stand.send(100);
            let stays = self.stand.shop.sql(&query);
            if stays.trim() > after {
                return stays.trim().to_owned();
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{table} does not grow beyond {after}: {}",
                self.stand.shop.everything()
            );
        }
    }

    /// Gives the Pipeline its next form. `stays` is what [`Self::grow`] has said.
    pub(super) fn next(&mut self, pipeline: &str, stays: String) {
        self.put(pipeline, stays, None);
    }

    /// The same, after a form without these windows while those of `table` grow.
    pub(super) fn next_after(&mut self, without: &str, table: &str, pipeline: &str, stays: String) {
        self.stand.change(without);
        let since = time_of(&self.stand);
        self.grow_after(table, &since);
        self.put(pipeline, stays, Some(since));
    }

    fn put(&mut self, pipeline: &str, stays: String, taken_out: Option<String>) {
        self.stand.change(pipeline);
        self.over = time_of(&self.stand);
        self.applied.push(Applied {
            stays,
            over: self.over.clone(),
            taken_out,
        });
    }

    /// Closes all windows, and waits until each event is a row.
    pub(super) fn end(&self) {
        self.stand.shop.close_windows();
        self.stand.until_all_are_rows("in the end");
    }

    /// Waits until the rows of a table are those of its windows, form by form: as what they are, and SQL over the rows.
    pub(super) fn expect(&self, table: &str, columns: &str, forms: &[(&str, String)]) {
        let shop = &self.stand.shop;
        let by_form = forms
            .iter()
            .map(|(what, query)| (*what, windows(shop, query)));
        let by_form: Vec<(&str, Windows)> = by_form.collect();
        let query = format!(
            "SELECT window_start, window_end, method, {columns} FROM {table} WHERE window_start < '2015-12-31Z'"
        );
        let began = Instant::now();
        while let Err(why) = in_turn(&windows(shop, &query), &by_form, &self.applied) {
            assert!(began.elapsed() < PATIENCE, "{table} {why}");
            sleep(Duration::from_secs(1));
        }
    }
}

fn event(number: usize, method: &str) -> String {
    let (day, seconds) = (17 + number / 8_640, number % 8_640 * 10);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let code = [200, 404, 301, 500, 200][number % 5];
    format!(
        r#"{{"event_id": "00000000-0000-4000-8000-{number:012}", "timestamp": "2015-05-{day}T{hour:02}:{minute:02}:{second:02}Z", "source": "forms", "attributes": {{"method": "{method}", "code": {code}}}}}"#
    )
}

/// The time of the event that is sent next, as the database writes it.
fn time_of(stand: &Stand) -> String {
    let seconds = stand.sent * 10;
    let sql = format!("SELECT timestamptz '2015-05-17Z' + interval '{seconds} seconds'");
    stand.shop.sql(&sql).trim().to_owned()
}

fn windows(shop: &Shop, query: &str) -> Windows {
    let found = shop.sql(&format!(
        "SELECT * FROM ({query}) AS windows ORDER BY window_start, window_end, method"
    ));
    let mut windows = Windows::new();
    for row in found.lines() {
        let (start, _) = row.split_once('|').unwrap();
        windows
            .entry(start.to_owned())
            .or_default()
            .push(row.to_owned());
    }
    windows
}

/// Each window is as one of the forms has it, and the forms follow each other: what was there before one was applied stays, and
/// what is later than its application is as it says. Says what is otherwise.
fn in_turn(found: &Windows, forms: &[(&str, Windows)], applied: &[Applied]) -> Result<(), String> {
    let all = forms.iter().map(|(_, windows)| windows).chain([found]);
    let starts: BTreeSet<&String> = all.flat_map(|windows| windows.keys()).collect();
    let (mut current, mut certain) = (0, BTreeSet::new());
    for start in starts {
        let least = applied.iter().take_while(|form| form.over < *start).count();
        let most = applied
            .iter()
            .take_while(|form| form.stays < *start)
            .count();
        current = current.max(least);
        let of = |form: usize| forms[form].1.get(start);
        let is_lost = |form: &Applied| {
            let taken_out = form.taken_out.as_ref();
            taken_out.is_some_and(|until| form.stays < *start && start <= until)
        };
        if !found.contains_key(start) && applied.iter().any(is_lost) {
            continue;
        }
        let Some(form) = (current..=most).find(|form| of(*form) == found.get(start)) else {
            let wanted: Vec<_> = (current..=most)
                .map(|form| (forms[form].0, of(form)))
                .collect();
            return Err(format!(
                "at {start} is {:?} instead of {wanted:?}",
                found.get(start)
            ));
        };
        current = form;
        let is_there = least == most && found.contains_key(start);
        certain.extend(is_there.then_some(form));
    }
    // Otherwise a form may never have been at work.
    if certain.len() < forms.len() {
        return Err(format!("of some forms no window has to be: {certain:?}"));
    }
    Ok(())
}
