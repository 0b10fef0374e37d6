use serde_json::Value;
use tidewheel_crds::{
    Duration, EventSource, Kind, Pipeline, Sink, Start, admitted,
    event_source::{FieldType, Generate, Origin, UnknownFields},
    generator::ValueKind,
    pipeline::{LatePolicy, StepKind, WindowKind},
    violations,
};

const EXAMPLE: &str = include_str!("../../src/example.yaml");

fn document(index: usize) -> Value {
    let documents: Vec<&str> = EXAMPLE.split("---\n").collect();
    serde_yaml::from_str(documents[index]).unwrap()
}

#[test]
fn the_example_is_accepted_and_means_what_it_says() {
    let mut resource = document(0);
    assert_eq!(violations(Kind::EventSource, &resource["spec"], None), []);
    resource["spec"] = admitted(Kind::EventSource, &resource["spec"]);
    let source: EventSource = serde_json::from_value(resource).unwrap();
    assert_eq!(source.metadata.name.as_deref(), Some("clicks"));
    assert_eq!(source.spec.schema.fields[0].generate, Some(Generate::Uuid));
    assert_eq!(source.spec.schema.fields[2].type_, FieldType::Timestamp);
    assert_eq!(source.spec.schema.fields[2].path(), "timestamp");
    assert_eq!(source.spec.schema.fields[1].path(), "source");
    assert_eq!(source.spec.schema.unknown_fields, UnknownFields::Keep);
    assert_eq!(
        source.spec.event_time.max_out_of_order,
        Duration::from_secs(10)
    );
    assert_eq!(source.spec.event_time.idle_after, Duration::from_secs(30));
    assert_eq!(
        (source.spec.topic.partitions, source.spec.topic.retention),
        (6, Duration::from_days(7))
    );
    let Some(Origin::Http(http)) = source.spec.origin() else {
        panic!("http")
    };
    assert_eq!(
        http.auth.as_ref().unwrap().api_keys.secret_ref.name,
        "clicks-keys"
    );

    let sink: Sink = serde_json::from_value(document(1)).unwrap();
    assert_eq!(violations(Kind::Sink, &document(1)["spec"], None), []);
    assert_eq!(sink.spec.postgres.unwrap().schema, "shop_analytics");

    assert_eq!(violations(Kind::Pipeline, &document(2)["spec"], None), []);
    let pipeline: Pipeline = serde_json::from_value(document(2)).unwrap();
    assert_eq!(pipeline.spec.sources[0].start, Start::Earliest);
    assert_eq!(
        pipeline.spec.steps[0].kind(),
        Some(StepKind::Sql(
            "SELECT * FROM clicks WHERE metric IS NOT NULL"
        ))
    );
    let Some(StepKind::Aggregate(kpi)) = pipeline.spec.steps[2].kind() else {
        panic!("aggregate")
    };
    assert_eq!(
        (kpi.window.kind(), kpi.late.policy),
        (
            Some(WindowKind::Tumbling(Duration::from_secs(60))),
            LatePolicy::Amend
        )
    );
    assert!(kpi.sql.starts_with("SELECT source, count(*) AS count"));
    assert_eq!(
        pipeline.spec.outputs[0].postgres.as_ref().unwrap().table,
        None
    );
    assert_eq!(
        pipeline.spec.errors.dead_letter.retention,
        Duration::from_days(14)
    );
}

#[test]
fn what_is_written_is_read_again_the_same() {
    let source: EventSource = serde_json::from_value(document(0)).unwrap();
    assert_eq!(
        serde_json::from_value::<EventSource>(serde_json::to_value(&source).unwrap()).unwrap(),
        source
    );
    let sink: Sink = serde_json::from_value(document(1)).unwrap();
    assert_eq!(
        serde_json::from_value::<Sink>(serde_json::to_value(&sink).unwrap()).unwrap(),
        sink
    );
    let pipeline: Pipeline = serde_json::from_value(document(2)).unwrap();
    assert_eq!(
        serde_json::from_value::<Pipeline>(serde_json::to_value(&pipeline).unwrap()).unwrap(),
        pipeline
    );
    let generated: EventSource = serde_json::from_value(document(3)).unwrap();
    assert_eq!(
        serde_json::from_value::<EventSource>(serde_json::to_value(&generated).unwrap()).unwrap(),
        generated
    );
}

#[test]
fn a_generator_says_how_each_column_is_made() {
    let resource = document(3);
    assert_eq!(violations(Kind::EventSource, &resource["spec"], None), []);
    let source: EventSource = serde_json::from_value(resource).unwrap();
    let Some(Origin::Generator(generator)) = source.spec.origin() else {
        panic!("generator")
    };
    assert_eq!(
        (generator.events_per_second, generator.count, generator.seed),
        (500, Some(10_000), 7)
    );
    let kinds: Vec<_> = generator
        .fields
        .iter()
        .map(|field| field.kind().unwrap())
        .collect();
    assert!(matches!(kinds[0], ValueKind::Uuid));
    assert!(matches!(kinds[1], ValueKind::Time(time) if time.jitter == Duration::from_secs(5)));
    assert!(
        matches!(kinds[2], ValueKind::Zipf(zipf) if zipf.cardinality == 2_000 && zipf.exponent == 1.0 && zipf.prefix == "user-")
    );
    assert!(
        matches!(kinds[3], ValueKind::OneOf([get, post]) if get.value == "GET" && get.weight == 9.0 && post.weight == 1.0)
    );
    assert!(matches!(kinds[4], ValueKind::LogNormal(size) if size.median == 1_500.0));
    assert_eq!(generator.fields[4].null_probability, 0.05);
}

#[test]
fn a_start_is_a_word_or_a_time() {
    assert_eq!("Latest".parse(), Ok(Start::Latest));
    assert_eq!("1970-01-01T01:00:00.5+01:00".parse(), Ok(Start::At(500)));
    assert_eq!(Start::At(500).to_string(), "1970-01-01T00:00:00.500Z");
    let error = "yesterday".parse::<Start>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`yesterday` is no start: write `Earliest`, `Latest` or a time with its zone such as `2026-01-31T00:00:00Z`"
    );
}
