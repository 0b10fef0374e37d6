//! Images that a Docker engine builds.
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::cluster::{
    error::{ClusterError, io_at},
    images::ARCHIVE,
    run::{run, write},
};

/// What takes the place of the stages before the last: the files that they would have made. Not every engine knows `--build-context`.
const MADE: &str = "FROM scratch AS build\nCOPY . /\n";
/// How the last stage begins.
const LAST: &str = "\nFROM scratch\n";

/// Builds an image of the last stage of a Dockerfile and `files` that the others would have made, and writes its archive.
pub(super) fn build(
    image: &str,
    dockerfile: &Path,
    files: &Path,
    scratch: &Path,
) -> Result<(), ClusterError> {
    let text = fs::read_to_string(dockerfile).map_err(io_at("reading", dockerfile))?;
    let file = scratch.join("Dockerfile");
    write(&file, &of_last_stage(&text))?;
    let mut command = docker("build");
    command
        // Whoever loads the archive would look for what they tell of.
        .env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1")
        .args(["--quiet", "--tag", image, "--file"])
        .args([&file, files]);
    run(&mut command, "docker build")?;
    let mut command = docker("save");
    command
        .arg("--output")
        .arg(scratch.join(ARCHIVE))
        .arg(image);
    let saved = run(&mut command, "docker save");
    // The archive is all that is needed of it.
    let _ = docker("image")
        .args(["rm", image])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    saved.map(drop)
}

fn docker(what: &str) -> Command {
    let mut command = Command::new("docker");
    command.arg(what);
    command
}

fn of_last_stage(dockerfile: &str) -> String {
    let last = dockerfile.rfind(LAST).map_or(0, |start| start + 1);
    format!("{MADE}{}", &dockerfile[last..])
}

#[cfg(test)]
mod tests {
    use super::of_last_stage;

    #[test]
    fn docker_builds_the_last_stage_of_the_dockerfile_from_files_that_are_made() {
        insta::assert_snapshot!(of_last_stage(include_str!("../../../../Dockerfile")), @r#"
        FROM scratch AS build
        COPY . /
        FROM scratch
        COPY --from=build /image/ /
        # By number: a pod that may not run as root is judged by it.
        USER 65532:65532
        ENTRYPOINT ["/usr/bin/tidewheel"]
        "#);
    }
}
