//! Programs that are run to their end.
use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::cluster::error::{ClusterError, io, io_at};

/// Runs a program to its end and returns what it printed; where it fails, what it said is shown after `doing`.
pub(crate) fn run(command: &mut Command, doing: &str) -> Result<String, ClusterError> {
    let output = command.stdin(Stdio::null()).output().map_err(io(doing))?;
    printed(output, doing)
}

/// As [`run`], with `input` on its standard input.
pub(crate) fn run_with(
    command: &mut Command,
    input: &str,
    doing: &str,
) -> Result<String, ClusterError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(io(doing))?;
    let mut stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // Beside reading what it says, or both would wait for each other. A program that ends without reading says why.
        scope.spawn(move || {
            stdin
                .take()
                .map(|mut stdin| stdin.write_all(input.as_bytes()))
        });
        let output = child.wait_with_output().map_err(io(doing))?;
        printed(output, doing)
    })
}

/// What a program has printed that has ended; where it has failed, what it said is shown after `doing`.
pub(crate) fn printed(output: Output, doing: &str) -> Result<String, ClusterError> {
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(printed.into_owned());
    }
    let said = format!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    Err(ClusterError::Failed {
        doing: doing.to_owned(),
        said: said.trim_end().to_owned(),
    })
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), ClusterError> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    std::fs::write(path, text).map_err(io_at("writing", path))
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(folder: &Path) -> Result<(), ClusterError> {
    std::fs::create_dir_all(folder).map_err(io_at("making", folder))
}
