//! Connections on which the server waits for the client: who makes room when there is none.
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use futures::StreamExt as _;
use futures::stream;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The connections that owe something: a head, the rest of a body, or a next request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting {
    line: Arc<Mutex<Line>>,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// Whoever has waited longest comes first.
    places: BTreeMap<u64, CancellationToken>,
}

impl Waiting {
    /// A connection that has just come.
    pub(crate) fn enter(&self) -> Guest {
        let guest = Guest {
            line: self.line.clone(),
            place: Mutex::new(None),
            leave: CancellationToken::new(),
        };
        guest.waits();
        guest
    }

    /// Tells the connection that has waited longest to go. Does nothing where none waits: all are at work then.
    pub(crate) fn dismiss_longest(&self) {
        if let Some((_, leave)) = self.line.lock().places.pop_first() {
            leave.cancel();
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Guest {
    line: Arc<Mutex<Line>>,
    place: Mutex<Option<u64>>,
    leave: CancellationToken,
}

impl Guest {
    /// Returns when its place is needed by somebody else.
    pub(crate) async fn dismissed(&self) {
        self.leave.cancelled().await;
    }

    /// The client is to send something: it goes to the end of the line.
    pub(crate) fn waits(&self) {
        let (mut place, mut line) = (self.place.lock(), self.line.lock());
        if let Some(place) = *place {
            line.places.remove(&place);
        }
        let next = line.next;
        line.next += 1;
        line.places.insert(next, self.leave.clone());
        *place = Some(next);
    }

    /// The client has sent all it has to: until its answer is there, it is not dismissed.
    fn is_served(&self) {
        if let Some(place) = self.place.lock().take() {
            self.line.lock().places.remove(&place);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.is_served();
    }
}

/// The request, whose client is served from when all of its body was read.
pub(crate) fn watched<B>(request: Request<B>, guest: Arc<Guest>) -> Request
where
    B: axum::body::HttpBody<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    guest.waits();
    if request.body().is_end_stream() {
        guest.is_served();
        return request.map(Body::new);
    }
    let served = move || {
        guest.is_served();
        stream::empty()
    };
    request.map(|body| {
        let frames = Body::new(body).into_data_stream();
        Body::from_stream(frames.chain(stream::once(async move { served() }).flatten()))
    })
}
