//! The sources that take events, and who may send to them.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use parking_lot::Mutex;
use tidewheel_decode::{EventFormat, EventSchema, FieldType};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::check::Checker;
use crate::keys::{ApiKeys, Presented};
use crate::metrics::{Metrics, SourceMetrics};
use crate::rate::{Bucket, Overdrawn};
use crate::refusal::Refusal;
use crate::request_id::REQUEST_ID;

/// A source that takes events over HTTP.
#[derive(Debug, Clone)]
pub struct Source {
    /// Namespace of the EventSource.
    pub namespace: String,
    /// Name of the EventSource.
    pub name: String,
    /// Topic that its events go to.
    pub topic: String,
    /// What its events look like.
    pub schema: Arc<EventSchema>,
    /// Columns that are filled with a new uuid when they are absent or null (indices into `schema.fields`): of type uuid, and
    /// with a path of one member.
    pub generated: Vec<usize>,
    /// Columns that make the message key (indices into `schema.fields`).
    pub key: Vec<usize>,
    /// Who may send events; none lets everybody.
    pub api_keys: Option<ApiKeys>,
    /// Web origins whose pages may send events, or `*`; none answers without CORS headers.
    pub cors_origins: Vec<String>,
    /// Most events a second for each key. Without keys all senders together share it.
    pub events_per_second_per_key: Option<u32>,
}

impl Source {
    /// `<namespace>/<name>` of the EventSource.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// A source that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Two sources with one name.
    #[error("source {label} is there twice: give each a name of its own")]
    Twice {
        /// `<namespace>/<name>`.
        label: String,
    },
    /// An index beyond the schema.
    #[error("source {label} has no column {index}: it has {columns}")]
    NoColumn {
        /// `<namespace>/<name>`.
        label: String,
        /// The index.
        index: usize,
        /// How many columns there are.
        columns: usize,
    },
    /// A generated column that cannot be filled in.
    #[error(
        "source {label} cannot fill in column {column}: only a uuid whose path is one member can be generated"
    )]
    NotGenerated {
        /// `<namespace>/<name>`.
        label: String,
        /// The column.
        column: String,
    },
    /// Not a web origin.
    #[error(
        "source {label} allows the origin {origin:?}, which no browser sends: write SCHEME://HOST[:PORT] without a path, or *"
    )]
    Origin {
        /// `<namespace>/<name>`.
        label: String,
        /// The origin.
        origin: String,
    },
}

/// A source that is being served.
pub(crate) struct ActiveSource {
    pub(crate) label: String,
    pub(crate) spec: Source,
    pub(crate) metrics: SourceMetrics,
    pub(crate) cors: Option<CorsLayer>,
    /// Checkers keep their memory, so they are used again.
    checkers: Mutex<Vec<Checker>>,
    /// One for each key, or a single one for everybody.
    buckets: Vec<Arc<Bucket>>,
}

/// Checkers kept for the next request; more than run at a time only hold memory.
const MAX_IDLE_CHECKERS: usize = 8;

impl ActiveSource {
    fn new(spec: Source, metrics: &Metrics, previous: Option<&Self>) -> Result<Self, SourceError> {
        let label = spec.full_name();
        check_columns(&spec, &label)?;
        Ok(Self {
            metrics: metrics.source(&label),
            cors: cors(&spec, &label)?,
            checkers: Mutex::default(),
            buckets: buckets(&spec, previous),
            label,
            spec,
        })
    }

    /// Which bucket the sender pays from.
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<Sender, Refusal> {
        let index = match &self.spec.api_keys {
            None => 0,
            Some(keys) => {
                let presented = Presented::from_headers(headers).ok_or(Refusal::NoKey)?;
                keys.find(&presented).ok_or(Refusal::WrongKey)?
            }
        };
        Ok(Sender {
            bucket: self.buckets.get(index).cloned(),
            events_per_second: self.spec.events_per_second_per_key,
        })
    }

    /// Lends a checker to `work`.
    pub(crate) fn with_checker<R>(&self, work: impl FnOnce(&mut Checker) -> R) -> R {
        let idle = self.checkers.lock().pop();
        let mut checker = idle.unwrap_or_else(|| Checker::new(&self.spec));
        let result = work(&mut checker);
        let mut checkers = self.checkers.lock();
        if checkers.len() < MAX_IDLE_CHECKERS {
            checkers.push(checker);
        }
        result
    }

    fn path(&self) -> String {
        format!("/v1/sources/{}/events", self.label)
    }
}

/// Who sends, as far as limits go.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    bucket: Option<Arc<Bucket>>,
    events_per_second: Option<u32>,
}

impl Sender {
    /// Pays for `events`; zero only asks whether any would pass.
    pub(crate) fn pay(&self, events: usize) -> Result<(), Refusal> {
        let (Some(bucket), Some(events_per_second)) = (&self.bucket, self.events_per_second) else {
            return Ok(());
        };
        bucket
            .take(events, Instant::now())
            .map_err(|Overdrawn(wait)| Refusal::RateLimited {
                events_per_second,
                retry_after_s: wait.as_millis().div_ceil(1000).max(1) as u64,
            })
    }
}

