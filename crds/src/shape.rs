//! Patterns, bounds and small schema transforms that several types share.
use schemars::Schema;
use serde_json::Value;

/// The largest whole number that JSON carries exactly everywhere: 2^53 - 1. An API server reads larger bounds as something else.
pub(crate) const MAX_WHOLE: u64 = 9_007_199_254_740_991;
/// Most columns of an event.
pub(crate) const MAX_COLUMNS: usize = 256;
/// PostgreSQL cuts identifiers after 63 bytes, silently, so no name may be longer.
pub(crate) const MAX_IDENTIFIER: usize = 63;
/// Room for a long query. A Pipeline of 32 such steps still fits in a Kubernetes object.
pub(crate) const MAX_SQL: usize = 16_384;

/// A column. `_` at the start is let through here, so that a rule can say why it is refused.
pub(crate) const COLUMN: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
/// A step, output, table or schema: a PostgreSQL identifier that needs no quotes.
pub(crate) const IDENTIFIER: &str = "^[a-z][a-z0-9_]*$";
/// A source or step, as SQL or `from` refers to it.
pub(crate) const RELATION: &str = "^[a-z0-9]([-a-z0-9_]*[a-z0-9_])?$";
/// A resource of ours: a DNS label, so that `<namespace>.<name>` can be taken apart again.
pub(crate) const RESOURCE: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A Secret: a DNS subdomain.
pub(crate) const SECRET: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
/// A key of a Secret.
pub(crate) const SECRET_KEY: &str = "^[-._a-zA-Z0-9]+$";
/// Members of a JSON object, from the event down to a value.
pub(crate) const PATH: &str = r"^[^.\s]+(\.[^.\s]+)*$";
/// A topic: what Kafka takes.
pub(crate) const TOPIC: &str = "^[a-zA-Z0-9._-]+$";
/// A header that is the user's: ours begin with `_`.
pub(crate) const HEADER: &str = r"^[^_\s]\S*$";
/// An amount of processor time or memory.
pub(crate) const QUANTITY: &str = r"^[0-9]+(\.[0-9]{1,3})?(m|k|M|G|Ki|Mi|Gi)?$";
/// An origin of a web page, or all.
pub(crate) const ORIGIN: &str = r"^(\*|https?://[A-Za-z0-9.\[\]:-]+)$";

/// The address of a schema registry.
pub(crate) const REGISTRY: &str = r"^https?://[^\s?#@]+$";

/// Why a name was refused that Kubernetes would take.
pub(crate) const NAME_MESSAGE: &str = "names hold no dots and at most 63 characters, because topics are named `<namespace>.<name>`: choose another name";

/// What to write where each pattern holds.
const MEANINGS: [(&str, &str); 14] = [
    (
        REGISTRY,
        "the address of a schema registry, such as `http://registry:8081`, with what it wants to be shown in its Secret",
    ),
    (COLUMN, "letters, digits and `_`, a letter first"),
    (
        IDENTIFIER,
        "lower-case letters, digits and `_`, a letter first",
    ),
    (RELATION, "the name of a source or step"),
    (RESOURCE, "lower-case letters, digits and `-`, without dots"),
    (SECRET, "the name of a Secret"),
    (
        SECRET_KEY,
        "the key of a Secret: letters, digits, `-`, `_` and `.`",
    ),
    (
        PATH,
        "member names with dots between them, such as `attributes.user_id`",
    ),
    (
        TOPIC,
        "the name of a topic: letters, digits, `.`, `_` and `-`",
    ),
    (
        HEADER,
        "a header without blanks that does not begin with `_`",
    ),
    (
        ORIGIN,
        "an origin without a path, such as `https://shop.example`, or `*` for all",
    ),
    (
        QUANTITY,
        "an amount such as `500m` of processor time or `512Mi` of memory",
    ),
    (
        crate::duration::PATTERN,
        "whole numbers with units, largest first, such as `250ms`, `10s`, `1h30m` or `7d`",
    ),
    (
        crate::start::PATTERN,
        "`Earliest`, `Latest` or a time with its zone such as `2026-01-31T00:00:00Z`",
    ),
];

/// What to write where `pattern` holds.
pub(crate) fn meaning(pattern: &str) -> Option<&'static str> {
    MEANINGS
        .iter()
        .find(|(known, _)| *known == pattern)
        .map(|(_, meaning)| *meaning)
}

/// Adds what each variant of an enum means to the description of the field, because a CRD has no place of its own for it.
pub(crate) fn describe_variants(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let Some(Value::Array(variants)) = object.get("oneOf") else {
        return;
    };
    let lines: Vec<String> = variants
        .iter()
        .filter_map(|variant| {
            let name = variant
                .get("const")
                .or_else(|| variant.get("enum")?.get(0))?
                .as_str()?;
            Some(format!(
                "`{name}`: {}",
                variant.get("description")?.as_str()?
            ))
        })
        .collect();
    let description = object
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let described = format!("{description}\n{}", lines.join("\n"));
    object.insert("description".to_owned(), described.trim().into());
}

/// A value of any JSON type: structural schemas allow it only where unknown fields are preserved.
pub(crate) fn any_json(schema: &mut Schema) {
    schema.insert(
        "x-kubernetes-preserve-unknown-fields".to_owned(),
        true.into(),
    );
}
