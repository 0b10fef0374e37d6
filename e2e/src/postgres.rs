//! A PostgreSQL server, its settings those of a test that has no time to lose.
//! ```no_run
//! use tidewheel_e2e::{ServerError, postgres::{Options, Postgres}};
//!
//! # fn run() -> Result<(), ServerError> {
//! let mut postgres = Postgres::start(Options::default())?;
//! postgres.sql("postgres", "CREATE TABLE t (n int)")?;
//! let before = postgres.save()?;
//! postgres.sql("postgres", "INSERT INTO t VALUES (1)")?;
//! postgres.set_back(&before)?; // the row is gone, as after a failover that lost it
//! println!("{}", postgres.url("postgres"));
//! # Ok(())
//! # }
//! ```
mod certificates;
mod install;

use std::{
    fmt::Write as _,
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

pub use self::certificates::Tls;
use crate::{
    ports,
    postgres::install::Installation,
    server::{ServerError, io},
    supervised::Supervised,
    usage::Usage,
};

/// What it is called in messages.
const SERVER: &str = "PostgreSQL";
/// The role that owns everything.
const USER: &str = "tidewheel";
/// Its first password. What must be escaped in a URL is part of it.
const PASSWORD: &str = "correct horse: battery@staple/%";

/// What a server is started with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether it also takes TLS; see [`Postgres::tls`].
    pub tls: bool,
    /// The port; a free one unless given.
    pub port: Option<u16>,
    /// Addresses beside loopback at which it can be reached, with the password, from anywhere.
    pub also: Vec<IpAddr>,
    /// Settings that come last, such as `("max_connections", "20")`.
    pub settings: Vec<(String, String)>,
}

/// A server. When it is dropped, or the process that started it ends in whatever way, it is killed and its folder removed.
pub struct Postgres {
    installation: Installation,
    server: Supervised,
    port: u16,
    password: String,
    tls: Option<Tls>,
    /// How many databases and copies were made.
    made: AtomicUsize,
}

/// A copy of all data of a server.
#[derive(Debug, Clone)]
pub struct Saved(PathBuf);

impl Postgres {
    /// Makes a server in a folder of its own and waits until it answers; about 3 seconds.
    ///
    /// # Errors
    /// [`ServerError::NotInstalled`] where there is no PostgreSQL, [`ServerError::Server`] where it does not answer within two minutes.
    pub fn start(options: Options) -> Result<Self, ServerError> {
        let installation = Installation::find()?;
        Supervised::attempt(|| Self::try_start(&installation, &options))
    }

    fn try_start(installation: &Installation, options: &Options) -> Result<Self, ServerError> {
        let server = Supervised::new(SERVER, "tidewheel-postgres-")?;
        let [free] = ports::free()?;
        let port = options.port.unwrap_or(free);
        let tls = options
            .tls
            .then(|| certificates::make(server.folder()))
            .transpose()?;
        let mut postgres = Self {
            installation: installation.clone(),
            server,
            port,
            password: PASSWORD.to_owned(),
            tls,
            made: AtomicUsize::new(0),
        };
        postgres.make_data(options)?;
        postgres.start_again()?;
        Ok(postgres)
    }

    fn make_data(&self, options: &Options) -> Result<(), ServerError> {
        let folder = self.server.folder();
        let password = folder.join("password");
        std::fs::write(&password, &self.password).map_err(io("writing the first password"))?;
        self.installation.hand_over(folder, folder)?;
        self.installation.init(folder, &self.data(), &password)?;
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(self.data().join("postgresql.conf"))
            .map_err(io("opening the server's settings"))?;
        file.write_all(self.settings(options).as_bytes())
            .map_err(io("writing the server's settings"))?;
        if options.also.is_empty() {
            return Ok(());
        }
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(self.data().join("pg_hba.conf"))
            .map_err(io("opening the server's list of clients"))?;
        writeln!(file, "host all all all scram-sha-256")
            .map_err(io("writing the server's list of clients"))
    }

    /// What survives here is the death of processes, not that of the machine.
    fn settings(&self, options: &Options) -> String {
        let addresses = options.also.iter().map(|address| format!(", {address}"));
        let addresses = format!("127.0.0.1{}", addresses.collect::<String>());
        let mut text = format!(
            "
listen_addresses = '{addresses}'
port = {}
unix_socket_directories = ''
fsync = off
full_page_writes = off
jit = off
lc_messages = 'C'
log_lock_waits = on
",
            self.port
        );
        if self.tls.is_some() {
            let folder = self.server.folder();
            let (certificate, key) = (certificates::certificate(folder), certificates::key(folder));
            let _ = writeln!(
                text,
                "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'",
                certificate.display(),
                key.display()
            );
        }
        for (name, value) in &options.settings {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        }
        text
    }

