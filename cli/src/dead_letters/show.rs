//! `tidewheel dead-letters show`.
use std::io::{self, Write};

use serde::Serialize;
use tidewheel_log::{Header, Record};

use super::args::ShowArgs;
use super::bytes::{self, plain_text, text_or_base64};
use super::letters::{Found, Letters};
use super::shown::{ShownLetter, audience, place};
use crate::aligned;
use crate::failure::{Exit, Failure};
use crate::printed::{Format, write_json};
use crate::view::text::timestamp;

/// A letter as JSON has it, with its bytes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    #[serde(flatten)]
    letter: ShownLetter,
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    headers: Vec<ShownHeader>,
}

/// A header of the record, as it came.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownHeader {
    name: String,
    value: Option<String>,
    value_base64: Option<String>,
}

impl ShownHeader {
    fn new(header: &Header) -> Self {
        let (value, value_base64) = text_or_base64(Some(&header.value));
        Self {
            name: header.name.clone(),
            value,
            value_base64,
        }
    }
}

pub(super) async fn show(letters: &Letters, args: &ShowArgs) -> Result<Exit, Failure> {
    let Some((letter, record)) = letters.at(args.offset).await? else {
        return Err(letters.no_letter(args.offset));
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.raw {
        out.write_all(record.value.as_deref().unwrap_or_default())?;
        out.flush()?;
        return Ok(Exit::Good);
    }
    let found = Found {
        sent_ms: letters.sent().await?.get(&args.offset).copied(),
        ..Found::new(letter, &record)
    };
    match args.output_format {
        Format::Json => {
            write_json(&mut out, &whole(&found, &record))?;
        }
        Format::Table => write(&mut out, letters, &found, &record)?,
    }
    out.flush()?;
    Ok(Exit::Good)
}

fn whole(found: &Found, record: &Record) -> Whole {
    let (key, key_base64) = text_or_base64(record.key.as_deref());
    let (value, value_base64) = text_or_base64(record.value.as_deref());
    Whole {
        letter: ShownLetter::new(found),
        key,
        key_base64,
        value,
        value_base64,
        headers: found.letter.headers.iter().map(ShownHeader::new).collect(),
    }
}

fn write(
    out: &mut impl Write,
    letters: &Letters,
    found: &Found,
    record: &Record,
) -> Result<(), Failure> {
    let letter = &found.letter;
    let pipeline = &letters.pipeline;
    writeln!(
        out,
        "dead letter {} of {pipeline}, of {}",
        found.offset,
        timestamp(found.at_ms)
    )?;
    writeln!(
        out,
        "  reason      {}: {}",
        letter.reason,
        one_line(&letter.message)
    )?;
    writeln!(out, "  at          {}", place(found))?;
    let topic = letter.topic.as_deref();
    let topic = topic
        .map(|topic| format!(", topic {topic}"))
        .unwrap_or_default();
    let append = Some(letter.append_time_ms).filter(|ms| *ms > 0);
    let append = append.map(|ms| format!(", appended {}", timestamp(ms)));
    writeln!(
        out,
        "  from        {}{topic}, partition {}, offset {}{}",
        letter.input,
        letter.partition,
        letter.offset,
        append.unwrap_or_default()
    )?;
    let sent = match (found.sent_ms, letter.targets()) {
        (Some(ms), Ok(targets)) => format!("{}, to {}", timestamp(ms), audience(&targets)),
        (Some(ms), Err(_)) => timestamp(ms),
        (None, Err(cannot)) => format!("cannot be: {cannot}"),
        (None, Ok(targets)) => format!(
            "no; `tidewheel dead-letters resend {pipeline} {}` sends it to {}",
            found.offset,
            audience(&targets)
        ),
    };
    writeln!(out, "  sent again  {sent}")?;
    for header in &letter.headers {
        writeln!(
            out,
            "  header      {}: {}",
            one_line(&header.name),
            shown(&header.value)
        )?;
    }
    match record.key.as_deref() {
        None => writeln!(out, "  key         none")?,
        Some(key) => writeln!(out, "  key         {}", shown(key))?,
    }
    let Some(value) = record.value.as_deref() else {
        writeln!(out, "  value       none")?;
        return Ok(());
    };
    writeln!(out, "  value       {} bytes", value.len())?;
    writeln!(out)?;
    Ok(bytes::write(out, value)?)
}

/// Bytes in one line.
fn shown(bytes: &[u8]) -> String {
    match plain_text(bytes) {
        Some(text) => one_line(text),
        None => format!("\"{}\"", bytes.escape_ascii()),
    }
}

fn one_line(text: &str) -> String {
    aligned::one_line(text).collect()
}
