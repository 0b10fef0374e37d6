//! A cluster with everything in it that is to be hit.
use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr};

use tidewheel_e2e::postgres;

use super::{
    super::{OwnCluster, Shop, TOOLS, forwarded, install_for, leader::leader},
    servers,
};

const SOURCE: &str = r"
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: orders, namespace: web}
spec:
  schema:
    fields:
      - {name: event_id, type: uuid, required: true}
      - {name: number, type: bigint, required: true}
      - {name: ts, type: timestamp, required: true}
      - {name: kind, type: text, required: true}
  eventTime: {field: ts, maxOutOfOrder: 6s, idleAfter: 5s}
  key: [event_id]
  topic: {partitions: 6}
  http: {replicas: {min: 2}}
";

/// Whoever sends again may take longer than `maxOutOfOrder`, and nothing may be late. Windows that are written once wait for two minutes:
/// nobody is out of reach for so long.
const PIPELINE: &str = r"
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: orders, namespace: web}
spec:
  sources:
    - {name: orders}
  steps:
    - name: unique_orders
      deduplicate: {from: orders, by: [event_id], within: 15m}
    - name: per_kind
      aggregate:
        window: {tumbling: 10s}
        late: {allowed: 15m, policy: Amend}
        sql: SELECT kind, count(*) AS count, sum(number) AS total FROM unique_orders GROUP BY kind
    - name: overlapping
      aggregate:
        window: {hopping: {size: 20s, every: 5s}}
        late: {allowed: 15m, policy: Amend}
        sql: SELECT kind, count(*) AS count, sum(number) AS total FROM unique_orders GROUP BY kind
    - name: visits
      aggregate:
        window: {session: {gap: 2s}}
        late: {allowed: 2m, policy: DeadLetter}
        sql: SELECT number / 500 AS visitor, count(*) AS count, sum(number) AS total FROM unique_orders GROUP BY number / 500
    - name: short
      aggregate:
        window: {tumbling: 5s}
        late: {allowed: 2m, policy: Drop}
        sql: SELECT kind, count(*) AS count, sum(number) AS total FROM unique_orders GROUP BY kind
    - name: over_short
      aggregate:
        window: {tumbling: 20s}
        late: {policy: Drop}
        sql: SELECT kind, sum(count) AS count, sum(total) AS total, max(count) AS most, count(*) AS parts FROM short GROUP BY kind
  outputs:
    - {name: all_orders, from: unique_orders, postgres: {sink: warehouse}}
    - {name: per_kind, from: per_kind, postgres: {sink: warehouse}}
    - {name: overlapping, from: overlapping, postgres: {sink: warehouse}}
    - {name: visits, from: visits, postgres: {sink: warehouse}}
    - {name: over_short, from: over_short, postgres: {sink: warehouse}}
  scaling: {min: 3, max: 3}
";
/// The port of pods by which they tell their metrics.
const OPERATIONS_PORT: u16 = 9090;

/// What a worker's metrics say of a task that it has.
const OF_A_TASK: &str = "tidewheel_task_next_offset{";

/// The cluster.
pub(super) struct Scene {
    pub(super) shop: Shop,
    database: String,
    ingest_port: u16,
    broker_addresses: Vec<String>,
    /// Ports by which the operations ports of workers are reached: each is open as long as the process is there.
    ways: RefCell<BTreeMap<SocketAddr, u16>>,
    _own: OwnCluster,
}

impl Scene {
    /// Starts everything and waits until it is ready.
    pub(super) fn start() -> Self {
        let own = OwnCluster::start("k");
        servers::start(own.cluster);
        let shop = Shop::on(own.cluster, "chaos");
        let kafka = format!(
            "kafka.bootstrapServers={}",
            servers::bootstrap().replace(',', "\\,")
        );
        install_for(&shop, &[&kafka]);
        shop.apply_example("sink.yaml");
        shop.secret(&servers::database());
        shop.apply(SOURCE);
        shop.apply(PIPELINE);
        for what in ["eventsource/orders", "pipeline/orders"] {
            shop.wait_for(what, "Ready");
        }
        let ingest = servers::address_of_service(own.cluster, shop.name, "orders-ingest", 8080);
        Self {
            database: servers::database_from_here(own.cluster),
            ingest_port: own.cluster.reach(ingest).unwrap(),
            broker_addresses: servers::broker_addresses(own.cluster),
            ways: RefCell::default(),
            shop,
            _own: own,
        }
    }

