//! The command line of `tidewheel acknowledge`.
use std::str::FromStr;

use clap::Args;

use crate::place::PlaceArgs;
use crate::printed::Format;

const EXAMPLES: &str = "\
Examples:
  What waits, and the hash of each:
    tidewheel acknowledge shop/kpis --kafka 127.0.0.1:9092

  Go on without events that are gone; they count as lost:
    tidewheel acknowledge shop/kpis --kafka 127.0.0.1:9092 --hash 3f0c9a1b22d7

  A table was emptied, or an empty database put in its place: write again what the source still has:
    tidewheel acknowledge shop/kpis --kafka 127.0.0.1:9092 --hash 81d2f6e0c4aa --refill

  The same for what `tidewheel dev --data` has kept, while that is not running:
    tidewheel acknowledge shop/kpis --data ./data

A hash stands for exactly what is listed with it: what has grown since has another one.

Exit codes: 0 all is well, 1 something failed, 2 the command line is wrong, or nothing waits with such a hash.";

/// `tidewheel acknowledge`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AcknowledgeArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Acknowledge what is listed with this hash. May be given several times
    #[arg(long, value_name = "HASH")]
    pub(crate) hash: Vec<Hash>,
    /// Of outputs whose table has lost its progress: write them again from what the source, or the open and newest windows, still have.
    /// Rows that are in a table of events now would be there twice: empty it first
    #[arg(long, requires = "hash", conflicts_with = "as_it_is")]
    pub(crate) refill: bool,
    /// Of outputs whose table has lost its progress: leave the table as it is, and write what comes from now on
    #[arg(long, requires = "hash")]
    pub(crate) as_it_is: bool,
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output_format: Format,
}

/// 12 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hash(String);

impl Hash {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_hash = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match is_hash {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(
                "a hash is 12 hexadecimal digits: run this without --hash to see them".to_owned(),
            ),
        }
    }
}