    /// The server that all tests of a process share; it ends with the process. Tests keep apart by [databases](Self::database).
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn shared() -> Result<&'static Self, &'static ServerError> {
        static SHARED: OnceLock<Result<Postgres, ServerError>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start(Options::default()))
            .as_ref()
    }

    /// Makes an empty database and returns its name.
    ///
    /// # Errors
    /// [`ServerError::Server`] where the server refuses.
    pub fn database(&self) -> Result<String, ServerError> {
        let name = format!("test_{}", self.number());
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(name)
    }

    /// The URL of a database, for the role that owns everything. `sslmode` and the like may be added after a `?`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_at("127.0.0.1", self.port, database)
    }

    /// The URL of a database that is reached at another address, such as a proxy's.
    #[must_use]
    pub fn url_at(&self, host: &str, port: u16, database: &str) -> String {
        let password = percent_encoded(&self.password);
        format!("postgres://{USER}:{password}@{host}:{port}/{database}")
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of now.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// What clients need for TLS, where [`Options::tls`] asked for it.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Gives the role another password; connections that there are stay.
    ///
    /// # Errors
    /// [`ServerError::Server`] where the server refuses.
    pub fn set_password(&mut self, password: &str) -> Result<(), ServerError> {
        let quoted = password.replace('\'', "''");
        self.sql(
            "postgres",
            &format!("ALTER ROLE {USER} PASSWORD '{quoted}'"),
        )?;
        self.password = password.to_owned();
        Ok(())
    }

    /// Runs SQL as another program would, each statement on its own, and returns what `psql` prints: a line for each row, its
    /// columns parted by `|`.
    ///
    /// # Errors
    /// [`ServerError::Server`] where the server refuses; it says why.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, ServerError> {
        answer(self.psql(database), sql)
    }

    /// What the server has used of the machine since it was started.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.server.usage()
    }

    /// Gives a folder to whoever runs the server, as a tablespace needs it.
    ///
    /// # Errors
    /// [`ServerError::Server`] where that is not allowed.
    pub fn hand_over(&self, folder: &Path) -> Result<(), ServerError> {
        self.installation.hand_over(self.server.folder(), folder)
    }

    /// Stops the server in good order, but without waiting for its clients. Its data stay.
    ///
    /// # Errors
    /// [`ServerError::Server`] where it does not stop within half a minute.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.server.stop("INT")
    }

    /// Kills the server and all its processes (SIGKILL). Its data stay as they are.
    ///
    /// # Errors
    /// [`ServerError::Io`] where the system refuses.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.server.kill()
    }

    /// Starts a server that was stopped or killed, on the same data and port, and waits until it answers.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        let command = self.installation.server(&self.data());
        let mut question = self.psql("postgres");
        question
            .args(["--command", "SELECT 1"])
            .stderr(Stdio::null())
            .stdout(Stdio::null());
        self.server.start(command, || {
            let answer = question.status().map_err(io("running psql"))?;
            Ok(answer.success())
        })
    }

    /// Holds the server and all its processes (SIGSTOP): it keeps its connections and answers nobody.
    ///
    /// # Errors
    /// [`ServerError::Io`] where the system refuses.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.server.pause()
    }

    /// Lets a held server go on (SIGCONT).
    ///
    /// # Errors
    /// [`ServerError::Io`] where the system refuses.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.server.resume()
    }

    /// Copies all data as they are at this moment; clients only notice that it takes a while.
    ///
    /// # Errors
    /// [`ServerError::Server`] where the data cannot be copied.
    pub fn save(&self) -> Result<Saved, ServerError> {
        let saved = self
            .server
            .folder()
            .join(format!("saved-{}", self.number()));
        self.pause()?;
        let copied = self.copy(&self.data(), &saved);
        self.resume()?;
        copied?;
        Ok(Saved(saved))
    }

    /// Sets the server back to a copy: it is killed, and starts again with the data of then.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn set_back(&mut self, to: &Saved) -> Result<(), ServerError> {
        self.kill()?;
        std::fs::remove_dir_all(self.data()).map_err(io("removing the server's data"))?;
        self.copy(&to.0, &self.data())?;
        self.start_again()
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<(), ServerError> {
        let mut command = Command::new("cp");
        command.arg("-a").arg(from).arg(to);
        install::run(command, self.server.folder(), "could not be copied")?;
        // It would name a process that is not this copy's.
        match std::fs::remove_file(to.join("postmaster.pid")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io("removing a process's mark from a copy")(error))
            }
            _ => Ok(()),
        }
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = self.installation.psql();
        command
            .args(["--host", "127.0.0.1", "--username", USER])
            .args(["--port", &self.port.to_string(), "--dbname", database])
            .env("PGPASSWORD", &self.password)
            .env("PGCONNECT_TIMEOUT", "5")
            .stdin(Stdio::null());
        command
    }

    fn data(&self) -> PathBuf {
        self.server.folder().join("data")
    }

    fn number(&self) -> usize {
        self.made.fetch_add(1, Ordering::Relaxed)
    }
}

/// The folder of PostgreSQL's programs, for whoever starts a server in another way.
///
/// # Errors
/// [`ServerError::NotInstalled`] where there is none that is new enough.
pub fn programs() -> Result<PathBuf, ServerError> {
    Ok(Installation::find()?.programs().to_owned())
}

/// Runs SQL on the database at a URL, as [`Postgres::sql`] does.
///
/// # Errors
/// [`ServerError::Server`] where the server refuses; it says why.
pub fn query(url: &str, sql: &str) -> Result<String, ServerError> {
    let mut command = Installation::find()?.psql();
    command.args(["--dbname", url]).stdin(Stdio::null());
    answer(command, sql)
}

/// What a `psql` prints that runs SQL.
fn answer(mut command: Command, sql: &str) -> Result<String, ServerError> {
    let output = command
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
        .args(["--set", "ON_ERROR_STOP=1", "--command"])
        .arg(sql)
        .output()
        .map_err(io("running psql"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned());
    }
    Err(ServerError::Server {
        server: SERVER,
        what: format!("refused {sql}"),
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Everything but letters and digits as `%XX`.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
