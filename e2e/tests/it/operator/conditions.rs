//! What becomes of a Pipeline whose spec changes.
use super::{
    flow::Flow,
    shop::{AT_ONCE, Shop},
    turns::undisturbed,
};

#[test]
fn bad_sql_keeps_the_last_good_version_and_its_correction_rolls_out() {
    let shop = Shop::new("bad-sql");
    shop.apply_all();
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    let flow = Flow::begin(&shop);
    flow.until_rows_grow_by(&shop, 200);
    let template = || {
        shop.kubectl(&[
            "get",
            "deployment/web-analytics-worker",
            "--output=jsonpath={.spec.template}",
        ])
    };
    let good = template();

    let pipeline = shop.example("pipeline.yaml");
    let bad = pipeline.replace("GROUP BY method", "GROUP BY methd");
    assert_ne!(bad, pipeline);
    shop.apply(&bad);
    shop.until_reason("pipeline/web-analytics", "Stalled", "SpecInvalid");
    let said = shop.message("pipeline/web-analytics", "Stalled");
    assert!(
        said.contains("step `hourly`, line 11, column 10") && said.contains("methd"),
        "{said}"
    );
    assert_eq!(shop.condition("pipeline/web-analytics", "Ready").0, "False");
    assert_eq!(
        shop.condition("pipeline/web-analytics", "WorkloadsAvailable")
            .0,
        "True"
    );
    assert_eq!(template(), good);
    flow.until_rows_grow_by(&shop, 200);

    let deployment = "deployment/web-analytics-worker";
    let first = shop.uid(deployment);
    shop.delete(&[deployment]);
    shop.until("the workers of the last good version are back", || {
        ![String::new(), first.clone()].contains(&shop.uid(deployment))
    });
    assert_eq!(template(), good);
    flow.until_rows_grow_by(&shop, 200);

    // The output is no other: as many errors as before, of all that come.
    shop.apply(&pipeline.replace("code >= 400", "code > 399"));
    shop.until("the correction is rolled out", || template() != good);
    shop.wait_for("pipeline/web-analytics", "Ready");
    flow.until_rows_grow_by(&shop, 200);
    flow.end(&shop);
    let specs = [
        "get",
        "configmaps",
        "--selector=app.kubernetes.io/component=worker",
        "--output=name",
    ];
    shop.until("what nobody reads is gone", || {
        shop.kubectl(&specs).lines().count() == 1
    });
}

#[test]
fn a_suspended_pipeline_is_ready_and_goes_on_exactly_where_it_was() {
    let shop = Shop::new("suspended");
    shop.apply_all();
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    let suspend = |is: bool| {
        let patch = format!("{{\"spec\": {{\"suspend\": {is}}}}}");
        shop.kubectl(&[
            "patch",
            "pipeline/web-analytics",
            "--type=merge",
            "--patch",
            &patch,
        ]);
    };
    let flow = Flow::begin(&shop);
    flow.until_rows_grow_by(&shop, 400);
    suspend(true);
    shop.until("no worker is there", || {
        shop.of_pods("worker", ".metadata.name").is_empty()
    });
    shop.until_reason("pipeline/web-analytics", "Ready", "Suspended");
    assert_eq!(shop.condition("pipeline/web-analytics", "Ready").0, "True");
    assert_eq!(
        shop.condition("pipeline/web-analytics", "Suspended").0,
        "True"
    );
    let count = || shop.sql("SELECT count(*) FROM clicks_unique");
    let before = count();
    flow.until_accepted_grows_by(&shop, 400);
    assert_eq!(count(), before);

    suspend(false);
    flow.until_rows_grow_by(&shop, 800);
    shop.until_reason("pipeline/web-analytics", "Ready", "AllReady");
    flow.end(&shop);
}

#[test]
fn a_table_that_two_pipelines_claim_is_the_older_ones_until_that_goes() {
    let shop = Shop::new("claimed");
    shop.apply_all();
    shop.wait_for("pipeline/web-analytics", "Ready");
    let second = shop
        .example("pipeline.yaml")
        .replace("name: web-analytics,", "name: second,");
    shop.apply(&second);
    shop.until_reason("pipeline/second", "Stalled", "OutputTaken");
    let said = shop.message("pipeline/second", "Stalled");
    assert!(
        said.contains(
            "is already filled by the output `clicks_unique` of Pipeline claimed/web-analytics"
        ),
        "{said}"
    );
    assert_eq!(shop.condition("pipeline/web-analytics", "Ready").0, "True");
    assert_eq!(shop.found("deployment/second-worker"), "");

    let _turn = undisturbed();
    shop.delete(&["pipeline/web-analytics"]);
    // The rows that are there are those of the other one: the database says so, once the claim is free.
    shop.until_reason_within(AT_ONCE, "pipeline/second", "Stalled", "TablesRefused");
}
