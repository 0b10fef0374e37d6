//! `tidewheel dead-letters list`.
use std::collections::VecDeque;
use std::io::{self, Write as _};

use super::args::ListArgs;
use super::letters::{Found, Letters};
use super::shown::{MESSAGE_CHARS, ShownLetter, place};
use crate::aligned::{self, Cell};
use crate::failure::{Exit, Failure};
use crate::printed::{Format, write_json};
use crate::view::text::timestamp;

pub(super) async fn list(letters: &Letters, args: &ListArgs) -> Result<Exit, Failure> {
    let mut newest = VecDeque::new();
    let mut count = 0_usize;
    let take = |found: Found| {
        if !args.filter.takes(&found) {
            return;
        }
        count += 1;
        newest.push_back(found);
        if newest.len() > args.limit {
            newest.pop_front();
        }
    };
    letters.each(take).await?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    match args.output_format {
        Format::Json => {
            let shown: Vec<ShownLetter> = newest.iter().map(ShownLetter::new).collect();
            write_json(&mut out, &shown)?;
        }
        Format::Table => {
            let headings = aligned::headings([
                "OFFSET",
                "SINCE",
                "REASON",
                "AT",
                "FROM",
                "SENT AGAIN",
                "MESSAGE",
            ]);
            let mut rows = vec![headings];
            rows.extend(newest.iter().map(row));
            if newest.is_empty() {
                writeln!(out, "no dead letters")?;
            } else {
                aligned::write(&mut out, &rows)?;
            }
            let older = count - newest.len();
            if older > 0 {
                writeln!(
                    out,
                    "  {older} older ones are not listed: --limit COUNT lists more"
                )?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Good)
}

fn row(found: &Found) -> Vec<Cell> {
    let letter = &found.letter;
    let from = format!("{}/{} at {}", letter.input, letter.partition, letter.offset);
    let sent = match (found.sent_ms, letter.targets()) {
        (Some(ms), _) => timestamp(ms),
        (None, Ok(_)) => "no".to_owned(),
        (None, Err(_)) => "cannot be".to_owned(),
    };
    vec![
        Cell::whole(&found.offset.to_string()).at_the_right(),
        Cell::whole(&timestamp(found.at_ms)),
        Cell::whole(&letter.reason),
        Cell::whole(&place(found)),
        Cell::whole(&from),
        Cell::whole(&sent),
        Cell::cut(&letter.message, MESSAGE_CHARS),
    ]
}
