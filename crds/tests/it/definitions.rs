use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, ValidationRule,
};
use tidewheel_crds::{crds, crds_yaml};

/// All nodes of a schema.
fn nodes(schema: &JSONSchemaProps) -> Vec<&JSONSchemaProps> {
    let properties = schema
        .properties
        .iter()
        .flat_map(|properties| properties.values())
        .flat_map(nodes);
    let items = match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => nodes(item),
        _ => Vec::new(),
    };
    [schema]
        .into_iter()
        .chain(properties)
        .chain(items)
        .collect()
}

fn for_each_node(mut look: impl FnMut(&str, &JSONSchemaProps)) {
    for crd in crds() {
        let schema = crd.spec.versions[0]
            .schema
            .as_ref()
            .unwrap()
            .open_api_v3_schema
            .as_ref()
            .unwrap();
        for node in nodes(schema) {
            look(&crd.spec.names.kind, node);
        }
    }
}

pub(crate) fn all_rules() -> Vec<ValidationRule> {
    let mut rules = Vec::new();
    for_each_node(|_, node| {
        rules.extend(node.x_kubernetes_validations.clone().unwrap_or_default())
    });
    assert!(rules.len() > 30, "rules are found");
    rules
}

#[test]
fn the_crds_are_as_reviewed() {
    insta::assert_snapshot!("crds", crds_yaml());
}

#[test]
fn each_crd_is_small_enough_to_apply() {
    for crd in crds() {
        let bytes = serde_json::to_string(&crd).unwrap().len();
        assert!(
            bytes < 256 * 1024,
            "{} has {bytes} bytes",
            crd.spec.names.kind
        );
    }
}

#[test]
fn every_list_and_text_is_bounded() {
    for_each_node(|kind, node| match node.type_.as_deref() {
        Some("array") => assert!(node.max_items.is_some(), "{kind}: {:?}", node.description),
        Some("string") => assert!(
            node.max_length.is_some() || node.enum_.is_some(),
            "{kind}: {:?}",
            node.description
        ),
        Some(type_ @ ("integer" | "number")) => {
            // Beyond them an API server reads another whole number.
            let exact = -9_007_199_254_740_991.0..=9_007_199_254_740_991.0;
            let fits = |bound: &f64| type_ == "number" || exact.contains(bound);
            assert!(
                node.minimum.is_some_and(|least| fits(&least))
                    && node.maximum.is_some_and(|most| fits(&most)),
                "{kind}: {:?}",
                node.description
            );
        }
        _ => {}
    });
}

#[test]
fn the_schemas_are_structural() {
    for_each_node(|kind, node| {
        let typed = node.type_.is_some() || node.x_kubernetes_preserve_unknown_fields == Some(true);
        assert!(typed, "{kind}: a field has no type: {:?}", node.description);
        assert!(
            node.one_of.is_none()
                && node.any_of.is_none()
                && node.all_of.is_none()
                && node.not.is_none()
        );
        assert!(
            node.additional_properties.is_none()
                && node.nullable.is_none()
                && node.unique_items.is_none()
        );
    });
}

#[test]
fn every_field_is_explained() {
    for_each_node(|kind, node| {
        for (name, property) in node.properties.iter().flatten() {
            let explained = property
                .description
                .as_ref()
                .is_some_and(|text| text.ends_with('.'));
            assert!(explained, "{kind}: `{name}`: {:?}", property.description);
        }
    });
}

#[test]
fn every_rule_says_what_to_do_on_one_line() {
    for rule in all_rules() {
        let message = rule
            .message
            .unwrap_or_else(|| panic!("no message: {}", rule.rule));
        assert!(!message.contains('\n') && message.len() > 20, "{message}");
    }
}

#[test]
fn rules_hold_no_durations_that_only_we_can_read() {
    for rule in all_rules() {
        for literal in rule
            .rule
            .split("duration('")
            .skip(1)
            .filter_map(|rest| rest.split('\'').next())
        {
            assert!(!literal.contains('d'), "Go knows no days: {literal}");
        }
    }
}
