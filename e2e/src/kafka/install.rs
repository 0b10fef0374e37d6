//! Where Kafka is, and how its programs are called.
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    cache,
    kafka::{Java, SERVER, Secure, settings},
    process,
    server::{ServerError, io},
};

/// The version that `scripts/servers.sh` fetches.
pub const VERSION: &str = "4.3.1";
/// For tests: quick to start and small rather than fast.
const QUICK: [&str; 3] = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
/// As `kafka-server-start.sh` and `kafka-run-class.sh` have it.
const AS_SHIPPED: [&str; 6] = [
    "-Xms1G",
    "-Xmx1G",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];
const JAVA_OPTIONS: [&str; 3] = [
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
];
/// KRaft wants one; there is never a second cluster in the folder.
const CLUSTER_ID: &str = "dGlkZXdoZWVsLXRlc3RzIQ";

/// Kafka's jars.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    class_path: PathBuf,
}

impl Installation {
    pub(crate) fn find() -> Result<Self, ServerError> {
        let folder = cache::folder()?.join(format!("kafka-{VERSION}"));
        if !folder.join("complete").is_file() {
            let what = format!("there is no Kafka in {}", folder.display());
            return Err(ServerError::NotInstalled { what });
        }
        Ok(Self {
            class_path: folder.join("*"),
        })
    }

    /// Where the jars are, as a class path.
    pub(crate) fn class_path(&self) -> &Path {
        &self.class_path
    }

    /// Prepares a broker's folder.
    pub(crate) fn format(
        &self,
        folder: &Path,
        secure: Option<&Secure>,
        users: &[String],
    ) -> Result<(), ServerError> {
        let mut command = self.java(Java::Quick, "kafka.tools.StorageTool");
        command
            .args(["format", "--cluster-id", CLUSTER_ID, "--config"])
            .arg(settings::file(folder));
        if let Some(Secure { user, password, .. }) = secure {
            for user in users.iter().map(String::as_str).chain([*user]) {
                command.arg("--add-scram");
                command.arg(format!("SCRAM-SHA-512=[name={user},password={password}]"));
            }
        }
        let output = command.stdin(Stdio::null()).output().map_err(|error| {
            let what = format!("java cannot be run ({error})");
            ServerError::NotInstalled { what }
        })?;
        if output.status.success() {
            return Ok(());
        }
        let log = folder.join("format.log");
        std::fs::write(&log, [output.stdout, output.stderr].concat())
            .map_err(io("keeping what the storage tool said"))?;
        Err(ServerError::Server {
            server: SERVER,
            what: "could not prepare its folder".to_owned(),
            log: process::end_of(&log),
        })
    }

    /// The broker of a folder.
    pub(crate) fn broker(&self, folder: &Path, java: Java) -> Command {
        let mut command = self.java(java, "kafka.Kafka");
        command.arg(settings::file(folder));
        command
    }

    fn java(&self, java: Java, class: &str) -> Command {
        let mut command = Command::new("java");
        let options: &[&str] = match java {
            Java::Quick => &QUICK,
            Java::AsShipped => &AS_SHIPPED,
        };
        command
            .args(options)
            .args(JAVA_OPTIONS)
            .arg("-cp")
            .arg(&self.class_path)
            .arg(class);
        command
    }
}
