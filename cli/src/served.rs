//! An EventSource as ingestion takes it, with its API keys.
use tidewheel_crds::event_source::EventSourceSpec;
use tidewheel_ingest::ApiKeys;
use tidewheel_planner::problem::{Code, Problem, Severity};
use tidewheel_planner::resource::{Resource, ResourceId, SecretData};
use tidewheel_planner::source::{event_schema, topic};

const KEYS_HELP: &str = "give each key a value of visible ASCII characters below `stringData`, or `sha256:` and its digest";

/// How events of a source are checked, keyed and let in.
pub(crate) fn served_source(
    source: &Resource<EventSourceSpec>,
    api_keys: Option<ApiKeys>,
) -> Result<tidewheel_ingest::Source, Vec<Problem>> {
    let schema = event_schema(source)?;
    let index = |name: &String| schema.fields.iter().position(|field| field.name == *name);
    let fields = source.spec.schema.fields.iter().enumerate();
    let http = source.spec.http.clone().unwrap_or_default();
    Ok(tidewheel_ingest::Source {
        namespace: source.id.namespace.clone(),
        name: source.id.name.clone(),
        topic: topic(source),
        generated: fields
            .filter(|(_, field)| field.generate.is_some())
            .map(|(index, _)| index)
            .collect(),
        key: source.spec.key.iter().filter_map(index).collect(),
        api_keys,
        cors_origins: http.cors.map(|cors| cors.origins).unwrap_or_default(),
        events_per_second_per_key: http
            .limits
            .and_then(|limits| limits.events_per_second_per_key),
        schema: schema.into(),
    })
}

/// The API keys of a source; none where anybody may send. `secret` finds a Secret by namespace and name, or says what is wrong
/// and what to do.
pub(crate) fn api_keys(
    source: &Resource<EventSourceSpec>,
    secret: impl FnOnce(&str, &str) -> Result<SecretData, (String, String)>,
) -> Result<Option<ApiKeys>, Vec<Problem>> {
    let http = source.spec.http.as_ref();
    let Some(auth) = http.and_then(|http| http.auth.as_ref()) else {
        return Ok(None);
    };
    let (namespace, name) = (&source.id.namespace, &auth.api_keys.secret_ref.name);
    let secret = secret(namespace, name).map_err(|(message, help)| {
        vec![resource_problem(
            &source.id,
            Code::UnknownSecret,
            message,
            &help,
        )]
    })?;
    let id = ResourceId {
        kind: "Secret".to_owned(),
        namespace: namespace.clone(),
        name: name.clone(),
    };
    let wrong = |reason: String| {
        vec![resource_problem(
            &id,
            Code::InvalidSecret,
            reason,
            KEYS_HELP,
        )]
    };
    let texts: Result<Vec<&str>, Vec<Problem>> = secret
        .values
        .iter()
        .map(|(key, value)| {
            std::str::from_utf8(value)
                .map_err(|_| wrong(format!("the value of `{key}` is not text")))
        })
        .collect();
    ApiKeys::parse(texts?)
        .map(Some)
        .map_err(|error| wrong(error.to_string()))
}

/// A problem of a resource as a whole.
pub(crate) fn resource_problem(
    id: &ResourceId,
    code: Code,
    message: String,
    help: &str,
) -> Problem {
    Problem {
        severity: Severity::Error,
        code,
        message,
        help: Some(help.to_owned()),
        resource: Some(id.clone()),
        part: None,
        field: None,
        place: None,
    }
}
