//! Taking events: from a request to an acknowledged append and an honest answer.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use bytes::Bytes;
use tidewheel_decode::{DEFAULT_MAX_EVENT_BYTES, EventFormat};
use tidewheel_log::{Log, LogError, NewRecord};
use tokio::time::timeout;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tracing::{Instrument as _, debug, info, info_span, warn};

use crate::answer::Outcome;
use crate::body;
use crate::check::Checked;
use crate::cloud_events;
use crate::ingest::Shared;
use crate::memory::Share;
use crate::refusal::Refusal;
use crate::request_id::{self, REQUEST_ID};
use crate::settings::IngestSettings;
use crate::source::{ActiveSource, Sender, Target};

/// Memory that an event costs besides its bytes: its record, its key, its place in the answer.
const EVENT_OVERHEAD_BYTES: usize = 512;

/// How many bytes a byte of data can become as JSON.
const ESCAPED: usize = 6;

/// Bodies from this size on are checked on a thread where they hold nobody up.
const BLOCKING_FROM_BYTES: usize = 256 << 10;

/// What the largest request that is allowed can hold of the byte budget.
pub(crate) fn largest_request_bytes(settings: &IngestSettings) -> usize {
    let body_bytes = settings.max_body_bytes.max(settings.max_decompressed_bytes);
    2 * body_bytes + EVENT_OVERHEAD_BYTES * settings.max_events_per_request
}

/// Answers one request, whatever it is; `target` is none where the path is unknown.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    target: Option<Target>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let id = request_id::of(request.headers());
    let found = match &target {
        Some(target) => shared.sources().find(target, request.headers()),
        None => Err(Refusal::UnknownPath),
    };
    let label = found
        .as_ref()
        .map_or(String::new(), |source| source.label.clone());
    let span = info_span!(
        "request",
        request_id = id.to_str().unwrap_or_default(),
        source = label
    );
    async {
        let mut response = match &found {
            Ok(source) => answer_for_source(&shared, source, request).await,
            Err(refusal) => Outcome::from(refusal.clone()).into_response(),
        };
        let (status, duration) = (response.status().as_u16(), started.elapsed());
        match &found {
            Ok(source) => source.metrics.request(status, duration),
            Err(_) => shared.metrics.request_without_source(status),
        }
        let duration_ms = duration.as_secs_f64() * 1e3;
        match status {
            500.. => warn!(status, duration_ms, "request failed"),
            400.. => info!(status, duration_ms, "request refused"),
            _ => debug!(status, duration_ms, "request answered"),
        }
        response.headers_mut().insert(REQUEST_ID, id.clone());
        response
    }
    .instrument(span)
    .await
}

/// Puts the source's CORS rules around the answer, so that pages can read refusals as well.
async fn answer_for_source(
    shared: &Arc<Shared>,
    source: &Arc<ActiveSource>,
    request: Request,
) -> Response {
    let cors = source
        .cors
        .as_ref()
        .filter(|_| request.headers().contains_key(header::ORIGIN));
    let Some(cors) = cors else {
        return take(shared, source, request).await.into_response();
    };
    let service = service_fn(|request: Request| async {
        Ok::<_, Infallible>(take(shared, source, request).await.into_response())
    });
    match cors.layer(service).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn take(shared: &Arc<Shared>, source: &Arc<ActiveSource>, request: Request) -> Outcome {
    let outcome = match receive(shared, source, request).await {
        Ok((checked, share)) => store(shared, source, checked, share).await,
        Err(refusal) => refusal.into(),
    };
    source.metrics.accepted.inc_by(outcome.accepted as u64);
    for event in &outcome.refused {
        source.metrics.refused_event(event.code);
    }
    outcome
}

/// Reads and checks the events of a request. The checks that cost nothing come first.
async fn receive(
    shared: &Arc<Shared>,
    source: &Arc<ActiveSource>,
    request: Request,
) -> Result<(Checked, Share), Refusal> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return Err(Refusal::Method);
    }
    let sender = source.authenticate(&head.headers)?;
    let is_cloud_event = source.spec.schema.format == EventFormat::CloudEvents;
    let is_binary = is_cloud_event && cloud_events::is_binary(&head.headers)?;
    if !is_binary {
        body::expect_json(&head.headers)?;
    }
    let encoding = body::encoding(&head.headers)?;
    sender.pay(0)?;
    let mut share = shared.memory.share();
    let body: Bytes = body::read(
        Body::new(body),
        &head.headers,
        encoding,
        &shared.settings,
        &mut share,
    )
    .await?;
    source.metrics.bytes.inc_by(body.len() as u64);
    let work = Unchecked {
        source: source.clone(),
        sender,
        body,
        binary: is_binary.then_some(head.headers),
        share,
    };
    let settings = shared.settings.clone();
    if work.body.len() < BLOCKING_FROM_BYTES {
        return work.check(&settings);
    }
    tokio::task::spawn_blocking(move || work.check(&settings))
        .await
        .unwrap_or(Err(Refusal::Internal))
}

