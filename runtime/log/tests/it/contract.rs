//! The contract that all logs keep.
use async_trait::async_trait;
use tempfile::TempDir;
use tidewheel_log::{EmbeddedLog, Log, Options, TopicSettings};
use tidewheel_log_contract::Subject;

use crate::setup::empty_folder;

/// An embedded log whose segments hold little, so that deletion has something to delete.
struct Embedded {
    log: EmbeddedLog,
    _folder: Option<TempDir>,
}

fn options() -> Options {
    Options {
        segment_bytes: 200,
        max_record_bytes: 1 << 20,
        ..Options::default()
    }
}

async fn in_memory() -> Embedded {
    Embedded {
        log: EmbeddedLog::in_memory(options()),
        _folder: None,
    }
}

async fn in_folder() -> Embedded {
    let folder = empty_folder();
    Embedded {
        log: EmbeddedLog::open(folder.path(), options()).unwrap(),
        _folder: Some(folder),
    }
}

#[async_trait]
impl Subject for Embedded {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    async fn create_topic(&self, settings: &TopicSettings) {
        self.log.create_topic(settings).unwrap();
    }

    fn too_large_bytes(&self) -> usize {
        1 << 20
    }
}

mod memory {
    tidewheel_log_contract::promises!(super::in_memory());
}

mod folder {
    tidewheel_log_contract::promises!(super::in_folder());
}
