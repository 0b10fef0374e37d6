//! Logs, on stderr; while a view draws on the terminal they are held back for it to show.
use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

use crate::args::{Arguments, LogFormat};

/// Lines that are held back; older ones are dropped.
const HELD_LINES: usize = 200;

/// Lines that wait to be shown; none where logs go to stderr.
static HELD: Mutex<Option<VecDeque<String>>> = Mutex::new(None);

/// Sends logs to stderr: quiet for people, more and in JSON for those who watch roles, unless asked otherwise. What a filter says
/// wrongly is left out.
pub(crate) fn start(arguments: &Arguments) {
    let (level, format) = if arguments.command.is_role() {
        ("info", LogFormat::Json)
    } else {
        ("warn", LogFormat::Text)
    };
    let filter = EnvFilter::builder().parse_lossy(arguments.log.as_deref().unwrap_or(level));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LogWriter)
        .with_ansi(io::stderr().is_terminal());
    match arguments.log_format.unwrap_or(format) {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}

/// Holds logs back from now on.
pub(crate) fn hold() {
    *HELD.lock() = Some(VecDeque::new());
}

/// What was held back since it was last asked for.
pub(crate) fn take_held() -> Vec<String> {
    HELD.lock()
        .as_mut()
        .map(|held| held.drain(..).collect())
        .unwrap_or_default()
}

/// Logs go to stderr again, those first that nobody took.
pub(crate) fn release() {
    let held = HELD.lock().take().unwrap_or_default();
    held.into_iter().for_each(|line| eprintln!("{line}"));
}

/// Writes a line where lines go.
struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match HELD.lock().as_mut() {
            Some(held) => {
                if held.len() == HELD_LINES {
                    held.pop_front();
                }
                held.push_back(String::from_utf8_lossy(line).trim_end().to_owned());
            }
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
