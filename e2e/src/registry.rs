//! A schema registry for tests, in their own process: of Confluent's API what readers use, with TLS and a password where they are wanted.
//!
//! It is none of the real ones. Those that speak this API are not free software, or are not to be had as a package for a test.
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::server::{ServerError, io};

const LISTENING: &str = "listening as a schema registry";

/// A registry at work. It goes when this is dropped.
#[derive(Debug)]
pub struct SchemaRegistry {
    address: SocketAddr,
    certificate: Option<String>,
    shelf: Arc<Shelf>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shelf {
    by_id: Mutex<BTreeMap<u32, Value>>,
    by_version: Mutex<HashMap<(String, i32), u32>>,
    /// What the header `authorization` has to say.
    authorization: Option<String>,
    is_away: AtomicBool,
    asked: Mutex<Vec<String>>,
}

impl SchemaRegistry {
    /// One that everybody may ask, in the clear.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn open() -> Result<Self, ServerError> {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    /// As [`Self::open`], at an address.
    ///
    /// # Errors
    /// It cannot listen there.
    pub async fn at(address: SocketAddr) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(address).await.map_err(io(LISTENING))?;
        let address = listener.local_addr().map_err(io(LISTENING))?;
        let shelf = Arc::new(Shelf::default());
        let server = axum::serve(listener, routes(&shelf));
        let serving = tokio::spawn(async move {
            // It serves until it is dropped.
            let _ = server.await;
        });
        Ok(Self {
            address,
            certificate: None,
            shelf,
            serving,
        })
    }

    /// One that speaks TLS alone, with a certificate of its own, and wants a password.
    ///
    /// # Errors
    /// It cannot listen, or the certificate cannot be made.
    pub async fn guarded(username: &str, password: &str) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(io(LISTENING))?;
        let address = listener.local_addr().map_err(io(LISTENING))?;
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                let config = config.with_no_client_auth();
                config.with_single_cert(vec![made.cert.der().clone()], key)
            })
            .map_err(std::io::Error::other)
            .map_err(io("setting up TLS"))?;
        let shelf = Arc::new(Shelf {
            authorization: Some(format!(
                "Basic {}",
                STANDARD.encode(format!("{username}:{password}"))
            )),
            ..Shelf::default()
        });
        let listener = Guarded {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        };
        let server = axum::serve(listener, routes(&shelf));
        let serving = tokio::spawn(async move {
            // As above.
            let _ = server.await;
        });
        Ok(Self {
            address,
            certificate: Some(made.cert.pem()),
            shelf,
            serving,
        })
    }

    /// Its address, as readers are told it.
    pub fn url(&self) -> String {
        let scheme = match self.certificate {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}", self.address)
    }

    /// Whom to believe that it is this one, in PEM.
    pub fn authority(&self) -> &str {
        self.certificate.as_deref().unwrap_or_default()
    }

    /// Stores a version of a subject. `references` are subjects and versions, each with the name by which the schema uses it.
    pub fn add(
        &self,
        id: u32,
        (subject, version): (&str, i32),
        kind: &str,
        schema: &str,
        references: &[(&str, &str, i32)],
    ) {
        let references = references.iter().map(|(name, subject, version)| {
            json!({"name": name, "subject": subject, "version": version})
        });
        let mut stored = json!({"schema": schema});
        // As registries do, which leave out what is the oldest.
        if kind != "AVRO" {
            stored["schemaType"] = kind.into();
        }
        let references: Vec<Value> = references.collect();
        if !references.is_empty() {
            stored["references"] = references.into();
        }
        self.shelf.by_id.lock().insert(id, stored);
        let mut by_version = self.shelf.by_version.lock();
        by_version.insert((subject.to_owned(), version), id);
    }

    /// Whether it answers 503, as proxies do for a server that is not there.
    pub fn set_away(&self, is_away: bool) {
        self.shelf.is_away.store(is_away, Ordering::SeqCst);
    }

    /// The paths that it was asked for, oldest first, while it was there.
    pub fn asked(&self) -> Vec<String> {
        self.shelf.asked.lock().clone()
    }
}

impl Drop for SchemaRegistry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn routes(shelf: &Arc<Shelf>) -> Router {
    Router::new()
        .route("/schemas/ids/{id}", get(by_id))
        .route("/subjects/{subject}/versions/{version}", get(by_version))
        .layer(from_fn_with_state(shelf.clone(), admit))
        .with_state(shelf.clone())
}

async fn admit(State(shelf): State<Arc<Shelf>>, request: Request, next: Next) -> Response {
    if shelf.is_away.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "upstream is not there").into_response();
    }
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.and_then(|value| value.to_str().ok());
    if shelf.authorization.is_some() && shelf.authorization.as_deref() != shown {
        return refused(StatusCode::UNAUTHORIZED, 401, "Unauthorized");
    }
    shelf.asked.lock().push(request.uri().path().to_owned());
    next.run(request).await
}

async fn by_id(State(shelf): State<Arc<Shelf>>, Path(id): Path<u32>) -> Response {
    match shelf.by_id.lock().get(&id) {
        Some(schema) => Json(schema.clone()).into_response(),
        None => {
            let message = format!("Schema {id} not found");
            refused(StatusCode::NOT_FOUND, 40_403, &message)
        }
    }
}

async fn by_version(
    State(shelf): State<Arc<Shelf>>,
    Path((subject, version)): Path<(String, i32)>,
) -> Response {
    let id = shelf
        .by_version
        .lock()
        .get(&(subject.clone(), version))
        .copied();
    let stored = id.and_then(|id| Some((id, shelf.by_id.lock().get(&id)?.clone())));
    match stored {
        Some((id, mut stored)) => {
            stored["id"] = id.into();
            stored["subject"] = subject.into();
            stored["version"] = version.into();
            Json(stored).into_response()
        }
        None => refused(StatusCode::NOT_FOUND, 40_402, "Version not found"),
    }
}

fn refused(status: StatusCode, code: u32, message: &str) -> Response {
    let body = Json(json!({"error_code": code, "message": message}));
    (status, body).into_response()
}

/// Takes connections that speak TLS.
struct Guarded {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Guarded {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // Whoever does not trust the certificate goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
