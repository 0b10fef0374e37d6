//! Connections: how many, how slow, and how they end.
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntGauge;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::settings::{IngestSettings, MAX_HEAD_BYTES, READ_BUFFER_BYTES};
use crate::waiting::{Guest, Waiting, watched};

/// How long to wait before accepting again when the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection that was answered early may go on sending. Closing it at once would reset it, and the client would
/// never read why.
const LINGER: Duration = Duration::from_secs(2);

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy at the deadline and were cut off.
    pub cut_off: usize,
}

/// Serves `router` until `shutdown` is ready, then until every request that was begun is answered or the deadline has passed.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    settings: &IngestSettings,
    connections: &IntGauge,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let slots = Arc::new(Semaphore::new(settings.max_connections));
    let waiting = Waiting::default();
    let (drain, cut_off) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    let http = http(settings);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots, &waiting) => accepted,
        };
        let Some((stream, slot)) = accepted else {
            continue;
        };
        let connection = Connection {
            http: http.clone(),
            router: router.clone(),
            write_timeout: settings.write_timeout,
            drain: drain.clone(),
            guest: Arc::new(waiting.enter()),
            open: Open::new(connections.clone(), slot),
        };
        let cut_off = cut_off.clone();
        tasks.spawn(async move {
            cut_off.run_until_cancelled(connection.serve(stream)).await;
        });
    }
    // Connections that nobody has accepted yet are refused, so that their clients go elsewhere at once.
    drop(listener);
    drain.cancel();
    tasks.close();
    if timeout(settings.shutdown_grace, tasks.wait()).await.is_ok() {
        return Drained { cut_off: 0 };
    }
    let drained = Drained {
        cut_off: tasks.len(),
    };
    warn!(
        connections = drained.cut_off,
        "the shutdown's deadline passed: cutting connections off"
    );
    cut_off.cancel();
    tasks.wait().await;
    drained
}

fn http(settings: &IngestSettings) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(READ_BUFFER_BYTES)
        .max_header_size(MAX_HEAD_BYTES);
    http
}

/// The next connection, once there is room for it. None when the system refused; that was logged.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    waiting: &Waiting,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let stream = match listener.accept().await {
        Ok((stream, _)) => stream,
        Err(error) => {
            warn!(%error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
            return None;
        }
    };
    if slots.available_permits() == 0 {
        waiting.dismiss_longest();
    }
    let slot = slots.clone().acquire_owned().await.ok()?;
    Some((stream, slot))
}

/// Counts a connection while it is open, and gives its place back.
struct Open {
    gauge: IntGauge,
    _slot: OwnedSemaphorePermit,
}

impl Open {
    fn new(gauge: IntGauge, slot: OwnedSemaphorePermit) -> Self {
        gauge.inc();
        Self { gauge, _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

type Stream = Pin<Box<TimeoutStream<TcpStream>>>;

struct Connection {
    http: http1::Builder,
    router: Router,
    write_timeout: Duration,
    drain: CancellationToken,
    guest: Arc<Guest>,
    open: Open,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        let _open = self.open;
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY was not set");
        }
        let mut stream = TimeoutStream::new(stream);
        // Without it, a client that never reads its answers would hold them for ever.
        stream.set_write_timeout(Some(self.write_timeout));
        let (router, guest) = (self.router, self.guest.clone());
        let service = service_fn(move |request| {
            let (router, guest) = (router.clone(), guest.clone());
            Box::pin(async move {
                let answer = router.oneshot(watched(request, guest.clone())).await;
                guest.waits();
                answer
            })
        });
        let mut connection = self
            .http
            .serve_connection(TokioIo::new(Box::pin(stream)), service);
        let mut draining = false;
        let ended = loop {
            tokio::select! {
                ended = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
                () = self.guest.dismissed() => return debug!("a connection that waited made room for another"),
                () = self.drain.cancelled(), if !draining => {
                    draining = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        match ended {
            Ok(()) => tokio::select! {
                () = close(connection.into_parts().io.into_inner()) => {}
                () = self.guest.dismissed() => {}
            },
            Err(error) => debug!(%error, "connection ended"),
        }
    }
}

/// Says that no more will come, and lets the client finish reading before the connection goes.
async fn close(mut stream: Stream) {
    let lingering = async {
        stream.shutdown().await?;
        let mut scratch = vec![0; 8 << 10];
        while stream.read(&mut scratch).await? > 0 {}
        std::io::Result::Ok(())
    };
    if let Ok(Err(error)) = timeout(LINGER, lingering).await {
        debug!(%error, "connection ended while it was closed");
    }
}
