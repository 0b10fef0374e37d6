//! `tidewheel dead-letters reasons`.
use std::collections::BTreeMap;
use std::io::{self, Write as _};

use serde::Serialize;

use super::args::ReasonsArgs;
use super::letters::{Found, Letters};
use super::shown::{MESSAGE_CHARS, place, step_and_output};
use crate::aligned::{self, Cell};
use crate::failure::{Exit, Failure};
use crate::printed::{Format, write_json};
use crate::view::text::timestamp;

/// Letters with the same reason, of the same place.
struct Group {
    count: u64,
    sent: u64,
    unsendable: u64,
    first_ms: i64,
    last: Found,
}

impl Group {
    fn new(found: &Found) -> Self {
        Self {
            count: 0,
            sent: 0,
            unsendable: 0,
            first_ms: found.at_ms,
            last: found.clone(),
        }
    }

    fn add(&mut self, found: Found) {
        self.count += 1;
        self.sent += u64::from(found.sent_ms.is_some());
        self.unsendable += u64::from(found.letter.targets().is_err());
        self.last = found;
    }
}

/// A group as JSON has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownGroup<'a> {
    reason: &'a str,
    step: Option<String>,
    output: Option<String>,
    field: Option<&'a str>,
    count: u64,
    sent_again: u64,
    cannot_be_sent: u64,
    first: String,
    last: String,
    /// Of the last one.
    message: &'a str,
    offset: i64,
}

pub(super) async fn reasons(letters: &Letters, args: &ReasonsArgs) -> Result<Exit, Failure> {
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    let take = |found: Found| {
        if args.filter.takes(&found) {
            let key = (found.letter.reason.clone(), place(&found));
            let group = groups.entry(key).or_insert_with(|| Group::new(&found));
            group.add(found);
        }
    };
    letters.each(take).await?;
    // What happens most is what one came for.
    let mut groups: Vec<((String, String), Group)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
    let mut out = io::stdout().lock();
    match args.output_format {
        Format::Json => {
            let shown: Vec<ShownGroup<'_>> = groups.iter().map(|(_, group)| shown(group)).collect();
            write_json(&mut out, &shown)?;
        }
        Format::Table if groups.is_empty() => writeln!(out, "no dead letters")?,
        Format::Table => {
            let headings = aligned::headings([
                "COUNT",
                "SENT AGAIN",
                "REASON",
                "AT",
                "FIRST",
                "LAST",
                "THE LAST SAYS",
            ]);
            let mut rows = vec![headings];
            rows.extend(
                groups
                    .iter()
                    .map(|((reason, place), group)| row(reason, place, group)),
            );
            aligned::write(&mut out, &rows)?;
        }
    }
    Ok(Exit::Good)
}

fn shown(group: &Group) -> ShownGroup<'_> {
    let letter = &group.last.letter;
    let (step, output) = step_and_output(&group.last);
    ShownGroup {
        reason: &letter.reason,
        field: letter
            .field
            .as_deref()
            .filter(|_| step.is_none() && output.is_none()),
        step,
        output,
        count: group.count,
        sent_again: group.sent,
        cannot_be_sent: group.unsendable,
        first: timestamp(group.first_ms),
        last: timestamp(group.last.at_ms),
        message: &letter.message,
        offset: group.last.offset,
    }
}

fn row(reason: &str, place: &str, group: &Group) -> Vec<Cell> {
    let says = format!("{}: {}", group.last.offset, group.last.letter.message);
    vec![
        Cell::whole(&group.count.to_string()).at_the_right(),
        Cell::whole(&group.sent.to_string()).at_the_right(),
        Cell::whole(reason),
        Cell::whole(place),
        Cell::whole(&timestamp(group.first_ms)),
        Cell::whole(&timestamp(group.last.at_ms)),
        Cell::cut(&says, MESSAGE_CHARS),
    ]
}
