//! Where the dead letters of a pipeline are.
use std::path::Path;
use std::sync::Arc;

use tidewheel_log::{EmbeddedLog, Log, Options};
use tidewheel_log_kafka::KafkaLog;

use super::args::PlaceArgs;
use super::letters::Letters;
use crate::dev::MAX_RECORD_BYTES;
use crate::failure::Failure;

/// The letters of the pipeline that the command line names. To be called within the runtime.
pub(super) async fn open(args: &PlaceArgs) -> Result<Letters, Failure> {
    let log: Arc<dyn Log> = match (&args.data, &args.kafka) {
        (Some(folder), _) => Arc::new(of_folder(folder)?),
        (None, Some(place)) => Arc::new(KafkaLog::new(place.connection()?)?),
        (None, None) => return Err(Failure::usage("no log is named", "give --kafka or --data")),
    };
    let letters = Letters::new(log, args.pipeline.clone());
    if letters.log.topic(&letters.topic).await?.is_none() {
        return Err(Failure::usage(
            format!(
                "there is no Pipeline {} here: there is no topic {}",
                args.pipeline, letters.topic
            ),
            "look at namespace and name, and at where the log is",
        ));
    }
    Ok(letters)
}

/// The log that `tidewheel dev --data` has kept. Nothing is made where there is none.
fn of_folder(folder: &Path) -> Result<EmbeddedLog, Failure> {
    let log = folder.join("log");
    if !log.is_dir() {
        return Err(Failure::usage(
            format!(
                "{} is no folder of `tidewheel dev --data`: there is no log in it",
                folder.display()
            ),
            "give --data the folder that `tidewheel dev --data` was given",
        ));
    }
    let options = Options {
        max_record_bytes: MAX_RECORD_BYTES,
        ..Options::default()
    };
    Ok(EmbeddedLog::open(log, options)?)
}
