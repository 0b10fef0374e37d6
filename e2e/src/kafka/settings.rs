//! The properties of a broker for tests.
use std::path::{Path, PathBuf};

use crate::{
    kafka::{Listener, Options, Secure},
    ports,
    server::{ServerError, io},
};

const USER: &str = "tidewheel";
const PASSWORD: &str = "correct horse battery";

/// The ports of a broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    plain: u16,
    secure: u16,
    controller: u16,
}

impl Ports {
    /// Ports that nobody has now, and the one that was given.
    pub(crate) fn free(given: Option<u16>) -> Result<Self, ServerError> {
        let [plain, secure, controller] = ports::free()?;
        Ok(Self {
            plain: given.unwrap_or(plain),
            secure,
            controller,
        })
    }

    pub(crate) fn bootstrap(self) -> String {
        format!("127.0.0.1:{}", self.plain)
    }
}

/// Where a broker's properties are.
pub(crate) fn file(folder: &Path) -> PathBuf {
    folder.join("broker.properties")
}

fn keystore(folder: &Path) -> PathBuf {
    folder.join("broker.pem")
}

/// Makes the certificate of a broker.
pub(crate) fn make_secure(folder: &Path, ports: Ports) -> Result<Secure, ServerError> {
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    let certificate_pem = made.cert.pem();
    let key_pem = made.signing_key.serialize_pem();
    std::fs::write(keystore(folder), format!("{key_pem}{certificate_pem}"))
        .map_err(io("keeping the broker's certificate"))?;
    Ok(Secure {
        bootstrap: format!("127.0.0.1:{}", ports.secure),
        user: USER,
        password: PASSWORD,
        certificate_pem,
    })
}

/// Writes a broker's properties.
pub(crate) fn write(folder: &Path, ports: Ports, options: &Options) -> Result<(), ServerError> {
    let Ports {
        plain,
        secure,
        controller,
    } = ports;
    let mut text = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
log.dirs={data}
num.partitions=1
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=1000
group.consumer.heartbeat.interval.ms=500
group.consumer.min.heartbeat.interval.ms=100
log.initial.task.delay.ms=500
log.retention.check.interval.ms=500
log.cleaner.backoff.ms=200
log.segment.delete.delay.ms=100
controlled.shutdown.enable=false
",
        data = folder.join("data").display()
    );
    let (mut listeners, mut advertised, mut protocols) = (
        format!("PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller}"),
        format!("PLAINTEXT://127.0.0.1:{plain}"),
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
    );
    if let Some(Listener {
        bind,
        advertised: at,
    }) = &options.also
    {
        listeners += &format!(",ALSO://{bind}");
        advertised += &format!(",ALSO://{at}");
        protocols += ",ALSO:PLAINTEXT";
    }
    if options.secure {
        listeners += &format!(",SECURE://127.0.0.1:{secure}");
        advertised += &format!(",SECURE://127.0.0.1:{secure}");
        protocols += ",SECURE:SASL_SSL";
        text += &format!(
            "sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={keystore}
",
            keystore = keystore(folder).display()
        );
    }
    text += &format!(
        "inter.broker.listener.name=PLAINTEXT
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map={protocols}
"
    );
    for (name, value) in &options.properties {
        text += &format!("{name}={value}\n");
    }
    std::fs::write(file(folder), text).map_err(io("writing the broker's properties"))
}
