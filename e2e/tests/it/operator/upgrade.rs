//! The operator is upgraded, stopped, removed and installed again while events flow.
use tidewheel_e2e::cluster::TIDEWHEEL_NEXT;

use super::{OwnCluster, TOOLS, flow::Flow, install_for, shop::Shop};

const ALL: [&str; 3] = [
    "eventsource/clicks",
    "sink/warehouse",
    "pipeline/web-analytics",
];

fn install(shop: &Shop, more: &[&str]) {
    let few = [
        "workloads.worker.resources.requests.cpu=20m",
        "workloads.ingest.resources.requests.cpu=20m",
    ];
    install_for(shop, &[&few[..], more].concat());
}

fn ready(shop: &Shop) {
    for what in ALL {
        shop.wait_for(what, "Ready");
    }
}

fn pods(shop: &Shop, path: &str) -> String {
    let path = format!("--output=jsonpath={{range .items[*]}}{path}{{\"\\n\"}}{{end}}");
    let selector = "--selector=app.kubernetes.io/name=tidewheel";
    shop.kubectl(&["get", "pods", selector, &path])
}

#[test]
fn data_flow_while_the_operator_is_upgraded_stopped_removed_and_installed_again() {
    // Of its own: others need their operator.
    let own = OwnCluster::start("u");
    let cluster = own.cluster;
    let shop = Shop::on(cluster, "upgraded");
    install(&shop, &[]);
    // However busy the machine is, no worker comes or goes but for the upgrade.
    shop.apply_all_with_one_worker();
    ready(&shop);
    let flow = Flow::begin(&shop);
    flow.until_rows_grow_by(&shop, 200);

    let (_, tag) = TIDEWHEEL_NEXT.rsplit_once(':').unwrap();
    let tag = format!("image.tag={tag}");
    let next = [tag.as_str(), "workloads.podLabels.team=web"];
    install(&shop, &next);
    shop.until("every pod has the new image", || {
        let images = pods(&shop, "{.spec.containers[0].image}");
        images.lines().all(|image| image == TIDEWHEEL_NEXT)
    });
    ready(&shop);
    assert!(
        pods(&shop, "{.metadata.labels.team}")
            .lines()
            .all(|team| team == "web")
    );
    flow.until_rows_grow_by(&shop, 200);

    let scale = |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        let deployment = "deployment/tidewheel-operator";
        cluster
            .run_kubectl(&["scale", deployment, &replicas, "--namespace", TOOLS])
            .unwrap();
    };
    scale("0");
    let selector = "--selector=app.kubernetes.io/component=operator";
    let operators = [
        "get",
        "pods",
        "--namespace",
        TOOLS,
        selector,
        "--output=name",
    ];
    let until_no_operator_runs = || {
        shop.until("no operator runs", || {
            cluster.run_kubectl(&operators).unwrap().is_empty()
        });
    };
    until_no_operator_runs();
    flow.until_rows_grow_by(&shop, 200);
    scale("2");

    let uids = || pods(&shop, "{.metadata.uid}");
    let before = uids();
    cluster
        .run_helm(&["uninstall", "tidewheel", "--namespace", TOOLS, "--wait"])
        .unwrap();
    until_no_operator_runs();
    let resources = shop.kubectl(&["get", "eventsources,sinks,pipelines", "--output=name"]);
    assert_eq!(resources.lines().count(), 3, "{resources}");
    flow.until_rows_grow_by(&shop, 200);
    install(&shop, &next);
    shop.delete(&["service/clicks-ingest"]);
    shop.until("the Service is back", || {
        !shop.found("service/clicks-ingest").is_empty()
    });
    ready(&shop);
    assert_eq!(uids(), before, "no pod was replaced");
    flow.until_rows_grow_by(&shop, 200);
    flow.end(&shop);
}
