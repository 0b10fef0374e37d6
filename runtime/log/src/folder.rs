//! A log's folder: its lock, its topics, and the frames in its segment files.
//!
//! ```text
//! lock                                      locked by the process that has the folder open
//! commits                                   the commit log
//! topics/NUMBER/topic.json                  a topic's name, settings and id
//! topics/NUMBER/PARTITION/OFFSET.segment    frames, from that offset on
//! ```
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    LogError, TopicSettings,
    append::Planned,
    commit_log::sync_folder_of,
    segment_file::{FileHeader, OpenFiles, unavailable},
};

/// Version of `topic.json`.
const TOPIC_FORMAT: u32 = 1;

/// A folder that this process alone has open.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    pub(crate) fsync: bool,
    /// Unlocked by the system when the process ends, however it ends.
    lock: File,
}

/// What `topic.json` holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TopicFile {
    format: u32,
    pub(crate) number: u32,
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) settings: TopicSettings,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing the file alone would leave it locked while a child that is just being started still has it.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(folder = %self.root.display(), %error, "the folder stays locked until the process ends");
        }
    }
}

impl Folder {
    /// Takes the folder, made where it does not exist.
    pub(crate) fn open(root: &Path, fsync: bool) -> Result<Self, LogError> {
        let topics = root.join("topics");
        fs::create_dir_all(&topics).map_err(|error| unavailable(&topics, &error))?;
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| unavailable(&path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                root: root.to_owned(),
                fsync,
                lock,
            }),
            Err(TryLockError::WouldBlock) => Err(LogError::Unavailable {
                reason: format!(
                    "{} is in use: stop the process that has it open, or choose another folder",
                    root.display()
                ),
            }),
            Err(TryLockError::Error(error)) => Err(unavailable(&path, &error)),
        }
    }

    pub(crate) fn commits(&self) -> PathBuf {
        self.root.join("commits")
    }

    pub(crate) fn topics(&self) -> PathBuf {
        self.root.join("topics")
    }

    fn topic(&self, number: u32) -> PathBuf {
        self.topics().join(format!("{number:06}"))
    }

    pub(crate) fn partition(&self, topic: u32, partition: u32) -> PathBuf {
        self.topic(topic).join(partition.to_string())
    }

    pub(crate) fn segment(&self, topic: u32, partition: u32, base_offset: i64) -> Arc<Path> {
        self.partition(topic, partition)
            .join(format!("{base_offset:020}.segment"))
            .into()
    }

    /// Writes a topic's file; a topic exists from then on.
    pub(crate) fn save_topic(
        &self,
        number: u32,
        id: &str,
        settings: &TopicSettings,
    ) -> Result<(), LogError> {
        let folder = self.topic(number);
        let path = folder.join("topic.json");
        let beside = folder.join("topic.json.new");
        let file = TopicFile {
            format: TOPIC_FORMAT,
            number,
            id: id.to_owned(),
            settings: settings.clone(),
        };
        let save = || -> io::Result<()> {
            fs::create_dir_all(&folder)?;
            fs::write(&beside, serde_json::to_vec_pretty(&file)?)?;
            if self.fsync {
                File::open(&beside)?.sync_all()?;
            }
            fs::rename(&beside, &path)
        };
        save().map_err(|error| unavailable(&beside, &error))?;
        if self.fsync {
            sync_folder_of(&path)?;
            sync_folder_of(&folder)?;
        }
        Ok(())
    }

    /// The topics of the folder; removes what is left of deleted and half-made ones.
    pub(crate) fn load_topics(&self) -> Result<Vec<TopicFile>, LogError> {
        let mut topics = Vec::new();
        for folder in list(&self.topics())? {
            let path = folder.join("topic.json");
            if folder.extension().is_some() || !path.exists() {
                fs::remove_dir_all(&folder).map_err(|error| unavailable(&folder, &error))?;
                continue;
            }
            let content = fs::read(&path).map_err(|error| unavailable(&path, &error))?;
            let topic: TopicFile =
                serde_json::from_slice(&content).map_err(|error| LogError::Damaged {
                    reason: format!("{}: {error}", path.display()),
                })?;
            if topic.format != TOPIC_FORMAT {
                let reason = format!(
                    "{} is of a version that this build does not read",
                    path.display()
                );
                return Err(LogError::Damaged { reason });
            }
            topics.push(topic);
        }
        Ok(topics)
    }

    /// Removes a topic: at once by its name, then file by file.
    pub(crate) fn delete_topic(&self, number: u32) -> Result<(), LogError> {
        let folder = self.topic(number);
        let deleted = folder.with_extension("deleted");
        fs::rename(&folder, &deleted).map_err(|error| unavailable(&folder, &error))?;
        if let Err(error) = fs::remove_dir_all(&deleted) {
            tracing::warn!(folder = %deleted.display(), %error, "a deleted topic is removed when the log is opened again");
        }
        Ok(())
    }

    /// Writes the frames of a transaction behind what is committed. After an error the files are as they were.
    pub(crate) fn write(&self, planned: &[Planned], files: &OpenFiles) -> Result<(), LogError> {
        for (index, chunk) in planned.iter().enumerate() {
            if let Err(error) = self.write_chunk(chunk, files) {
                self.take_back(&planned[..=index], files);
                return Err(error);
            }
        }
        Ok(())
    }

    fn write_chunk(&self, chunk: &Planned, files: &OpenFiles) -> Result<(), LogError> {
        let path = self.segment(
            chunk.number,
            chunk.partition.unsigned_abs(),
            chunk.segment_base,
        );
        let failed = |error: io::Error| unavailable(&path, &error);
        if chunk.is_new_segment {
            let file = create_segment(&path).map_err(failed)?;
            let header = FileHeader {
                base_offset: chunk.segment_base,
                compacted: None,
            };
            file.write_all_at(&header.encode(), 0).map_err(failed)?;
            files.put(chunk.segment, Arc::new(file));
        }
        let file = files.get(chunk.segment, &path)?;
        let mut position = chunk.position;
        for frame in &chunk.frames {
            file.write_all_at(&frame.bytes, position).map_err(failed)?;
            position += frame.bytes.len() as u64;
        }
        if self.fsync {
            file.sync_data().map_err(failed)?;
            if chunk.is_new_segment {
                sync_folder_of(&path)?;
                sync_folder_of(&self.partition(chunk.number, chunk.partition.unsigned_abs()))?;
            }
        }
        Ok(())
    }

    /// Gives back the space of frames that will not be committed. What cannot be taken back does no harm: it lies beyond
    /// what is committed, where it is written over, or cut off when the folder is opened.
    pub(crate) fn take_back(&self, planned: &[Planned], files: &OpenFiles) {
        for chunk in planned {
            let path = self.segment(
                chunk.number,
                chunk.partition.unsigned_abs(),
                chunk.segment_base,
            );
            let undone = if chunk.is_new_segment {
                files.forget(chunk.segment);
                fs::remove_file(&path)
            } else {
                OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .and_then(|file| file.set_len(chunk.position))
            };
            if let Err(error) = undone
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(file = %path.display(), %error, "an aborted write could not be taken back yet");
            }
        }
    }
}

fn create_segment(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
}

/// What a folder holds, in order of the names; nothing where it does not exist.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>, LogError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| unavailable(folder, &error))?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|error| unavailable(folder, &error))?;
    paths.sort();
    Ok(paths)
}

/// Removes a file that nobody needs; what remains is removed when the folder is opened again.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %path.display(), %error, "a file that is no longer needed could not be removed yet");
    }
}
