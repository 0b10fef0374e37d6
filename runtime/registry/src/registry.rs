//! A registry that is asked for schemas.
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tidewheel_decode::avro::AvroSchema;
use tidewheel_decode::framed::Encoding;
use tidewheel_decode::protobuf::{Import, ProtobufSchema};
use tidewheel_decode::writer_schema::WriterSchema;
use tokio::time::timeout;

use crate::absences::Absences;
use crate::access::{Access, AccessError};
use crate::answer::{Reference, Refused, Stored};

/// How long a registry may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// The largest answer that is read, bytes.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// How many schemas one may use, those that these use included.
const MAX_REFERENCES: usize = 256;
/// How much of an answer that was not understood is shown.
const SHOWN_CHARS: usize = 200;

/// What a registry says, in the body of its answer, of an id that it does not know. Whatever stands between may answer 404 as well.
const NO_SCHEMA: u32 = 40_403;

/// What registries speak.
const SPOKEN: HeaderValue = HeaderValue::from_static(
    "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json",
);

/// A registry that is asked for schemas, and remembers them.
pub struct Registry {
    base: String,
    authorization: Option<HeaderValue>,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    known: Mutex<HashMap<u32, Arc<WriterSchema>>>,
    absences: Mutex<Absences>,
}

/// A schema that could not be read now. Asking again may help.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It did not answer.
    #[error("the schema registry at {url} does not answer: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        reason: String,
    },
    /// It answered something else than a schema.
    #[error("the schema registry at {url} answers {status}: {message}")]
    Refused {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Its own code of what is wrong, where it says one.
        code: Option<u32>,
        /// What it says.
        message: String,
    },
    /// It says that it has no such schema, and has not said so for long.
    #[error(
        "the schema registry at {url} says that there is no such schema, which it is asked again: a replica of it may be behind"
    )]
    NotYet {
        /// What was asked for.
        url: String,
    },
    /// Its answer makes no sense.
    #[error("the schema registry at {url} answers what is no schema: {reason}")]
    Unreadable {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Registry {
    /// A registry. Connects when first asked.
    ///
    /// # Errors
    /// It cannot be asked in this way.
    pub fn new(access: &Access) -> Result<Self, AccessError> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(access.tls()?)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            base: access.base()?,
            authorization: access.authorization()?,
            client: Client::builder(TokioExecutor::new()).build(connector),
            known: Mutex::default(),
            absences: Mutex::default(),
        })
    }

    /// The schema of an id. One that is known already is not asked for; that there is none is never known for good, and counts once it
    /// has been said for a while.
    ///
    /// # Errors
    /// It could not be read now.
    pub async fn schema(&self, id: u32) -> Result<Arc<WriterSchema>, RegistryError> {
        if let Some(known) = self.known.lock().get(&id) {
            return Ok(known.clone());
        }
        let at = format!("/schemas/ids/{id}");
        let stored: Stored = match self.get(&at).await {
            Err(RegistryError::Refused { code, url, .. }) if code == Some(NO_SCHEMA) => {
                let is_sure = self.absences.lock().is_sure(id, Instant::now());
                return if is_sure {
                    Ok(Arc::new(WriterSchema::Absent))
                } else {
                    Err(RegistryError::NotYet { url })
                };
            }
            stored => stored?,
        };
        self.absences.lock().forget(id);
        let schema = Arc::new(self.read(stored).await?);
        self.known.lock().insert(id, schema.clone());
        Ok(schema)
    }

    async fn read(&self, stored: Stored) -> Result<WriterSchema, RegistryError> {
        const AVRO: &str = Encoding::Avro.schema_type();
        const PROTOBUF: &str = Encoding::Protobuf.schema_type();
        let parse: fn(&str, Vec<Import>) -> WriterSchema =
            match stored.schema_type.as_deref().unwrap_or(AVRO) {
                AVRO => avro,
                PROTOBUF => protobuf,
                other => return Ok(WriterSchema::Other(other.to_owned())),
            };
        let used = self.referenced(&stored).await?;
        Ok(used.map_or_else(too_many, |used| parse(&stored.schema, used)))
    }

    /// The schemas that one uses, each after those that it uses itself, with the names by which they are used; none where they are too many.
    async fn referenced(&self, root: &Stored) -> Result<Option<Vec<Import>>, RegistryError> {
        let mut seen: HashSet<Reference> = HashSet::new();
        let mut used_first = Vec::new();
        // From the root down to the one in hand, each with its name and how many of its references were looked at.
        let mut path: Vec<(Cow<'_, Stored>, String, usize)> =
            vec![(Cow::Borrowed(root), String::new(), 0)];
        while let Some((stored, _, looked_at)) = path.last_mut() {
            let next = stored.references.get(*looked_at).cloned();
            *looked_at += 1;
            match next {
                Some(reference) if seen.contains(&reference) => {}
                Some(reference) => {
                    let subject = utf8_percent_encode(&reference.subject, NON_ALPHANUMERIC);
                    let at = format!(
                        "/subjects/{subject}/versions/{}?deleted=true",
                        reference.version
                    );
                    if seen.len() == MAX_REFERENCES {
                        return Ok(None);
                    }
                    let name = reference.name.clone();
                    seen.insert(reference);
                    path.push((Cow::Owned(self.get(&at).await?), name, 0));
                }
                None => {
                    let done = path.pop();
                    if !path.is_empty() {
                        used_first.extend(done.map(|(stored, name, _)| Import {
                            name,
                            source: stored.schema.clone(),
                        }));
                    }
                }
            }
        }
        Ok(Some(used_first))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RegistryError> {
        let url = format!("{}{path}", self.base);
        let unreachable = |reason: String| RegistryError::Unreachable {
            url: url.clone(),
            reason,
        };
        let answer = timeout(ANSWERS_WITHIN, self.ask(&url)).await;
        let answer = answer.map_err(|_| unreachable(format!("not within {ANSWERS_WITHIN:?}")))?;
        let (status, body) = answer.map_err(&unreachable)?;
        if status != 200 {
            let said = serde_json::from_slice::<Refused>(&body).ok();
            let code = said.as_ref().map(|refused| refused.error_code);
            let text = String::from_utf8_lossy(&body);
            let message = said.map_or(text.into_owned(), |refused| refused.message);
            return Err(RegistryError::Refused {
                url,
                status,
                code,
                message: message.chars().take(SHOWN_CHARS).collect(),
            });
        }
        serde_json::from_slice(&body).map_err(|error| RegistryError::Unreadable {
            url,
            reason: error.to_string(),
        })
    }

    async fn ask(&self, url: &str) -> Result<(u16, Bytes), String> {
        let mut request = Request::get(url).header(ACCEPT, SPOKEN);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| chain(&error))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect();
        let body = body.await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }
}

fn avro(schema: &str, referenced: Vec<Import>) -> WriterSchema {
    // Schemas of Avro use types by the names that these have themselves.
    let referenced = referenced.into_iter().map(|import| import.source);
    let schema = AvroSchema::parse(schema, &referenced.collect::<Vec<_>>());
    schema.map_or_else(|error| unreadable(&error), WriterSchema::Avro)
}

fn protobuf(schema: &str, referenced: Vec<Import>) -> WriterSchema {
    let schema = ProtobufSchema::parse(schema, &referenced);
    schema.map_or_else(|error| unreadable(&error), WriterSchema::Protobuf)
}

fn too_many() -> WriterSchema {
    WriterSchema::Unreadable(format!("it uses more than {MAX_REFERENCES} others"))
}

fn unreadable(error: &dyn std::error::Error) -> WriterSchema {
    WriterSchema::Unreadable(error.to_string())
}

/// An error with what caused it: that is where the reason stands.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
