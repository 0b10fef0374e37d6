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
mod permissions;
mod settings;
mod unended;

use std::{net::SocketAddr, path::PathBuf, sync::OnceLock, time::Duration};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};

use crate::{
    kafka::{install::Installation, settings::Ports},
    server::ServerError,
    supervised::Supervised,
    usage::Usage,
};

pub use self::{
    install::VERSION,
    permissions::{Operation, Resource},
};

/// What it is called in messages.
const SERVER: &str = "the broker";

/// What Java is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Java {
    /// A quick start and little memory: code is compiled simply and once.
    #[default]
    Quick,
    /// What Kafka's own scripts start it with, for measurements. It gets to its speed within a minute or two of work.
    AsShipped,
}

/// What a broker is started with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What its Java is started with.
    pub java: Java,
    /// Whether there is also a listener with TLS and SASL/SCRAM; see [`Kafka::secure`].
    pub secure: bool,
    /// The port on loopback; a free one unless given.
    pub port: Option<u16>,
    /// One more listener that asks for nothing.
    pub also: Option<Listener>,
    /// Further users of that listener, with the same password.
    pub users: Vec<String>,
    /// Broker properties that come last.
    pub properties: Vec<(String, String)>,
}

/// A listener beyond loopback.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Where it listens.
    pub bind: SocketAddr,
    /// What clients are told to connect to: `HOST:PORT`.
    pub advertised: String,
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

/// The class path of Kafka's programs, for whoever starts a broker in another way.
///
/// # Errors
/// [`ServerError::NotInstalled`] where Kafka was not fetched.
pub fn class_path() -> Result<PathBuf, ServerError> {
    Ok(Installation::find()?.class_path().to_owned())
}

/// A broker. When it is dropped, or the process that started it ends in whatever way, it is killed and its folder removed.
pub struct Kafka {
    installation: Installation,
    java: Java,
    server: Supervised,
    bootstrap: String,
    secure: Option<Secure>,
}

impl Kafka {
    /// Makes a broker in a folder of its own and waits until it answers; about 5 seconds.
    ///
    /// # Errors
    /// [`ServerError::NotInstalled`] where Kafka was not fetched or there is no Java, [`ServerError::Server`] where it does
    /// not answer within two minutes.
    pub fn start(options: Options) -> Result<Self, ServerError> {
        let installation = Installation::find()?;
        Supervised::attempt(|| Self::try_start(&installation, &options))
    }

    fn try_start(installation: &Installation, options: &Options) -> Result<Self, ServerError> {
        let server = Supervised::new(SERVER, "tidewheel-kafka-")?;
        let ports = Ports::free(options.port)?;
        let secure = options
            .secure
            .then(|| settings::make_secure(server.folder(), ports))
            .transpose()?;
        settings::write(server.folder(), ports, options)?;
        installation.format(server.folder(), secure.as_ref(), &options.users)?;
        let mut kafka = Self {
            installation: installation.clone(),
            java: options.java,
            server,
            bootstrap: ports.bootstrap(),
            secure,
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

    /// Permits a user something, where the broker has an authorizer to which `User:ANONYMOUS` is a super user.
    ///
    /// # Errors
    /// [`ServerError::Server`] where the broker does not do it.
    pub fn allow(
        &self,
        user: &str,
        resource: Resource<'_>,
        operations: &[Operation],
    ) -> Result<(), ServerError> {
        let answer = permissions::allow(&self.bootstrap, user, resource, operations);
        let answer = answer.unwrap_or_else(|error| Err(error.to_string()));
        answer.map_err(|reason| self.server.failed(&format!("did not permit it: {reason}")))
    }

    /// What the broker has used of the machine since it was started.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.server.usage()
    }

    /// Stops the broker in good order. Its data stay.
    ///
    /// # Errors
    /// [`ServerError::Server`] where it does not stop within half a minute.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.server.stop("TERM")
    }

    /// Kills the broker (SIGKILL). Its data stay as they are.
    ///
    /// # Errors
    /// [`ServerError::Io`] where the system refuses.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.server.kill()
    }

    /// Starts a broker that was stopped or killed, on the same data and ports, and waits until it answers.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "100")
            .set("log_level", "0")
            .create()
            .map_err(|error| self.server.failed(&format!("cannot be asked: {error}")))?;
        let command = self.installation.broker(self.server.folder(), self.java);
        self.server.start(command, || {
            let answer = client.fetch_metadata(None, Duration::from_millis(500));
            Ok(answer.is_ok_and(|answer| !answer.brokers().is_empty()))
        })
    }

    /// Takes the end of the last transaction from a partition of a broker that was killed: started again, it takes that transaction for
    /// complete and its records there for undecided (KAFKA-20734).
    ///
    /// # Errors
    /// [`ServerError::Server`] where the partition does not end with the end of a transaction.
    pub fn forget_end(&self, topic: &str, partition: i32) -> Result<(), ServerError> {
        match unended::take_end(self.server.folder(), topic, partition)? {
            true => Ok(()),
            false => Err(self
                .server
                .failed("has no transaction that ended last there")),
        }
    }

    /// Holds the broker (SIGSTOP): it keeps its connections and answers nobody.
    ///
    /// # Errors
    /// [`ServerError::Io`] where the system refuses.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.server.pause()
    }

    /// Lets a held broker go on (SIGCONT).
    ///
    /// # Errors
    /// [`ServerError::Io`] where the system refuses.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.server.resume()
    }
}
