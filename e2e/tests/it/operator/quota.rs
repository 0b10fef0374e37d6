//! Namespaces that ration what pods may use.
use super::shop::Shop;

const QUOTA: &str = r#"
apiVersion: v1
kind: ResourceQuota
metadata: {name: ration, namespace: web}
spec: {hard: {requests.cpu: "1", requests.memory: 2Gi, limits.cpu: "8", limits.memory: 4Gi}}
"#;

/// What a process may use, as `spec.resources` has it.
const RESOURCES: &str =
    "  resources: {requests: {cpu: 20m, memory: 64Mi}, limits: {cpu: \"1\", memory: 512Mi}}\n";

#[test]
fn where_a_quota_demands_limits_it_is_said_and_resources_of_the_spec_are_enough() {
    let shop = Shop::new("rationed");
    shop.apply(QUOTA);
    shop.apply_all();
    // The chart gives no limit of processor time to workloads.
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.until_reason(what, "WorkloadsAvailable", "WorkloadFailing");
        let said = shop.message(what, "WorkloadsAvailable");
        assert!(
            said.contains("ration") && said.contains("limits.cpu"),
            "{said}"
        );
    }
    for file in ["source.yaml", "pipeline.yaml"] {
        shop.apply(&format!("{}\n{RESOURCES}", shop.example(file).trim_end()));
    }
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    shop.send_example();
    shop.until_example_is_there();
}
