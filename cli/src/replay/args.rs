//! The command line of `tidewheel replay`.
use chrono::DateTime;
use clap::Args;

use crate::roles::args::{KafkaArgs, SinkArgs, SpecArgs};

const EXAMPLES: &str = "\
Examples:
  What would be computed again, and what would be read for it:
    tidewheel replay shop/kpis --from 2026-01-31T10:00:00Z --to 2026-01-31T12:00:00Z --dry-run \\
      --specs resources.yaml --secrets ./secrets --kafka 127.0.0.1:9092

  Compute it, and put it in the place of what the tables have; workers may go on beside it:
    tidewheel replay shop/kpis --from 2026-01-31T10:00:00Z --to 2026-01-31T12:00:00Z \\
      --specs resources.yaml --secrets ./secrets --kafka 127.0.0.1:9092

  Into tables of the same names in another schema, to compare; the files may have other SQL:
    tidewheel replay shop/kpis --from 2026-01-31T10:00:00Z --to 2026-01-31T12:00:00Z \\
      --into kpis_again --specs changed.yaml --secrets ./secrets --kafka 127.0.0.1:9092

  On a cluster, in a worker's pod, where all of that is at hand:
    kubectl --namespace shop exec deployment/kpis-worker -- tidewheel replay shop/kpis \\
      --from 2026-01-31T10:00:00Z --to 2026-01-31T12:00:00Z

It may be killed at any moment: a table has all of what was computed or nothing. Run it again then.

Exit codes: 0 done, 1 something failed, 2 the command line or the files are wrong, or it cannot be
  done for these times, 3 a dry run found windows to compute, 130 stopped before the end.";

/// `tidewheel replay`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReplayArgs {
    /// The Pipeline
    #[arg(value_name = "NAMESPACE/NAME")]
    pub(crate) pipeline: String,
    /// Compute windows that start at this time or later, such as 2026-01-31T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) from: i64,
    /// Compute windows that end at this time or earlier
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) to: i64,
    /// Write to tables of the same names in this schema of each database, made where they are missing, and not to those that the
    /// workers write
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) into: Option<String>,
    /// Only say what would be computed and read
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) specs: SpecArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    #[command(flatten)]
    pub(crate) sinks: SinkArgs,
}

/// A time as ms since the epoch.
fn time(text: &str) -> Result<i64, String> {
    let time = DateTime::parse_from_rfc3339(text);
    time.map(|time| time.timestamp_millis()).map_err(|error| {
        format!("{error}: write a date, a time and its zone, such as 2026-01-31T10:00:00Z")
    })
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_have_a_zone() {
        assert_eq!(time("1970-01-01T00:00:01.5Z"), Ok(1_500));
        assert_eq!(time("1970-01-01T01:00:00+01:00"), Ok(0));
        for wrong in ["2026-01-31", "2026-01-31T10:00:00", "yesterday"] {
            let refused = time(wrong);
            let teaches = |text: &String| text.contains("such as 2026-01-31T10:00:00Z");
            assert!(refused.as_ref().is_err_and(teaches), "{refused:?}");
        }
    }
}
