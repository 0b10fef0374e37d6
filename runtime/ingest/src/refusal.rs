//! Why a request is refused as a whole.
use axum::http::{HeaderName, HeaderValue, StatusCode, header};

/// Why a request was refused as a whole. Its text is what the client reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no API key: send it as `X-API-Key: KEY` or `Authorization: Bearer KEY`")]
    NoKey,
    #[error("the API key does not open this source")]
    WrongKey,
    #[error("there is no source {0} here: the path is /v1/sources/NAMESPACE/NAME/events{paths}", paths = listed(.1))]
    UnknownSource(String, Vec<String>),
    #[error("no source takes events over HTTP yet")]
    NoSources,
    #[error("several sources take events here, so the path must name one: /v1/sources/NAMESPACE/NAME/events{paths}", paths = listed(.0))]
    SeveralSources(Vec<String>),
    #[error(
        "nothing is served at this path: events go to POST /v1/events or POST /v1/sources/NAMESPACE/NAME/events"
    )]
    UnknownPath,
    #[error("events are sent with POST")]
    Method,
    #[error("the body did not arrive in time: send it without pauses, or in smaller batches")]
    SlowBody,
    #[error("the body ended before it was complete")]
    BrokenBody,
    #[error("the body is larger than {limit_bytes} bytes: send fewer events at a time")]
    BodyTooLarge { limit_bytes: usize },
    #[error(
        "the body is larger than {limit_bytes} bytes once decompressed: send fewer events at a time"
    )]
    DecompressedTooLarge { limit_bytes: usize },
    #[error("the request holds more than {limit} events: send fewer at a time")]
    TooManyEvents { limit: usize },
    #[error(
        "the log does not take a record of {size_bytes} bytes, the limit is {limit_bytes}: send smaller events. Other events of this request may have been stored"
    )]
    RecordTooLarge {
        size_bytes: usize,
        limit_bytes: usize,
    },
    #[error(
        "the content type is not JSON: send `Content-Type: application/json` or `application/x-ndjson`, in UTF-8"
    )]
    ContentType,
    #[error(
        "CloudEvents are read in JSON alone: send `application/cloudevents+json` or `application/cloudevents-batch+json`, or the attributes in `ce-` headers"
    )]
    CloudEventsFormat,
    #[error("the content encoding is not supported: send `Content-Encoding: gzip`, or none")]
    ContentEncoding,
    #[error("the body is not valid gzip: it is damaged or was cut off")]
    Gzip,
    #[error(
        "there is no event in the body: send a JSON object, an array of objects, or an object a line (NDJSON)"
    )]
    Empty,
    #[error("the body cannot be split into events: {0}")]
    Unreadable(String),
    #[error(
        "too many events for this key: the limit is {events_per_second} a second; come back in {retry_after_s} s"
    )]
    RateLimited {
        events_per_second: u32,
        retry_after_s: u64,
    },
    #[error("too many requests are being worked on; come back in a moment")]
    Overloaded,
    #[error(
        "the log did not acknowledge the events, and some may have been stored: send all of them again. Events that carry the ids named in `generated`, or ids of their own, can be sent again safely"
    )]
    LogUnavailable,
    #[error("something went wrong here, and the events may not have been stored: send them again")]
    Internal,
}

fn listed(paths: &[String]) -> String {
    if paths.is_empty() {
        String::new()
    } else {
        format!("; your key opens {}", paths.join(", "))
    }
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoKey | Self::WrongKey => StatusCode::UNAUTHORIZED,
            Self::UnknownSource(..)
            | Self::NoSources
            | Self::SeveralSources(_)
            | Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. }
            | Self::DecompressedTooLarge { .. }
            | Self::TooManyEvents { .. }
            | Self::RecordTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentType | Self::CloudEventsFormat | Self::ContentEncoding => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::BrokenBody | Self::Gzip | Self::Empty | Self::Unreadable(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded | Self::LogUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A stable word that programs can rely on.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NoKey => "NoKey",
            Self::WrongKey => "WrongKey",
            Self::UnknownSource(..) | Self::NoSources => "UnknownSource",
            Self::SeveralSources(_) => "SeveralSources",
            Self::UnknownPath => "UnknownPath",
            Self::Method => "MethodNotAllowed",
            Self::SlowBody => "SlowBody",
            Self::BrokenBody => "BrokenBody",
            Self::BodyTooLarge { .. } | Self::DecompressedTooLarge { .. } => "BodyTooLarge",
            Self::TooManyEvents { .. } => "TooManyEvents",
            Self::RecordTooLarge { .. } => "RecordTooLarge",
            Self::ContentType | Self::CloudEventsFormat => "ContentType",
            Self::ContentEncoding => "ContentEncoding",
            Self::Gzip => "Gzip",
            Self::Empty => "Empty",
            Self::Unreadable(_) => "Unreadable",
            Self::RateLimited { .. } => "RateLimited",
            Self::Overloaded => "Overloaded",
            Self::LogUnavailable => "LogUnavailable",
            Self::Internal => "Internal",
        }
    }

    /// The header that tells a client what to do about it.
    pub(crate) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        Some(match self {
            Self::NoKey | Self::WrongKey => {
                (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            Self::Method => (header::ALLOW, HeaderValue::from_static("POST")),
            Self::ContentEncoding => (header::ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
            Self::SlowBody => (header::CONNECTION, HeaderValue::from_static("close")),
            Self::RateLimited { retry_after_s, .. } => {
                (header::RETRY_AFTER, HeaderValue::from(*retry_after_s))
            }
            Self::Overloaded => (header::RETRY_AFTER, HeaderValue::from_static("1")),
            Self::LogUnavailable => (header::RETRY_AFTER, HeaderValue::from_static("5")),
            _ => return None,
        })
    }
}