fn check_columns(spec: &Source, label: &str) -> Result<(), SourceError> {
    let fields = &spec.schema.fields;
    for &index in spec.generated.iter().chain(&spec.key) {
        if index >= fields.len() {
            return Err(SourceError::NoColumn {
                label: label.to_owned(),
                index,
                columns: fields.len(),
            });
        }
    }
    for field in spec.generated.iter().filter_map(|&index| fields.get(index)) {
        if field.data_type != FieldType::Uuid || field.path.len() != 1 {
            return Err(SourceError::NotGenerated {
                label: label.to_owned(),
                column: field.name.clone(),
            });
        }
    }
    Ok(())
}

fn cors(spec: &Source, label: &str) -> Result<Option<CorsLayer>, SourceError> {
    let mut origins = Vec::new();
    for origin in &spec.cors_origins {
        let refused = || SourceError::Origin {
            label: label.to_owned(),
            origin: origin.clone(),
        };
        let is_origin = origin.split_once("://").is_some_and(|(scheme, host)| {
            !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '*', '?', '#', '@'])
        });
        if origin != "*" && !is_origin {
            return Err(refused());
        }
        origins.push(HeaderValue::from_str(origin).map_err(|_| refused())?);
    }
    if origins.is_empty() {
        return Ok(None);
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins)
    };
    let headers = match spec.schema.format {
        EventFormat::Json | EventFormat::Avro | EventFormat::Protobuf => AllowHeaders::list([
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::AUTHORIZATION,
            HeaderName::from_static("x-api-key"),
            REQUEST_ID,
        ]),
        // Attributes have whatever names senders give them.
        EventFormat::CloudEvents => AllowHeaders::mirror_request(),
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::POST])
        .allow_headers(headers)
        .expose_headers([header::RETRY_AFTER, REQUEST_ID])
        .max_age(Duration::from_secs(600));
    Ok(Some(layer))
}

/// New buckets, but whoever was overdrawn before a change of the configuration still is.
fn buckets(spec: &Source, previous: Option<&ActiveSource>) -> Vec<Arc<Bucket>> {
    let Some(rate) = spec.events_per_second_per_key else {
        return Vec::new();
    };
    let previous =
        previous.filter(|previous| previous.spec.events_per_second_per_key == Some(rate));
    let now = Instant::now();
    let keep = |position: Option<usize>| previous?.buckets.get(position?).cloned();
    let fresh = || Arc::new(Bucket::new(rate, now));
    match &spec.api_keys {
        None => {
            let was_open = previous.is_some_and(|previous| previous.spec.api_keys.is_none());
            vec![keep(was_open.then_some(0)).unwrap_or_else(fresh)]
        }
        Some(keys) => {
            let before = previous.and_then(|previous| previous.spec.api_keys.as_ref());
            let position = |digest| before?.digests().iter().position(|other| other == digest);
            keys.digests()
                .iter()
                .map(|digest| keep(position(digest)).unwrap_or_else(fresh))
                .collect()
        }
    }
}

/// Which source a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The only one there is.
    Only,
    /// `<namespace>/<name>`.
    Named(String),
}

/// All sources that are being served.
#[derive(Default)]
pub(crate) struct Sources {
    by_label: HashMap<String, Arc<ActiveSource>>,
}

impl Sources {
    /// The sources of a new configuration; what goes on from `previous` keeps its limits.
    pub(crate) fn new(
        specs: Vec<Source>,
        metrics: &Metrics,
        previous: &Self,
    ) -> Result<Self, SourceError> {
        let mut by_label = HashMap::with_capacity(specs.len());
        for spec in specs {
            let label = spec.full_name();
            let source = ActiveSource::new(
                spec,
                metrics,
                previous.by_label.get(&label).map(Arc::as_ref),
            )?;
            if by_label.insert(label.clone(), Arc::new(source)).is_some() {
                return Err(SourceError::Twice { label });
            }
        }
        Ok(Self { by_label })
    }

    pub(crate) fn find(
        &self,
        target: &Target,
        headers: &HeaderMap,
    ) -> Result<Arc<ActiveSource>, Refusal> {
        let found = match target {
            Target::Named(label) => self.by_label.get(label),
            Target::Only if self.by_label.len() == 1 => self.by_label.values().next(),
            Target::Only => None,
        };
        found.cloned().ok_or_else(|| match target {
            _ if self.by_label.is_empty() => Refusal::NoSources,
            Target::Only => Refusal::SeveralSources(self.open_paths(headers)),
            Target::Named(label) => Refusal::UnknownSource(label.clone(), self.open_paths(headers)),
        })
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        self.by_label
            .values()
            .map(|source| source.spec.topic.clone())
            .collect()
    }

    /// The paths that the sender may use anyway: names are not told to strangers.
    fn open_paths(&self, headers: &HeaderMap) -> Vec<String> {
        let open = self
            .by_label
            .values()
            .filter(|source| source.authenticate(headers).is_ok());
        let mut paths: Vec<_> = open.map(|source| source.path()).collect();
        paths.sort_unstable();
        paths
    }
}
