//! Who takes part, and how each is started.
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tempfile::TempDir;

use super::Job;
use super::truth::{Rows, Truth, Windows};
use crate::Failure;
use crate::contest::Verdict;
use crate::peers::{JAVA_OPTIONS, Peer, java_version, python_versions};
use crate::stack::{Role, Stack};

/// Tables like those that a Pipeline has, but for the engine's own columns.
const TABLES: [&str; 2] = [
    "CREATE TABLE per_method (window_start timestamptz, method text, count bigint, sum_metric double precision,
        min_metric double precision, max_metric double precision, PRIMARY KEY (window_start, method))",
    "CREATE TABLE events (event_id uuid, source text, ts timestamptz, user_id text, metric double precision, method text, code bigint)",
];
/// Processes of the tuned consumer: a core each.
const PROCESSES: &str = "2";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrant {
    Tidewheel,
    Flink,
    KafkaStreams,
    PythonTuned,
    PythonPlain,
}

/// An entrant with its database, whether it runs or not.
pub(super) struct Entry {
    entrant: Entrant,
    job: Job,
    url: String,
    database: PgPool,
    /// Where it may keep files, for as long as it is killed and started again.
    folder: TempDir,
    running: Option<Running>,
}

enum Running {
    Own(Role),
    Peer(Peer),
}

impl Entrant {
    /// The first one is compared with the others.
    pub(super) const ALL: [Self; 5] = [
        Self::Tidewheel,
        Self::Flink,
        Self::KafkaStreams,
        Self::PythonTuned,
        Self::PythonPlain,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tidewheel => "Tidewheel",
            Self::Flink => "Flink SQL",
            Self::KafkaStreams => "Kafka Streams",
            Self::PythonTuned => "Python, tuned",
            Self::PythonPlain => "Python, plain",
        }
    }

    /// What its consumer group is called, after the topic.
    fn group(self) -> &'static str {
        match self {
            Self::Tidewheel => "tidewheel",
            Self::Flink => "flink",
            Self::KafkaStreams => "streams",
            Self::PythonTuned => "python-tuned",
            Self::PythonPlain => "python-plain",
        }
    }

    pub(super) fn settings(self) -> Result<String, Failure> {
        Ok(match self {
            Self::Tidewheel => format!(
                "{}, one `tidewheel worker` with its defaults; exactly once",
                env!("CARGO_PKG_VERSION")
            ),
            Self::Flink => format!(
                "[bench/peers/flink](../bench/peers/flink/src/main/java/dev/tidewheel/bench/Flink.java): 2.0.0 with the connectors 4.0.1-2.0 \
                 (Kafka) and 4.0.0-2.0 (JDBC), the newest that has both; one job on a MiniCluster within the process, parallelism 2, \
                 pipeline.object-reuse, heap state, EXACTLY_ONCE checkpoints every second to a folder, watermarks by partition; JDBC sinks \
                 with buffers of 5,000 rows or 100 ms and reWriteBatchedInserts: windows upserted, rows appended; started again from the \
                 newest checkpoint; {}; {}",
                java_version()?,
                JAVA_OPTIONS.join(" ")
            ),
            Self::KafkaStreams => format!(
                "[bench/peers/streams](../bench/peers/streams/src/main/java/dev/tidewheel/bench/Streams.java): 4.3.1, exactly_once_v2 \
                 (so commit.interval.ms=100), 2 threads, window store in memory with 64 MiB of cache, max.poll.records=10000, \
                 session.timeout.ms=6000, producers with lz4, linger.ms=5 and batch.size=256 KiB; each change of a window is emitted, and \
                 grace is a day, or events of partitions that are behind would be dropped; a read_committed consumer in the same process \
                 copies rows (COPY) and windows (upsert that replaces) from its topics, with offsets in the same transaction of PostgreSQL; \
                 {}; {}",
                java_version()?,
                JAVA_OPTIONS.join(" ")
            ),
            Self::PythonTuned => format!(
                "[consumer_tuned.py](../bench/peers/python/consumer_tuned.py): {PROCESSES} processes, uvloop, batches of up to 10,000 or \
                 50 ms, orjson, COPY in binary format, windows added up in the database by the text of their timestamps (no event time, no \
                 watermark), session.timeout.ms=6000; offsets committed after the rows; {}",
                python_versions(&["confluent-kafka", "orjson", "asyncpg", "uvloop"])?
            ),
            Self::PythonPlain => format!(
                "[consumer_plain.py](../bench/peers/python/consumer_plain.py): one process, json, batches of up to 500, INSERT with \
                 executemany, windows added up in the database; offsets committed after the rows; {}",
                python_versions(&["aiokafka", "asyncpg"])?
            ),
        })
    }

    /// Makes what it needs to work on the events of the topic that was deployed last.
    pub(super) async fn enter(self, stack: &Stack, job: Job) -> Result<Entry, Failure> {
        let url = match self {
            Self::Tidewheel => stack.url(),
            Self::Flink | Self::KafkaStreams | Self::PythonTuned | Self::PythonPlain => {
                stack.another_database()?
            }
        };
        let database = PgPoolOptions::new()
            .max_connections(1)
            .connect(&url)
            .await?;
        if self != Self::Tidewheel {
            for table in TABLES {
                sqlx::query(table).execute(&database).await?;
            }
        }
        Ok(Entry {
            entrant: self,
            job,
            url,
            database,
            folder: tempfile::tempdir()?,
            running: None,
        })
    }
}

