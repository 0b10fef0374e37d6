//! What a resource refers to may come later, be wrong, be corrected, and go.
use super::{
    shop::{AT_ONCE, Shop},
    turns::undisturbed,
};

#[test]
fn a_secret_that_comes_later_is_wrong_and_is_corrected_is_used_at_once() {
    let shop = Shop::new("secrets");
    for file in ["pipeline.yaml", "sink.yaml"] {
        shop.apply_example(file);
    }
    shop.until_reason("pipeline/web-analytics", "Ready", "SourceMissing");
    shop.until_reason("sink/warehouse", "Ready", "SecretMissing");
    let turn = undisturbed();
    shop.apply_example("source.yaml");
    let pipeline = "pipeline/web-analytics";
    shop.until_reason_within(AT_ONCE, pipeline, "Ready", "SecretMissing");
    assert!(
        shop.message("sink/warehouse", "Ready")
            .contains("no Secret `warehouse`")
    );

    let url = shop.cluster.postgres_in_pods();
    let (start, rest) = url.split_once("://").unwrap();
    let (_, place) = rest.rsplit_once('@').unwrap();
    shop.secret(&format!("{start}://tidewheel:wrong@{place}"));
    shop.until_reason_within(AT_ONCE, "sink/warehouse", "Ready", "DatabaseUnavailable");
    drop(turn);
    let said = shop.message("sink/warehouse", "Ready");
    assert!(
        said.contains("check user and password") && !said.contains("wrong@"),
        "{said}"
    );
    shop.until_reason(
        "pipeline/web-analytics",
        "SchemasReady",
        "DatabaseUnavailable",
    );
    assert_eq!(
        shop.condition("pipeline/web-analytics", "Stalled").0,
        "False"
    );

    shop.secret(url);
    for what in ["sink/warehouse", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
}

#[test]
fn a_source_that_is_deleted_while_a_pipeline_reads_it_is_missed_and_nothing_else() {
    let shop = Shop::new("gone");
    shop.apply_all();
    shop.wait_for("pipeline/web-analytics", "Ready");
    shop.wait_for("eventsource/clicks", "Ready");
    let pods = || shop.of_pods("worker", ".metadata.uid");
    let before = pods();
    let turn = undisturbed();
    shop.delete(&["eventsource/clicks"]);
    let pipeline = "pipeline/web-analytics";
    shop.until_reason_within(AT_ONCE, pipeline, "SourcesReady", "SourceMissing");
    drop(turn);
    shop.until("nothing takes events", || {
        shop.found("deployment/clicks-ingest").is_empty()
    });
    assert_eq!(
        shop.condition("pipeline/web-analytics", "WorkloadsAvailable")
            .0,
        "True"
    );

    shop.apply_example("source.yaml");
    shop.wait_for("eventsource/clicks", "Ready");
    shop.wait_for("pipeline/web-analytics", "Ready");
    assert_eq!(pods(), before, "the workers were left alone");
    shop.send_example();
    shop.until_example_is_there();
}
