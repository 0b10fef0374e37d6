//! The one shape of every answer to a sender of events.
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;

use crate::check::{GeneratedValue, RefusedEvent};
use crate::memory::Share;
use crate::refusal::Refusal;
use crate::settings::MAX_REFUSED_LISTED;

/// What became of a request.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Events that the log has acknowledged.
    pub(crate) accepted: usize,
    pub(crate) refused: Vec<RefusedEvent>,
    pub(crate) generated: Vec<GeneratedValue>,
    /// Set where the request failed as a whole.
    pub(crate) refusal: Option<Refusal>,
    /// Memory that the answer still holds.
    pub(crate) share: Option<Share>,
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal: Some(refusal),
            ..Self::default()
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerBody<'a> {
    accepted: usize,
    refused: &'a [RefusedEvent],
    refused_total: usize,
    generated: &'a [GeneratedValue],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

#[derive(Serialize)]
struct ErrorBody {
    code: &'static str,
    reason: String,
}

/// The bytes of an answer, which count as held until the client has taken them.
struct HeldAnswer {
    json: Vec<u8>,
    _share: Option<Share>,
}

impl AsRef<[u8]> for HeldAnswer {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

impl Outcome {
    pub(crate) fn status(&self) -> StatusCode {
        match &self.refusal {
            Some(refusal) => refusal.status(),
            None if self.refused.is_empty() => StatusCode::ACCEPTED,
            None if self.accepted == 0 => StatusCode::BAD_REQUEST,
            None => StatusCode::MULTI_STATUS,
        }
    }

    pub(crate) fn into_response(self) -> Response {
        let body = AnswerBody {
            accepted: self.accepted,
            refused: &self.refused[..self.refused.len().min(MAX_REFUSED_LISTED)],
            refused_total: self.refused.len(),
            generated: &self.generated,
            error: self.refusal.as_ref().map(|refusal| ErrorBody {
                code: refusal.code(),
                reason: refusal.to_string(),
            }),
        };
        // Numbers and strings only: there is nothing in it that could fail to become JSON.
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let status = self.status();
        let mut share = self.share;
        if let Some(share) = &mut share {
            share.shrink_to(json.len());
        }
        let mut response = Response::new(Body::from(Bytes::from_owner(HeldAnswer {
            json,
            _share: share,
        })));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some((name, value)) = self.refusal.as_ref().and_then(Refusal::header) {
            headers.insert(name, value);
        }
        response
    }
}
