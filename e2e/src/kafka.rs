//! A Kafka broker: one node, KRaft, its settings those of a test that has no time to lose.
//! ```no_run
//! use tidewheel_e2e::{ServerError, kafka::{Kafka, Options}};
//!
//! # fn run() -> Result<(), ServerError> {
//! let mut kafka = Kafka::start(Options::default())?;
//! println!("bootstrap.servers={}", kafka.bootstrap());
//! kafka.kill()?;
//! kafka.start_again()?; // the same data, the same ports
//! # Ok(())
//! # }
//! ```
mod install;
mod settings;

use std::{
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use tempfile::TempDir;

use crate::{
    kafka::{install::Installation, settings::Ports},
    process::{self, Process},
    server::{ServerError, io},
};

/// What it is called in messages.
const SERVER: &str = "the broker";

/// How long a broker may take to answer, on a machine that has other things to do.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);
/// How long a broker may take to stop when it is told to.
const STOPS_WITHIN: Duration = Duration::from_secs(30);
/// How often a broker whose ports were taken by somebody else in between is tried with others.
const ATTEMPTS: usize = 3;

/// What a broker is started with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether there is also a listener with TLS and SASL/SCRAM; see [`Kafka::secure`].
    pub secure: bool,
    /// Broker properties that come last.
    pub properties: Vec<(String, String)>,
}

/// How to reach the listener with TLS and SASL/SCRAM-SHA-512.
#[derive(Debug, Clone)]
pub struct Secure {
    /// `bootstrap.servers`.
    pub bootstrap: String,
    /// `sasl.username`.
    pub user: &'static str,
    /// `sasl.password`.
    pub password: &'static str,
    /// The certificate that the broker shows, which nobody else has signed; for `ssl.ca.pem`.
    pub certificate_pem: String,
}

/// A broker. When it is dropped, or the process that started it ends in whatever way, it is killed and its folder removed.
pub struct Kafka {
    installation: Installation,
    folder: TempDir,
    bootstrap: String,
    secure: Option<Secure>,
    process: Option<Process>,
}

impl Kafka {
    /// Makes a broker in a folder of its own and waits until it answers; about 5 seconds.
    ///
    /// # Errors
    /// [`ServerError::NotInstalled`] where Kafka was not fetched or there is no Java, [`ServerError::Server`] where it does
    /// not answer within two minutes.
    pub fn start(options: Options) -> Result<Self, ServerError> {
        let installation = Installation::find()?;
        let mut attempt = 1;
        loop {
            match Self::try_start(&installation, &options) {
                Err(ServerError::Server { .. }) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    fn try_start(installation: &Installation, options: &Options) -> Result<Self, ServerError> {
        let folder = tempfile::Builder::new()
            .prefix("tidewheel-kafka-")
            .tempdir()
            .map_err(io("making the broker's folder"))?;
        let ports = Ports::free()?;
        let secure = options
            .secure
            .then(|| settings::make_secure(folder.path(), ports))
            .transpose()?;
        settings::write(folder.path(), ports, options)?;
        installation.format(folder.path(), secure.as_ref())?;
        let mut kafka = Self {
            installation: installation.clone(),
            folder,
            bootstrap: ports.bootstrap(),
            secure,
            process: None,
        };
        kafka.start_again()?;
        Ok(kafka)
    }

    /// The broker that all tests of a process share; it ends with the process. Tests keep apart by the names of their topics.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub fn shared() -> Result<&'static Self, &'static ServerError> {
        static SHARED: OnceLock<Result<Kafka, ServerError>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start(Options::default()))
            .as_ref()
    }

    /// `bootstrap.servers` of the listener that asks for nothing.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The listener with TLS and SASL, where [`Options::secure`] asked for it.
    #[must_use]
    pub fn secure(&self) -> Option<&Secure> {
        self.secure.as_ref()
    }

    /// Stops the broker in good order. Its data stay.
    ///
    /// # Errors
    /// [`ServerError::Server`] where it does not stop within half a minute.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        process.terminate("TERM")?;
        let deadline = Instant::now() + STOPS_WITHIN;
        while !process.has_ended()? {
            if Instant::now() > deadline {
                return Err(self.failed("did not stop"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills the broker (SIGKILL). Its data stay as they are.
    ///
    /// # Errors
    /// [`ServerError::Io`] where the system refuses.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.process.take().map_or(Ok(()), Process::kill)
    }

    /// Starts a broker that was stopped or killed, on the same data and ports, and waits until it answers.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        if self.process.is_some() {
            return Ok(());
        }
        let command = self.installation.broker(self.folder.path());
        self.process = Some(Process::spawn(
            command,
            self.folder.path(),
            &self.log_file(),
        )?);
        self.wait_until_it_answers()
    }

    /// Holds the broker (SIGSTOP): it keeps its connections and answers nobody.
    ///
    /// # Errors
    /// [`ServerError::Io`] where the system refuses.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.process
            .as_ref()
            .map_or(Ok(()), |process| process.signal("STOP"))
    }

    /// Lets a held broker go on (SIGCONT).
    ///
    /// # Errors
    /// [`ServerError::Io`] where the system refuses.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.process
            .as_ref()
            .map_or(Ok(()), |process| process.signal("CONT"))
    }

    fn wait_until_it_answers(&mut self) -> Result<(), ServerError> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "100")
            .set("log_level", "0")
            .create()
            .map_err(|error| self.failed(&format!("cannot be asked: {error}")))?;
        let deadline = Instant::now() + ANSWERS_WITHIN;
        loop {
            let answer = client.fetch_metadata(None, Duration::from_millis(500));
            if answer.is_ok_and(|answer| !answer.brokers().is_empty()) {
                return Ok(());
            }
            let ended = match &mut self.process {
                Some(process) => process.has_ended()?,
                None => true,
            };
            if ended {
                self.process = None;
                return Err(self.failed("ended while starting"));
            }
            if Instant::now() > deadline {
                return Err(self.failed("did not answer"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("broker.log")
    }

    fn failed(&self, what: &str) -> ServerError {
        ServerError::Server {
            server: SERVER,
            what: what.to_owned(),
            log: process::end_of(&self.log_file()),
        }
    }
}
