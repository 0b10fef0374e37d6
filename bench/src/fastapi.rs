//! Ingestion over HTTP acknowledged by Kafka, beside FastAPI with uvicorn.
use std::net::TcpListener;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::Failure;
use crate::client::{Target, post_all};
use crate::contest::{Contender, Round, Spent, comparison};
use crate::events::Events;
use crate::figures::Report;
use crate::peers::{Peer, python_versions};
use crate::pipeline::{BY_METHOD, WINDOWS, resources};
use crate::stack::{Meter, Role, Stack, Topic};

const EVENTS: usize = 600_000;
const BATCH: usize = 100;
const PARTITIONS: u32 = 6;
/// Events sent one a request are fewer by this than those in batches: all take about as long.
const SINGLE_OF: usize = 10;
/// Processes of the tuned FastAPI: a core each.
const PROCESSES: &str = "2";
const PACKAGES: [&str; 6] = [
    "fastapi",
    "uvicorn",
    "uvloop",
    "pydantic",
    "aiokafka",
    "confluent-kafka",
];
/// What every producer is told.
const PRODUCER: &str = "acks=all, enable.idempotence=true, compression.type=lz4, linger.ms=5";

/// A way to send the events, and what each server has shown of it.
struct Way {
    name: String,
    /// Each with one request at a time.
    connections: usize,
    bodies: Vec<Bytes>,
    /// How many events the bodies hold together.
    events: usize,
    /// The path of each server.
    paths: [&'static str; 3],
    contenders: [Contender; 3],
}

/// The servers, in the order of a way's contenders.
struct Servers {
    ingest: Role,
    tuned: Peer,
    plain: Peer,
    /// `HOST:PORT` of each.
    addresses: [String; 3],
}

impl Way {
    fn new(
        name: String,
        connections: usize,
        bodies: Vec<Bytes>,
        events: usize,
        paths: [&'static str; 3],
    ) -> Self {
        let contenders = ["Tidewheel", "FastAPI, tuned", "FastAPI, plain"].map(Contender::new);
        Self {
            name,
            connections,
            bodies,
            events,
            paths,
            contenders,
        }
    }
}

impl Servers {
    fn start(stack: &Stack) -> Result<Self, Failure> {
        let ingest = stack.role("ingest", &["--listen", "127.0.0.1:0"])?;
        let own = ingest.events.clone().ok_or("the role takes no events")?;
        let ports = free_ports()?;
        let [tuned_port, plain_port] = &ports;
        let (kafka, topic) = (stack.kafka.bootstrap(), stack.topic());
        let mut tuned = Peer::python(
            "fastapi_tuned.py",
            &[
                "--kafka",
                kafka,
                "--topic",
                &topic,
                "--port",
                tuned_port,
                "--processes",
                PROCESSES,
            ],
        )?;
        let mut plain = Peer::python(
            "fastapi_plain.py",
            &["--kafka", kafka, "--topic", &topic, "--port", plain_port],
        )?;
        let [of_tuned, of_plain] = ports.map(|port| format!("127.0.0.1:{port}"));
        tuned.await_listening(&of_tuned)?;
        plain.await_listening(&of_plain)?;
        Ok(Self {
            ingest,
            tuned,
            plain,
            addresses: [own, of_tuned, of_plain],
        })
    }

    fn id(&self, index: usize) -> u32 {
        [self.ingest.id(), self.tuned.id(), self.plain.id()][index]
    }

