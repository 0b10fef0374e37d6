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

/// Runs one of its commands.
pub(crate) fn run(args: DeadLettersArgs) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
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
    });
    // Whatever still blocks in a client is not waited for.
    runtime.shutdown_background();
    outcome
}
