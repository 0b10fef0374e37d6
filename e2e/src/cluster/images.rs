//! The images that run in a cluster, made without any registry.
mod docker;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    cache,
    cluster::{
        error::{ClusterError, io as failed, io_at},
        programs::{Programs, which},
        run::{make_folder, run},
    },
};

/// The image of the `tidewheel` program: what the Dockerfile says, around the program that was built here.
pub const TIDEWHEEL: &str = "localhost/tidewheel/tidewheel:dev";
/// The same image under another tag: what an upgrade leads to.
pub const TIDEWHEEL_NEXT: &str = "localhost/tidewheel/tidewheel:next";
/// A shell and small programs, for looking around in a cluster: `busybox`.
pub const TOOLBOX: &str = "localhost/tidewheel/toolbox:1";
/// What holds a pod's namespaces.
pub(crate) const PAUSE: &str = "localhost/tidewheel/pause:1";
/// A new archive, in the folder that it was built in.
const ARCHIVE: &str = "archive.tar";
/// How many archives of an image are kept: those of the checkouts that somebody works in.
const KEPT: usize = 3;
/// Where the Dockerfile is, the script that lays out the image's files, and the charts.
pub(crate) const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The archives of all images of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    archives: Vec<PathBuf>,
}

impl Images {
    /// Makes them around a `tidewheel` program, as far as they are not in the cache.
    ///
    /// # Errors
    /// As [`image`].
    pub(crate) fn make(programs: &Programs, tidewheel: &Path) -> Result<Self, ClusterError> {
        let busybox = which("busybox").unwrap_or_default();
        let pause = programs.pause();
        Ok(Self {
            archives: vec![
                image_by(Builder::Buildah, tidewheel)?,
                archive(TOOLBOX, &[&busybox], |folder| {
                    build_from(&busybox, "bin/busybox", TOOLBOX, folder)
                })?,
                archive(PAUSE, &[&pause], |folder| {
                    build_from(&pause, "pause", PAUSE, folder)
                })?,
            ],
        })
    }

    pub(crate) fn archives(&self) -> &[PathBuf] {
        &self.archives
    }
}

/// What builds images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builder {
    /// A program that needs no engine, and keeps what it builds where it is told.
    Buildah,
    /// The Docker engine that is here.
    Docker,
}

/// Makes the image of a `tidewheel` program as an archive, without any registry, and returns where it is: in the cache.
///
/// # Errors
/// [`ClusterError::Missing`] where there is no such program, or neither `buildah` nor `docker`, [`ClusterError::Failed`] where the
/// image cannot be built.
pub fn image(tidewheel: &Path) -> Result<PathBuf, ClusterError> {
    let builders = [("buildah", Builder::Buildah), ("docker", Builder::Docker)];
    let here = builders.iter().find(|(name, _)| which(name).is_some());
    let (_, builder) = here.ok_or_else(|| ClusterError::Missing {
        what: "buildah or docker, which make images".to_owned(),
        how: "on Debian or Ubuntu: apt-get install buildah".to_owned(),
    })?;
    image_by(*builder, tidewheel)
}

/// As [`image`], by a builder that is there.
pub(crate) fn image_by(builder: Builder, tidewheel: &Path) -> Result<PathBuf, ClusterError> {
    if !tidewheel.is_file() {
        return Err(ClusterError::Missing {
            what: format!("the tidewheel program, {}", tidewheel.display()),
            how: "cargo build --release --locked --workspace".to_owned(),
        });
    }
    let sources: [&Path; 3] = [tidewheel, &dockerfile(), &layout()];
    archive(TIDEWHEEL, &sources, |folder| {
        let files = folder.join("files");
        lay_out(tidewheel, &files)?;
        match builder {
            Builder::Buildah => build_tidewheel(&files, folder),
            Builder::Docker => docker::build(TIDEWHEEL, &dockerfile(), &files, folder),
        }
    })
}

fn dockerfile() -> PathBuf {
    Path::new(REPOSITORY).join("Dockerfile")
}

fn layout() -> PathBuf {
    Path::new(REPOSITORY).join("scripts/image-root.sh")
}