    fn peak_bytes(&self, index: usize) -> u64 {
        match index {
            0 => self.ingest.usage().peak_bytes,
            1 => self.tuned.peak_bytes(),
            _ => self.plain.peak_bytes(),
        }
    }
}

pub(crate) fn measure(events: Option<usize>, rounds: usize) -> Result<Report, Failure> {
    let events = events.unwrap_or(EVENTS).div_ceil(BATCH * SINGLE_OF) * BATCH * SINGLE_OF;
    let (_, lines) = Events::new(7, 10_000, 5_000).lines(events);
    let singles = lines[..events / SINGLE_OF].to_vec();
    let batches = lines.chunks(BATCH).map(array).collect();
    let mut ways = [
        Way::new(
            "one event a request".to_owned(),
            256,
            singles,
            events / SINGLE_OF,
            ["/v1/events", "/events", "/events"],
        ),
        Way::new(
            format!("requests of {BATCH}"),
            64,
            batches,
            events,
            ["/v1/events", "/batches", "/batches"],
        ),
    ];
    let runtime = crate::runtime()?;
    let mut stack = Stack::start()?;
    stack.deploy(|namespace| resources(namespace, "Keep", PARTITIONS, BY_METHOD, &[WINDOWS]))?;
    let servers = Servers::start(&stack)?;
    runtime.block_on(servers.ingest.ready())?;
    let mut topic = Topic {
        partitions: PARTITIONS,
        events: 0,
    };
    // Nothing of round 0 is measured: until it is over, Java has not compiled what brokers do all the time.
    for round in 0..=rounds {
        for way in &mut ways {
            // Each is the first one in turn: what Kafka does in the background is for nobody alone.
            for turn in 0..servers.addresses.len() {
                let index = (turn + round) % servers.addresses.len();
                let target = Target {
                    address: servers.addresses[index].clone(),
                    path: way.paths[index],
                };
                let begin = Meter::read(&stack, servers.id(index));
                let mut answers =
                    runtime.block_on(post_all(&target, way.connections, &way.bodies))?;
                let spent = begin.until(&Meter::read(&stack, servers.id(index)));
                topic.events += way.events;
                answers.sort_unstable();
                if round > 0 {
                    way.contenders[index].rounds.push(Round {
                        events: way.events as f64,
                        // It has no part in this.
                        spent: Spent {
                            postgres: Duration::ZERO,
                            ..spent
                        },
                        peak_bytes: servers.peak_bytes(index),
                        answers,
                        verdict: None,
                    });
                }
            }
        }
        // A retried request would be there twice, and what was answered without Kafka would be missing.
        let count = topic.count(&stack)?;
        if count != topic.events as i64 {
            return Err(format!("Kafka has {count} events of {}", topic.events).into());
        }
        eprintln!("fastapi: round {round} of {rounds}, where 0 is not measured");
    }
    report(events, rounds, &ways)
}

fn report(events: usize, rounds: usize, ways: &[Way]) -> Result<Report, Failure> {
    let mut report = Report::of_rounds(
        "fastapi",
        format!(
            "events of about 450 bytes, from as many clients on the same machine as are named, each with one request at a time; \
             answered 202 once Kafka has every event of the request, which is checked against the topic's {PARTITIONS} partitions; \
             medians of {rounds} rounds, by turns; all share this machine"
        ),
        events,
        rounds,
    );
    for way in ways {
        let name = format!(
            "{}: {} events, {} clients",
            way.name, way.events, way.connections
        );
        report.comparisons.push(comparison(&name, &way.contenders));
    }
    let python = python_versions(&PACKAGES)?;
    report.set(
        "Tidewheel",
        format!(
            "{}, `tidewheel ingest` with its defaults; schema checked, undeclared members kept, key `event_id`; {PRODUCER}",
            env!("CARGO_PKG_VERSION")
        ),
    );
    report.set(
        "FastAPI, tuned",
        format!(
            "[fastapi_tuned.py](../bench/peers/python/fastapi_tuned.py): uvicorn with {PROCESSES} processes, uvloop and httptools, bodies \
             checked by pydantic without FastAPI's own parsing, confluent-kafka; {PRODUCER}; {python}"
        ),
    );
    report.set(
        "FastAPI, plain",
        format!(
            "[fastapi_plain.py](../bench/peers/python/fastapi_plain.py): uvicorn with one process, models as parameters, aiokafka; {PRODUCER}"
        ),
    );
    report.set(
        "Kafka",
        format!(
            "{}, one broker with the Java options of its own scripts (heap 1 GiB, G1), {PARTITIONS} partitions",
            tidewheel_e2e::kafka::VERSION
        ),
    );
    Ok(report)
}

/// Events as one JSON array.
fn array(events: &[Bytes]) -> Bytes {
    let mut body = BytesMut::new();
    for event in events {
        body.extend_from_slice(if body.is_empty() { b"[" } else { b"," });
        body.extend_from_slice(event);
    }
    body.extend_from_slice(b"]");
    body.freeze()
}

/// Two ports that nobody listens on.
fn free_ports() -> Result<[String; 2], Failure> {
    // Held until both are found, so that they differ.
    let held = [
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    ];
    let [first, second] = [held[0].local_addr()?, held[1].local_addr()?];
    Ok([first.port().to_string(), second.port().to_string()])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::array;

    #[test]
    fn a_batch_is_one_array() {
        let events = [Bytes::from_static(b"{\"a\":1}"), Bytes::from_static(b"{}")];
        assert_eq!(array(&events), "[{\"a\":1},{}]");
    }
}
