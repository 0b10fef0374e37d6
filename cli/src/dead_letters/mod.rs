//! `tidewheel dead-letters`: what a pipeline could not process, and sending it again.
//!
//! ```text
//!  --kafka, --data ──▶ Log ──▶ Letters ──▶ list, reasons, show
//!                                 │
//!                                 └──▶ choice ──▶ resend ──▶ one transaction: records to their topics, and the note that they were sent
//! ```
pub(crate) mod args;
pub(crate) mod bytes;
mod choice;
pub(crate) mod letters;
mod list;
mod outcome;
mod reasons;
mod resend;
mod show;
mod shown;

use args::{DeadLettersArgs, DeadLettersCommand};
use letters::Letters;

use crate::failure::{Exit, Failure};
use crate::runtime;

/// Runs one of its commands.
pub(crate) fn run(args: DeadLettersArgs) -> Result<Exit, Failure> {
    runtime::run(async {
        match &args.command {
            DeadLettersCommand::List(args) => {
                list::list(&Letters::open(&args.place).await?, args).await
            }
            DeadLettersCommand::Reasons(args) => {
                reasons::reasons(&Letters::open(&args.place).await?, args).await
            }
            DeadLettersCommand::Show(args) => {
                show::show(&Letters::open(&args.place).await?, args).await
            }
            DeadLettersCommand::Resend(args) => resend::run(args).await,
        }
    })
}
