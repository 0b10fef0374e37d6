//! Logs, on stderr.
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::args::{Arguments, LogFormat};

/// Sends logs to stderr; quiet unless asked otherwise. What a filter says wrongly is left out.
pub(crate) fn start(arguments: &Arguments) {
    let filter = EnvFilter::builder().parse_lossy(&arguments.log);
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match arguments.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}