    /// A port of this machine that leads to ingestion, whichever pod is ready.
    pub(super) const fn ingest_port(&self) -> u16 {
        self.ingest_port
    }

    pub(super) fn broker_addresses(&self) -> &[String] {
        &self.broker_addresses
    }

    /// The pods of a role that run.
    pub(super) fn pods(&self, role: &str) -> Vec<String> {
        let selector = format!("--selector=app.kubernetes.io/component={role}");
        let running = "--field-selector=status.phase=Running";
        let path = "--output=jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}";
        let found = self
            .shop
            .kubectl(&["get", "pods", &selector, running, path]);
        found.lines().map(str::to_owned).collect()
    }

    pub(super) fn leader(&self) -> String {
        leader(self.shop.cluster, TOOLS)
    }

    /// Lets rows be counted by their numbers however many there are.
    pub(super) fn index_rows(&self) {
        self.sql("CREATE INDEX ON all_orders (number)").unwrap();
    }

    /// How many rows there are of these numbers; none while the database does not answer.
    pub(super) fn rows(&self, from: u64, to: u64) -> u64 {
        let sql =
            format!("SELECT count(*) FROM all_orders WHERE number >= {from} AND number < {to}");
        let found = self.sql(&sql).unwrap_or_default();
        found.parse().unwrap_or(0)
    }

    /// What SQL finds among the tables; none while the database does not answer.
    pub(super) fn sql(&self, sql: &str) -> Option<String> {
        let schema = self.shop.schema();
        let sql = format!("SET search_path TO {schema}; SET statement_timeout = '60s'; {sql}");
        postgres::query(&self.database, &sql).ok()
    }

    /// Waits until every pod is ready, so that whoever is hit next is not the last one left, and every worker has something to do.
    pub(super) fn wait_until_ready(&self) {
        let cluster = self.shop.cluster;
        let of = [
            (servers::NAMESPACE, "statefulset/kafka"),
            (servers::NAMESPACE, "statefulset/postgres"),
            (TOOLS, "deployment/tidewheel-operator"),
            (self.shop.name, "deployment/orders-ingest"),
            (self.shop.name, "deployment/orders-worker"),
        ];
        for (namespace, what) in of {
            self.shop.until(&format!("{what} is ready"), || {
                let path = "--output=jsonpath={.spec.replicas} {.status.readyReplicas}";
                let replicas = cluster.run_kubectl(&["get", what, "--namespace", namespace, path]);
                let replicas = replicas.unwrap_or_default();
                replicas
                    .split_once(' ')
                    .is_some_and(|(wanted, ready)| wanted == ready)
            });
        }
        self.shop.until("every worker has tasks", || {
            let told = self.told();
            told.is_some_and(|told| told.iter().all(|text| text.contains(OF_A_TASK)))
        });
        self.shop.until("an operator leads that is there", || {
            let pod = ["get", "pod", &self.leader(), "--namespace", TOOLS];
            cluster.run_kubectl(&pod).is_ok()
        });
    }

    /// What all workers tell, a line for each series.
    pub(super) fn metrics(&self) -> Vec<String> {
        let told = self.told().unwrap();
        let lines = told.iter().flat_map(|text| text.lines());
        let series = lines.filter(|line| !line.starts_with('#'));
        series.map(str::to_owned).collect()
    }

    /// What each worker tells; none where one of them does not answer.
    fn told(&self) -> Option<Vec<String>> {
        let addresses = self.shop.of_pods("worker", ".status.podIP");
        let told = addresses.iter().map(|address| {
            let address = SocketAddr::new(address.parse().ok()?, OPERATIONS_PORT);
            forwarded::get(self.way_to(address)?, "/metrics").ok()
        });
        told.collect()
    }

    fn way_to(&self, address: SocketAddr) -> Option<u16> {
        let mut ways = self.ways.borrow_mut();
        if let Some(&port) = ways.get(&address) {
            return Some(port);
        }
        let port = self.shop.cluster.reach(address).ok()?;
        ways.insert(address, port);
        Some(port)
    }

    pub(super) fn everything(&self) -> String {
        format!(
            "{}\n{}",
            self.shop.everything(),
            servers::about(self.shop.cluster)
        )
    }
}