/// A body that was read.
struct Unchecked {
    source: Arc<ActiveSource>,
    sender: Sender,
    body: Bytes,
    /// The headers, where they hold the attributes of a CloudEvent and the body its data.
    binary: Option<HeaderMap>,
    share: Share,
}

impl Unchecked {
    fn check(mut self, settings: &IngestSettings) -> Result<(Checked, Share), Refusal> {
        let events = match &self.binary {
            None => split(&self.body, settings.max_events_per_request)?,
            Some(headers) => {
                self.share
                    .grow(ESCAPED * self.body.len().min(DEFAULT_MAX_EVENT_BYTES))
                    .map_err(|_| Refusal::Overloaded)?;
                let schema = &self.source.spec.schema;
                match cloud_events::from_binary(schema, headers, &self.body) {
                    Ok(event) => vec![Bytes::from(event)],
                    Err(error) => {
                        self.sender.pay(1)?;
                        return Ok((Checked::refused(error), self.share));
                    }
                }
            }
        };
        self.sender.pay(events.len())?;
        // Columns and texts that are made of the body are never larger than it.
        let cost_bytes = self.body.len() + EVENT_OVERHEAD_BYTES * events.len();
        self.share
            .grow(cost_bytes)
            .map_err(|_| Refusal::Overloaded)?;
        Ok((
            self.source.with_checker(|checker| checker.check(&events)),
            self.share,
        ))
    }
}

/// The events of a body, each a slice of it.
fn split(body: &Bytes, limit: usize) -> Result<Vec<Bytes>, Refusal> {
    let split = tidewheel_decode::body::split_first(body, limit.saturating_add(1))
        .map_err(|error| Refusal::Unreadable(error.to_string()))?;
    let events: Vec<_> = split
        .events
        .into_iter()
        .map(|event| body.slice_ref(event))
        .collect();
    match events.len() {
        0 => Err(Refusal::Empty),
        count if count > limit => Err(Refusal::TooManyEvents { limit }),
        _ => Ok(events),
    }
}

/// Appends the good events and says what became of all.
async fn store(
    shared: &Arc<Shared>,
    source: &ActiveSource,
    checked: Checked,
    share: Share,
) -> Outcome {
    let Checked {
        records,
        refused,
        generated,
    } = checked;
    let mut outcome = Outcome {
        refused,
        generated,
        ..Outcome::default()
    };
    if records.is_empty() {
        outcome.share = Some(share);
        return outcome;
    }
    let count = records.len();
    let started = Instant::now();
    let appended = append(shared, records, share).await;
    source
        .metrics
        .appends
        .observe(started.elapsed().as_secs_f64());
    match appended {
        Ok(share) => {
            outcome.accepted = count;
            outcome.share = Some(share);
        }
        Err(refusal) => {
            source.metrics.unacknowledged.inc_by(count as u64);
            outcome.refusal = Some(refusal);
        }
    }
    outcome
}

/// Appends in a task of its own: a client that goes away must not leave half an append behind, and what a log that hangs
/// holds stays accounted for.
async fn append(
    shared: &Arc<Shared>,
    records: Vec<NewRecord>,
    share: Share,
) -> Result<Share, Refusal> {
    let log: Arc<dyn Log> = shared.log.clone();
    let append = tokio::spawn(async move { (log.append(records).await, share) }.in_current_span());
    match timeout(shared.settings.append_timeout, append).await {
        Ok(Ok((Ok(_), share))) => {
            shared.stored();
            Ok(share)
        }
        Ok(Ok((
            Err(LogError::TooLarge {
                size_bytes,
                limit_bytes,
            }),
            _,
        ))) => Err(Refusal::RecordTooLarge {
            size_bytes,
            limit_bytes,
        }),
        Ok(Ok((Err(error), _))) => {
            warn!(%error, "the log refused events");
            shared.not_stored(error.to_string());
            Err(Refusal::LogUnavailable)
        }
        Ok(Err(_)) => Err(Refusal::Internal),
        Err(_) => {
            warn!(
                timeout_s = shared.settings.append_timeout.as_secs_f64(),
                "the log did not acknowledge in time"
            );
            shared.not_stored("the log did not acknowledge in time".to_owned());
            Err(Refusal::LogUnavailable)
        }
    }
}
