//! What may happen to a pod.
use std::{
    fmt,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rand::{rngs::StdRng, seq::IndexedRandom};

use super::{
    super::{TOOLS, delete_at_once},
    scene::Scene,
    servers::{self, BROKERS},
};

/// Longer than the session of a worker or of a broker: others have taken over when it wakes up and goes on.
const HELD: Duration = Duration::from_secs(15);
/// How long a disk stays full.
const FULL: Duration = Duration::from_secs(10);

/// What happens, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    WorkerKilled,
    WorkerDeleted,
    WorkerHeld,
    WorkerCutOff,
    IngestKilled,
    IngestDeleted,
    BrokerKilled,
    BrokerHeld,
    DatabaseKilled,
    DatabaseHeld,
    DatabaseFull,
    LeaderKilled,
    LeaderDeleted,
}

impl Kind {
    pub(super) const ALL: [Self; 13] = [
        Self::WorkerKilled,
        Self::WorkerDeleted,
        Self::WorkerHeld,
        Self::WorkerCutOff,
        Self::IngestKilled,
        Self::IngestDeleted,
        Self::BrokerKilled,
        Self::BrokerHeld,
        Self::DatabaseKilled,
        Self::DatabaseHeld,
        Self::DatabaseFull,
        Self::LeaderKilled,
        Self::LeaderDeleted,
    ];

    /// How long it lasts.
    pub(super) const fn lasts(self) -> Duration {
        match self {
            Self::WorkerHeld | Self::WorkerCutOff | Self::BrokerHeld | Self::DatabaseHeld => HELD,
            Self::DatabaseFull => FULL,
            _ => Duration::ZERO,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::WorkerKilled => "a worker was killed (SIGKILL)",
            Self::WorkerDeleted => "a worker's pod was deleted",
            Self::WorkerHeld => "a worker was held (SIGSTOP, SIGCONT)",
            Self::WorkerCutOff => "a worker was cut off from Kafka",
            Self::IngestKilled => "ingestion was killed (SIGKILL)",
            Self::IngestDeleted => "a pod of ingestion was deleted",
            Self::BrokerKilled => "a broker was killed (SIGKILL)",
            Self::BrokerHeld => "a broker was held (SIGSTOP, SIGCONT)",
            Self::DatabaseKilled => "PostgreSQL was killed (SIGKILL)",
            Self::DatabaseHeld => "PostgreSQL was held (SIGSTOP, SIGCONT)",
            Self::DatabaseFull => "PostgreSQL's disk was full",
            Self::LeaderKilled => "the operator that leads was killed (SIGKILL)",
            Self::LeaderDeleted => "the pod of the operator that leads was deleted",
        };
        formatter.write_str(what)?;
        match self.lasts() {
            Duration::ZERO => Ok(()),
            lasts => write!(formatter, ", for {} s", lasts.as_secs()),
        }
    }
}

/// Something that has happened, and may last.
pub(super) struct Blow<'a> {
    scene: &'a Scene,
    lasting: Option<Lasting>,
}

/// What is undone in its time.
enum Lasting {
    Held { pod: Pod },
    CutOff { network: PathBuf },
    Full,
}

/// A container, or one program in it.
#[derive(Clone)]
struct Pod {
    namespace: &'static str,
    name: String,
    program: Option<&'static str>,
}

impl<'a> Blow<'a> {
    pub(super) fn strike(scene: &'a Scene, kind: Kind, random: &mut StdRng) -> Self {
        let mut blow = Self {
            scene,
            lasting: None,
        };
        let pod = blow.draw(kind, random);
        blow.lasting = match kind {
            Kind::WorkerKilled
            | Kind::IngestKilled
            | Kind::BrokerKilled
            | Kind::DatabaseKilled
            | Kind::LeaderKilled => {
                blow.signal("KILL", &pod);
                None
            }
            Kind::WorkerDeleted | Kind::IngestDeleted | Kind::LeaderDeleted => {
                blow.delete(&pod);
                None
            }
            Kind::WorkerHeld | Kind::BrokerHeld | Kind::DatabaseHeld => {
                blow.signal("STOP", &pod);
                Some(Lasting::Held { pod })
            }
            Kind::WorkerCutOff => {
                let cluster = scene.shop.cluster;
                let network = cluster.network_of(pod.namespace, &pod.name).unwrap();
                blow.cut_off(&network);
                Some(Lasting::CutOff { network })
            }
            Kind::DatabaseFull => {
                servers::fill_disk(scene.shop.cluster);
                Some(Lasting::Full)
            }
        };
        blow
    }

    /// Whether it lasts.
    pub(super) const fn is_on(&self) -> bool {
        self.lasting.is_some()
    }

    pub(super) fn end(&mut self) {
        match self.lasting.take() {
            Some(Lasting::Held { pod }) => self.signal("CONT", &pod),
            Some(Lasting::CutOff { network }) => self.let_in(&network),
            Some(Lasting::Full) => servers::empty_disk(self.scene.shop.cluster),
            None => {}
        }
    }

    fn draw(&self, kind: Kind, random: &mut StdRng) -> Pod {
        let scene = self.scene;
        let (namespace, names, program) = match kind {
            Kind::WorkerKilled | Kind::WorkerDeleted | Kind::WorkerHeld | Kind::WorkerCutOff => {
                (scene.shop.name, scene.pods("worker"), None)
            }
            Kind::IngestKilled | Kind::IngestDeleted => {
                (scene.shop.name, scene.pods("ingest"), None)
            }
            Kind::BrokerKilled | Kind::BrokerHeld => {
                let names = (0..BROKERS).map(|index| format!("kafka-{index}"));
                // The shell in there starts it again.
                (servers::NAMESPACE, names.collect(), Some("java"))
            }
            Kind::DatabaseKilled | Kind::DatabaseHeld | Kind::DatabaseFull => (
                servers::NAMESPACE,
                vec!["postgres-0".to_owned()],
                Some("postgres"),
            ),
            Kind::LeaderKilled | Kind::LeaderDeleted => (TOOLS, vec![scene.leader()], None),
        };
        let name = names.choose(random).unwrap().clone();
        Pod {
            namespace,
            name,
            program,
        }
    }

    fn signal(&self, signal: &str, pod: &Pod) {
        let cluster = self.scene.shop.cluster;
        let sent = cluster.signal_container(pod.namespace, &pod.name, signal, pod.program);
        sent.unwrap();
    }

    fn delete(&self, pod: &Pod) {
        let cluster = self.scene.shop.cluster;
        delete_at_once(cluster, pod.namespace, &pod.name, "--wait=false");
    }

    /// Nothing gets from this network to a broker, or from a broker to it; nobody is told.
    fn cut_off(&self, network: &Path) {
        let brokers = self.scene.broker_addresses().join(", ");
        self.filter(
            network,
            &format!(
                "table ip cut {{
    chain out {{ type filter hook output priority 0; ip daddr {{ {brokers} }} drop; }}
    chain in {{ type filter hook input priority 0; ip saddr {{ {brokers} }} drop; }}
}}
"
            ),
        );
    }

    fn let_in(&self, network: &Path) {
        self.filter(network, "delete table ip cut\n");
    }

    fn filter(&self, network: &Path, rules: &str) {
        let mut nft = std::process::Command::new("nsenter")
            .arg(format!("--net={}", network.display()))
            .args(["nft", "--file", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = nft.stdin.take().unwrap();
        input.write_all(rules.as_bytes()).unwrap();
        drop(input);
        assert!(nft.wait().unwrap().success(), "{rules}");
    }
}