/// The archive of an image that is made of these files: from the cache, or built as [`ARCHIVE`] in a folder of its own.
fn archive(
    image: &str,
    sources: &[&Path],
    build: impl FnOnce(&Path) -> Result<(), ClusterError>,
) -> Result<PathBuf, ClusterError> {
    let cache = cache::folder()?.join("images");
    make_folder(&cache)?;
    let (name, digest) = (file_name(image), digest(image, sources)?);
    let path = cache.join(format!("{name}-{digest}.tar"));
    if path.is_file() {
        return Ok(path);
    }
    let scratch = TempDir::with_prefix_in(".building-", &cache).map_err(io_at("making", &cache))?;
    build(scratch.path())?;
    fs::rename(scratch.path().join(ARCHIVE), &path).map_err(io_at("keeping", &path))?;
    forget_old(&cache, &format!("{name}-"))?;
    Ok(path)
}

/// `localhost/tidewheel/pause:1` is kept as `pause`.
fn file_name(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split(':').next().unwrap_or(name)
}

fn digest(image: &str, sources: &[&Path]) -> Result<String, ClusterError> {
    let mut digest = Sha256::new();
    digest.update(image);
    for source in sources {
        let mut file = File::open(source).map_err(io_at("reading", source))?;
        io::copy(&mut file, &mut digest).map_err(io_at("reading", source))?;
    }
    let bytes = digest.finalize();
    Ok(bytes
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Lays out the files that the program needs, as the Dockerfile's stage does that compiles it.
fn lay_out(program: &Path, files: &Path) -> Result<(), ClusterError> {
    let mut command = Command::new(layout());
    command.arg(program).arg(files.join("image"));
    run(&mut command, "laying out the files of the image").map(drop)
}

/// Has the Dockerfile take files that are there in place of its first stage.
fn build_tidewheel(files: &Path, scratch: &Path) -> Result<(), ClusterError> {
    let mut command = buildah(scratch);
    command
        .args([
            "bud",
            "--isolation=chroot",
            "--timestamp=0",
            "--tag",
            TIDEWHEEL,
        ])
        .arg(format!("--build-context=build={}", files.display()))
        .arg(format!("--file={}", dockerfile().display()))
        .arg(files);
    run(&mut command, "building the tidewheel image")?;
    push(TIDEWHEEL, scratch)
}

/// An image of one static program.
fn build_from(program: &Path, path: &str, image: &str, scratch: &Path) -> Result<(), ClusterError> {
    let files = scratch.join("files");
    let copy = files.join(path);
    make_folder(copy.parent().unwrap_or(&files))?;
    fs::copy(program, &copy).map_err(io_at("copying", program))?;
    let file = scratch.join("Containerfile");
    let text = format!("FROM scratch\nCOPY . /\nUSER 65532:65532\nENTRYPOINT [\"/{path}\"]\n");
    fs::write(&file, text).map_err(io_at("writing", &file))?;
    let mut command = buildah(scratch);
    command
        .args(["bud", "--isolation=chroot", "--timestamp=0", "--tag", image])
        .arg(format!("--file={}", file.display()))
        .arg(&files);
    run(&mut command, &format!("building {image}"))?;
    push(image, scratch)
}

fn push(image: &str, scratch: &Path) -> Result<(), ClusterError> {
    let archive = scratch.join(ARCHIVE);
    let mut command = buildah(scratch);
    command
        .args(["push", "--quiet", image])
        .arg(format!("oci-archive:{}:{image}", archive.display()));
    run(&mut command, &format!("writing the archive of {image}")).map(drop)
}

/// With a storage of its own that goes with the folder.
fn buildah(scratch: &Path) -> Command {
    let mut command = Command::new("buildah");
    command
        .args(["--storage-driver", "vfs", "--root"])
        .arg(scratch.join("storage"))
        .arg("--runroot")
        .arg(scratch.join("running"));
    command
}

fn forget_old(cache: &Path, prefix: &str) -> Result<(), ClusterError> {
    let entries = fs::read_dir(cache).map_err(io_at("reading", cache))?;
    let ours = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with(prefix))
    });
    let made = |entry: &fs::DirEntry| entry.metadata().and_then(|data| data.modified());
    let mut archives: Vec<(SystemTime, PathBuf)> = ours
        .map(|entry| Ok((made(&entry)?, entry.path())))
        .collect::<io::Result<_>>()
        .map_err(failed("looking for old archives of images"))?;
    archives.sort_unstable();
    for (_, path) in archives.iter().rev().skip(KEPT) {
        let _ = fs::remove_file(path);
    }
    Ok(())
}