impl Entry {
    /// Starts it, or starts it again where it was.
    pub(super) fn start(&mut self, stack: &Stack) -> Result<(), Failure> {
        let (topic, kafka) = (stack.topic(), stack.kafka.bootstrap());
        // Each reads everything: nobody goes on where another one was.
        let group = format!("{topic}.{}", self.entrant.group());
        let place = [
            "--kafka",
            kafka,
            "--topic",
            &topic,
            "--group",
            &group,
            "--database",
            &self.url,
            "--job",
            self.job.argument(),
        ];
        self.running = Some(match self.entrant {
            Entrant::Tidewheel => Running::Own(stack.role("worker", &[])?),
            Entrant::Flink => {
                let folder = self.folder.path().to_string_lossy();
                let arguments = [&place[..], &["--state", &folder]].concat();
                Running::Peer(Peer::java(
                    "flink",
                    "dev.tidewheel.bench.Flink",
                    &arguments,
                )?)
            }
            Entrant::KafkaStreams => {
                let folder = self.folder.path().to_string_lossy();
                let arguments = [&place[..], &["--state", &folder]].concat();
                Running::Peer(Peer::java(
                    "streams",
                    "dev.tidewheel.bench.Streams",
                    &arguments,
                )?)
            }
            Entrant::PythonTuned => {
                let more = ["--processes", PROCESSES];
                Running::Peer(Peer::python(
                    "consumer_tuned.py",
                    &[&place[..], &more].concat(),
                )?)
            }
            Entrant::PythonPlain => Running::Peer(Peer::python("consumer_plain.py", &place)?),
        });
        Ok(())
    }

    /// Kills it (SIGKILL), with everything that it has started.
    pub(super) fn kill(&mut self) {
        self.running = None;
    }

    /// Gives its place on the disk back.
    pub(super) async fn leave(mut self, stack: &Stack) -> Result<(), Failure> {
        self.kill();
        self.database.close().await;
        stack.drop_database(&self.url)
    }

    /// # Errors
    /// When it has ended by itself.
    pub(super) fn still_runs(&mut self) -> Result<(), Failure> {
        match &mut self.running {
            Some(Running::Peer(peer)) => peer.still_runs(),
            Some(Running::Own(_)) | None => Ok(()),
        }
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        match &self.running {
            Some(Running::Own(role)) => role.id(),
            Some(Running::Peer(peer)) => peer.id(),
            None => 0,
        }
    }

    pub(super) fn peak_bytes(&self) -> u64 {
        match &self.running {
            Some(Running::Own(role)) => role.usage().peak_bytes,
            Some(Running::Peer(peer)) => peer.peak_bytes(),
            None => 0,
        }
    }

    pub(super) fn database(&self) -> &PgPool {
        &self.database
    }

    /// How many events are in windows that are committed.
    pub(super) async fn covered(&self, truth: &Truth) -> Result<u64, Failure> {
        let sql = "SELECT coalesce(sum(count), 0)::bigint FROM per_method WHERE window_start < to_timestamp($1)";
        let covered: i64 = sqlx::query_scalar(sql)
            .bind(truth.end_ms as f64 / 1e3)
            .fetch_one(&self.database)
            .await?;
        Ok(covered.unsigned_abs())
    }

    /// How many rows the table of every event has.
    pub(super) async fn rows(&self) -> Result<u64, Failure> {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
            .fetch_one(&self.database)
            .await?;
        Ok(rows.unsigned_abs())
    }

    /// What is wrong with the result.
    pub(super) async fn judge(&self, truth: &Truth) -> Result<Verdict, Failure> {
        let sql = "SELECT (extract(epoch FROM window_start) * 1000)::bigint, method, count FROM per_method WHERE window_start < to_timestamp($1)";
        let found = sqlx::query(sql)
            .bind(truth.end_ms as f64 / 1e3)
            .fetch_all(&self.database)
            .await?;
        let window = |row: &sqlx::postgres::PgRow| {
            let count: i64 = row.get(2);
            ((row.get(0), row.get(1)), count.unsigned_abs())
        };
        let found: Windows = found.iter().map(window).collect();
        let rows = match self.job {
            Job::Windows => None,
            Job::RowsAndWindows => {
                let sql = "SELECT count(*), count(DISTINCT event_id) FROM events";
                let row = sqlx::query(sql).fetch_one(&self.database).await?;
                let [all, different]: [i64; 2] = [row.get(0), row.get(1)];
                Some(Rows {
                    all: all.unsigned_abs(),
                    different: different.unsigned_abs(),
                })
            }
        };
        Ok(truth.judge(&found, rows))
    }
}
