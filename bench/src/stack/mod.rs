//! A real Kafka, a real PostgreSQL, and the roles of the program as processes of their own, as a cluster has them.
mod meter;
mod role;
mod topic;

use std::path::{Path, PathBuf};
use std::process::Command;

use rdkafka::ClientConfig;
use sqlx::postgres::PgPool;
use tempfile::TempDir;
use tidewheel_e2e::{Usage, kafka, postgres};

pub(crate) use self::meter::Meter;
pub(crate) use self::role::Role;
pub(crate) use self::topic::{Topic, send};
use crate::Failure;

/// Servers, the pipeline that they know, and what a pod would have mounted.
pub(crate) struct Stack {
    pub(crate) kafka: kafka::Kafka,
    pub(crate) postgres: postgres::Postgres,
    folder: TempDir,
    /// The pipeline's.
    namespace: String,
    /// Name of the database that has the pipeline's tables.
    database: String,
    deployed: usize,
}

/// What the servers have used of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) kafka: Usage,
    pub(crate) postgres: Usage,
}

impl Stack {
    /// Starts the servers.
    pub(crate) fn start() -> Result<Self, Failure> {
        Ok(Self {
            kafka: kafka::Kafka::start(as_shipped())?,
            postgres: postgres::Postgres::start(durable())?,
            folder: tempfile::tempdir()?,
            namespace: String::new(),
            database: String::new(),
            deployed: 0,
        })
    }

    /// Makes the topics and tables of a pipeline, whose resources are made for a namespace, in the place of the one before.
    pub(crate) fn deploy(&mut self, resources: impl FnOnce(&str) -> String) -> Result<(), Failure> {
        self.deployed += 1;
        self.namespace = format!("bench{}", self.deployed);
        self.database = self.postgres.database()?;
        let secret = self.folder.path().join("secrets/warehouse");
        std::fs::create_dir_all(&secret)?;
        std::fs::write(secret.join("url"), self.postgres.url(&self.database))?;
        std::fs::write(self.specs(), resources(&self.namespace))?;
        self.provision()
    }

    /// The pipeline's topic.
    pub(crate) fn topic(&self) -> String {
        format!("{}.clicks", self.namespace)
    }

    fn specs(&self) -> PathBuf {
        self.folder.path().join("bench.yaml")
    }

    fn provision(&self) -> Result<(), Failure> {
        let mut command = Command::new(program()?);
        command.arg("provision").arg(self.specs());
        let output = self.places(&mut command).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into())
    }

    /// Starts a role and waits until it serves its metrics.
    pub(crate) fn role(&self, role: &str, more: &[&str]) -> Result<Role, Failure> {
        let mut command = Command::new(program()?);
        command.arg(role).arg("--specs").arg(self.specs());
        command.args(["--operations", "127.0.0.1:0"]).args(more);
        Role::start(self.places(&mut command))
    }

    fn places<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .args(["--kafka", self.kafka.bootstrap()])
            .arg("--secrets")
            .arg(self.folder.path().join("secrets"))
    }

    /// The URL of the database that has the pipeline's tables.
    pub(crate) fn url(&self) -> String {
        self.postgres.url(&self.database)
    }

    /// Makes another database, which is empty, and returns its URL.
    pub(crate) fn another_database(&self) -> Result<String, Failure> {
        Ok(self.postgres.url(&self.postgres.database()?))
    }

    /// Removes the database of a URL that was returned by one of these.
    pub(crate) fn drop_database(&self, url: &str) -> Result<(), Failure> {
        let (_, name) = url.rsplit_once('/').ok_or("the URL names no database")?;
        self.postgres
            .sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"))?;
        Ok(())
    }

    /// A connection of each of `connections` to the database that has the pipeline's tables.
    pub(crate) async fn database(&self, connections: u32) -> Result<PgPool, Failure> {
        let options = sqlx::postgres::PgPoolOptions::new().max_connections(connections);
        Ok(options.connect(&self.url()).await?)
    }

    /// What every client of the measurements is configured with.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.kafka.bootstrap());
        config
    }

    pub(crate) fn used(&self) -> Used {
        Used {
            kafka: self.kafka.usage(),
            postgres: self.postgres.usage(),
        }
    }
}

/// A broker as people run it, who do not have the haste of tests.
fn as_shipped() -> kafka::Options {
    let settings = [
        ("log.initial.task.delay.ms", "30000"),
        ("log.retention.check.interval.ms", "300000"),
        ("log.cleaner.backoff.ms", "15000"),
    ];
    kafka::Options {
        java: kafka::Java::AsShipped,
        properties: owned(&settings),
        ..kafka::Options::default()
    }
}

/// Settings of a database that people would keep their data in, with room for a burst of writes between checkpoints.
fn durable() -> postgres::Options {
    let settings = [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("shared_buffers", "1GB"),
        ("max_wal_size", "8GB"),
        ("checkpoint_timeout", "15min"),
        ("track_commit_timestamp", "on"),
    ];
    postgres::Options {
        settings: owned(&settings),
        ..postgres::Options::default()
    }
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    settings.iter().map(owned).collect()
}

/// The program, which is built beside this one.
fn program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let program = own.parent().unwrap_or(Path::new(".")).join("tidewheel");
    if program.exists() {
        return Ok(program);
    }
    Err(format!("{} is not there: run `make bench`", program.display()).into())
}
