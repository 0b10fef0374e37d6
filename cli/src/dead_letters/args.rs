//! The command line of `tidewheel dead-letters`.
use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use tidewheel_decode::Code;
use tidewheel_engine::wire::dead_letter::Reason;

use crate::place::PlaceArgs;
use crate::printed::Format;

const EXAMPLES: &str = "\
Examples:
  What goes wrong, and how often; then the letters of one reason, and one of them with its bytes:
    tidewheel dead-letters reasons shop/kpis --kafka 127.0.0.1:9092
    tidewheel dead-letters list shop/kpis --kafka 127.0.0.1:9092 --reason Evaluation
    tidewheel dead-letters show shop/kpis 17 --kafka 127.0.0.1:9092

  Mend the pipeline, then send again what it could not process, each letter once:
    tidewheel dead-letters resend shop/kpis --kafka 127.0.0.1:9092 --reason Evaluation --dry-run
    tidewheel dead-letters resend shop/kpis --kafka 127.0.0.1:9092 --reason Evaluation

  The same for what `tidewheel dev --data` has kept, while that is not running:
    tidewheel dead-letters reasons shop/kpis --data ./data";

/// `tidewheel dead-letters`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    pub(crate) command: DeadLettersCommand,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List dead letters, the newest at the end
    List(ListArgs),
    /// Count dead letters by reason and by where it happened
    Reasons(ReasonsArgs),
    /// Show one dead letter with its bytes
    Show(ShowArgs),
    /// Send dead letters again, each once
    ///
    /// Appends their events to the topic that they came from, with their own key, bytes and headers, and a header that says whom they are
    /// for: the Pipeline and the step or output that refused them. All others skip them. That they were sent is noted in the same
    /// transaction, so that none is sent twice, whoever runs this, and whatever fails on the way.
    Resend(ResendArgs),
}

/// Which dead letters.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which letters")]
pub(crate) struct FilterArgs {
    /// Those with this reason, such as Malformed or Evaluation. May be given several times
    #[arg(long, value_name = "REASON")]
    pub(crate) reason: Vec<ReasonWord>,
    /// Those that this step refused
    #[arg(long, value_name = "STEP", conflicts_with = "output")]
    pub(crate) step: Option<String>,
    /// Those that this output's Sink refused
    #[arg(long, value_name = "OUTPUT")]
    pub(crate) output: Option<String>,
    /// Those of events of this source
    #[arg(long, value_name = "SOURCE")]
    pub(crate) source: Option<String>,
    /// Those from this offset on
    #[arg(long, value_name = "OFFSET")]
    pub(crate) from: Option<i64>,
    /// Those up to this offset, with it
    #[arg(long, value_name = "OFFSET")]
    pub(crate) to: Option<i64>,
    /// Those written since: a duration before now, such as 2h, or a time, such as 2026-03-01T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<Since>,
    /// Those that were not sent again yet
    #[arg(long)]
    pub(crate) unsent: bool,
}

impl FilterArgs {
    /// Whether it leaves nothing out.
    pub(crate) fn is_all(&self) -> bool {
        let texts = [&self.step, &self.output, &self.source];
        self.reason.is_empty()
            && texts.iter().all(|text| text.is_none())
            && self.from.is_none()
            && self.to.is_none()
            && self.since.is_none()
            && !self.unsent
    }
}

/// `tidewheel dead-letters list`
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// How many are listed at most, the newest
    #[arg(long, value_name = "COUNT", default_value = "50")]
    pub(crate) limit: usize,
    /// How they are printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output_format: Format,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// `tidewheel dead-letters reasons`
#[derive(Debug, Args)]
pub(crate) struct ReasonsArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// How they are printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output_format: Format,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// `tidewheel dead-letters show`
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Its offset, as `list` has it
    #[arg(value_name = "OFFSET")]
    pub(crate) offset: i64,
    /// Write the original bytes to stdout, and nothing else
    #[arg(long, conflicts_with = "output_format")]
    pub(crate) raw: bool,
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output_format: Format,
}

const RESEND_EXAMPLES: &str = "\
Examples:
  tidewheel dead-letters resend shop/kpis 17 18 --kafka 127.0.0.1:9092
  tidewheel dead-letters resend shop/kpis --kafka 127.0.0.1:9092 --output kpi_1m --since 2h
  tidewheel dead-letters resend shop/kpis --data ./data --all --dry-run

An event that fails again is a dead letter of its own, which can be sent again in its turn.
An event whose window has closed is late, however it comes.
Letters of windows and groups are no events, and cannot be sent.

Exit codes: 0 all is well, 1 something failed, or a letter that was named cannot be sent,
  2 the command line is wrong.";

/// `tidewheel dead-letters resend`
#[derive(Debug, Args)]
#[command(after_help = RESEND_EXAMPLES)]
pub(crate) struct ResendArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Offsets of the letters, as `list` has them
    #[arg(value_name = "OFFSET", conflicts_with = "FilterArgs")]
    pub(crate) offsets: Vec<i64>,
    /// All that were not sent again yet
    #[arg(long, conflicts_with = "offsets")]
    pub(crate) all: bool,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also send what came from this existing topic, which is not Tidewheel's own: whoever else reads it sees those events twice
    #[arg(long, value_name = "TOPIC")]
    pub(crate) append_to: Vec<String>,
    /// How it is told what was done
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output_format: Format,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// The word of a reason that letters may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReasonWord(pub(crate) &'static str);

impl ReasonWord {
    /// Those of the decoder and those of the engine, which share some.
    fn all() -> BTreeSet<&'static str> {
        let engine = Reason::ALL.map(Reason::as_str);
        Code::ALL
            .map(Code::as_str)
            .into_iter()
            .chain(engine)
            .collect()
    }
}

impl FromStr for ReasonWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::all();
        all.get(text).copied().map(Self).ok_or_else(|| {
            let all: Vec<&str> = all.into_iter().collect();
            format!("there is no such reason: write one of {}", all.join(", "))
        })
    }
}

/// A time, ms since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since(pub(crate) i64);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self(time.timestamp_millis()));
        }
        let before = text.parse::<tidewheel_crds::Duration>().map_err(|_| {
            "write a duration before now, such as 90s, 2h or 7d, or a time with its zone, such as 2026-03-01T12:00:00Z".to_owned()
        })?;
        let before_ms = i64::try_from(before.as_millis()).unwrap_or(i64::MAX);
        Ok(Self(
            Utc::now().timestamp_millis().saturating_sub(before_ms),
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_decoders_or_the_engines() {
        for word in ["Malformed", "Empty", "Evaluation", "UnknownTarget"] {
            assert_eq!(word.parse::<ReasonWord>(), Ok(ReasonWord(word)));
        }
        let refused = "json".parse::<ReasonWord>().unwrap_err();
        let (_, named) = refused.split_once("one of ").unwrap();
        let named: Vec<&str> = named.split(", ").collect();
        assert!(named.contains(&"BadUuid") && named.contains(&"WindowPurged"));
    }
}
