//! Which schemas can be decoded, and the Arrow schema they have.
use tidewheel_decode::{EventSchema, Field, FieldType, UnknownFields};

use crate::fixture::{clicks, field};

fn problem(fields: Vec<Field>) -> String {
    let schema = EventSchema {
        fields,
        unknown: UnknownFields::Keep,
        format: tidewheel_decode::EventFormat::Json,
    };
    schema.validate().unwrap_err().to_string()
}

#[test]
fn schemas_in_which_a_member_would_have_two_places_are_refused() {
    let text = |name: &str, path: &str| field(name, path, FieldType::Text);
    let no_path = Field {
        path: vec![],
        ..text("a", "a")
    };
    let problems = [
        problem(vec![text("", "a")]),
        problem(vec![text("_extra", "a")]),
        problem(vec![text("a", "a..b")]),
        problem(vec![no_path]),
        problem(vec![text("a", &vec!["a"; 65].join("."))]),
        problem(vec![text("a", "a"), text("a", "b")]),
        problem(vec![text("a", "x.y"), text("b", "x.y")]),
        problem(vec![text("a", "x"), text("b", "x.y.z")]),
        problem(vec![text("b", "x.y.z"), text("a", "x.y")]),
    ];
    insta::assert_snapshot!(problems.join("\n"));
}

#[test]
fn paths_may_share_objects_and_names_may_be_prefixes_of_each_other() {
    let fields = vec![
        field("a", "x.y", FieldType::Text),
        field("b", "x.yz", FieldType::Text),
        field("c", "xx", FieldType::Text),
    ];
    let schema = EventSchema {
        fields,
        unknown: UnknownFields::Drop,
        format: tidewheel_decode::EventFormat::Json,
    };
    schema.validate().unwrap();
}

#[test]
fn the_arrow_schema_is_the_declared_columns_and_what_is_kept() {
    let mut schema = EventSchema {
        fields: clicks(),
        unknown: UnknownFields::Keep,
        format: tidewheel_decode::EventFormat::Json,
    };
    let describe = |schema: &EventSchema| {
        schema
            .arrow_schema()
            .fields()
            .iter()
            .map(|field| {
                format!(
                    "{} {}{} {:?}\n",
                    field.name(),
                    field.data_type(),
                    if field.is_nullable() { "" } else { " not null" },
                    field.metadata(),
                )
            })
            .collect::<String>()
    };
    insta::assert_snapshot!(describe(&schema));
    let kept = schema.arrow_schema();
    schema.unknown = UnknownFields::Drop;
    assert_eq!(
        schema.arrow_schema().fields().len(),
        kept.fields().len() - 1
    );
}
