//! Files and folders.
use std::fs;
use std::path::{Path, PathBuf};

use crate::load::file_problem;
use crate::problem::{Code, Problem};

/// No YAML that a person writes is larger than this.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// The file itself, or all YAML files of a folder and those below it, sorted. What is hidden is left out: in a mounted ConfigMap
/// every file is a link to one in a hidden folder.
pub(crate) fn find(path: &Path) -> Result<Vec<PathBuf>, Box<Problem>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    collect(path, &mut found)?;
    found.sort();
    if found.is_empty() {
        let message = format!("the folder {} holds no YAML files", path.display());
        let problem = file_problem(Code::NothingFound, message, None);
        return Err(Box::new(
            problem.help("name a file, or a folder with `*.yaml` files"),
        ));
    }
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Box<Problem>> {
    for entry in fs::read_dir(folder).map_err(|e| unreadable(folder, &e))? {
        let entry = entry.map_err(|e| unreadable(folder, &e))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        // The type of the entry itself: a link to a folder above would never end.
        let is_folder = entry
            .file_type()
            .map_err(|e| unreadable(&path, &e))?
            .is_dir();
        if is_folder {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            found.push(path);
        }
    }
    Ok(())
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, Box<Problem>> {
    let size = fs::metadata(path).map_err(|e| unreadable(path, &e))?.len();
    if size > MAX_FILE_BYTES {
        let message = format!(
            "{} has {size} bytes, which is more than any YAML of resources",
            path.display()
        );
        let problem = file_problem(Code::Unreadable, message, None);
        return Err(Box::new(
            problem.help("name YAML files; events are sent, not applied"),
        ));
    }
    fs::read_to_string(path).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Box<Problem> {
    let message = format!("{} cannot be read: {error}", path.display());
    let problem = file_problem(Code::Unreadable, message, None);
    Box::new(problem.help("check the path and its permissions"))
}
