//! A server on a socket of its own, over an embedded log that can be made to fail.
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus::Registry;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use tidewheel_decode::{EventSchema, Field, FieldType, UnknownFields};
use tidewheel_ingest::{ApiKeys, Drained, Ingest, IngestSettings, Source, listen};
use tidewheel_log::{
    Appended, Cleanup, EmbeddedLog, Log, LogError, Member, NewRecord, Offsets, Options, Producer,
    Reader, Record, TopicInfo, TopicSettings,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longer than anything may take; only a failure waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const GOOD: &str =
    r#"{"id":"7f3c1d3a-5a0e-4d6f-9f8e-0c1a2b3c4d5e","user":"u1","amount":1}"#;

pub(crate) fn schema() -> EventSchema {
    let field = |name: &str, data_type, required| Field {
        name: name.into(),
        part: tidewheel_decode::Part::Value,
        path: vec![name.into()],
        data_type,
        required,
    };
    EventSchema {
        fields: vec![
            field("id", FieldType::Uuid, true),
            field("user", FieldType::Text, true),
            field("amount", FieldType::Double, false),
        ],
        unknown: UnknownFields::Keep,
        format: tidewheel_decode::EventFormat::Json,
    }
}

pub(crate) fn source(name: &str) -> Source {
    Source {
        namespace: "shop".into(),
        name: name.into(),
        topic: format!("shop.{name}"),
        schema: Arc::new(schema()),
        generated: vec![0],
        key: vec![1],
        api_keys: None,
        cors_origins: Vec::new(),
        events_per_second_per_key: None,
    }
}

pub(crate) fn keys(keys: &[&str]) -> Option<ApiKeys> {
    Some(ApiKeys::parse(keys).unwrap())
}

/// How the log behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    Down,
    /// Calls wait until this changes.
    Hanging,
}

/// The embedded log behind a connection that can fail.
pub(crate) struct WeatheredLog {
    inner: EmbeddedLog,
    weather: watch::Receiver<Weather>,
}

impl WeatheredLog {
    async fn pass(&self) -> Result<(), LogError> {
        let mut weather = self.weather.clone();
        let now = *weather
            .wait_for(|weather| *weather != Weather::Hanging)
            .await
            .unwrap();
        match now {
            Weather::Down => Err(LogError::Unavailable {
                reason: "no broker answers".into(),
            }),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Log for WeatheredLog {
    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        self.pass().await?;
        self.inner.topic(topic).await
    }
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, LogError> {
        self.pass().await?;
        self.inner.append(records).await
    }
    async fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, LogError> {
        self.inner.producer(transactional_id).await
    }
    async fn reader(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Box<dyn Reader>, LogError> {
        self.inner.reader(topic, partition, from).await
    }
    async fn offsets(&self, topic: &str, partition: i32) -> Result<Offsets, LogError> {
        self.inner.offsets(topic, partition).await
    }
    async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        append_time_ms: i64,
    ) -> Result<i64, LogError> {
        self.inner.offset_at(topic, partition, append_time_ms).await
    }
    async fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError> {
        self.inner.join(group, topic).await
    }
    async fn delete_below(&self, topic: &str, partition: i32, offset: i64) -> Result<(), LogError> {
        self.inner.delete_below(topic, partition, offset).await
    }
}

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) ingest: Ingest,
    pub(crate) registry: Registry,
    pub(crate) log: EmbeddedLog,
    pub(crate) weather: watch::Sender<Weather>,
    pub(crate) client: reqwest::Client,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) serving: JoinHandle<Drained>,
}

pub(crate) const PARTITIONS: i32 = 3;

impl Server {
    /// One open source, `shop/clicks`.
    pub(crate) async fn start() -> Self {
        Self::with(IngestSettings::default(), vec![source("clicks")]).await
    }

    pub(crate) async fn with(settings: IngestSettings, sources: Vec<Source>) -> Self {
        let log = EmbeddedLog::in_memory(Options::default());
        for source in &sources {
            log.create_topic(&TopicSettings {
                name: source.topic.clone(),
                partitions: PARTITIONS,
                cleanup: Cleanup::Retention { ms: None },
            })
            .unwrap();
        }
        let (weather, receiver) = watch::channel(Weather::Fair);
        let registry = Registry::new();
        let weathered = Arc::new(WeatheredLog {
            inner: log.clone(),
            weather: receiver,
        });
        let ingest = Ingest::new(settings, weathered, &registry).unwrap();
        ingest.replace(sources).unwrap();
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn({
            let ingest = ingest.clone();
            async move {
                ingest
                    .serve(listener, async {
                        let _ = stopped.await;
                    })
                    .await
            }
        });
        Self {
            url: format!("http://{address}"),
            address,
            ingest,
            registry,
            log,
            weather,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            stop: Some(stop),
            serving,
        }
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/json")
    }

    /// Sends a body to `/v1/events`.
    pub(crate) async fn send(&self, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.post("/v1/events").body(body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self
            .client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// All records of `shop.clicks`, in order within each partition.
    pub(crate) async fn stored(&self) -> Vec<(i32, Record)> {
        let mut records = Vec::new();
        for partition in 0..PARTITIONS {
            let mut reader = self.log.reader("shop.clicks", partition, 0).await.unwrap();
            loop {
                let fetched = reader.fetch(1000, 1 << 20, Duration::ZERO).await.unwrap();
                records.extend(
                    fetched
                        .records
                        .into_iter()
                        .map(|record| (partition, record)),
                );
                if fetched.at_end {
                    break;
                }
            }
        }
        records
    }

    /// The stored values, sorted.
    pub(crate) async fn values(&self) -> Vec<String> {
        let mut values: Vec<_> = self
            .stored()
            .await
            .into_iter()
            .map(|(_, record)| String::from_utf8(record.value.unwrap().to_vec()).unwrap())
            .collect();
        values.sort();
        values
    }

    /// The value of a metric that has one series.
    pub(crate) fn gauge(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        families
            .iter()
            .find(|family| family.name() == name)
            .unwrap()
            .get_metric()[0]
            .get_gauge()
            .get_value()
    }

    pub(crate) async fn raw(&self) -> Raw {
        Raw {
            stream: TcpStream::connect(self.address).await.unwrap(),
        }
    }
}

/// Waits for something that is about to happen.
pub(crate) async fn eventually(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !happened().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// An answer to events.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) json: Value,
}

impl Answer {
    /// Every answer has the documented shape, whatever it says.
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let json: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert!(
            json["accepted"].is_u64() && json["refused"].is_array() && json["generated"].is_array(),
            "{json}"
        );
        assert!(
            json["refusedTotal"].as_u64().unwrap()
                >= json["refused"].as_array().unwrap().len() as u64
        );
        assert!(headers.contains_key("x-request-id"));
        Self {
            status,
            headers,
            json,
        }
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.json["accepted"].as_u64().unwrap()
    }

    /// The code of the request's refusal.
    pub(crate) fn error(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or("")
    }

    /// Index, field and code of each event that was refused.
    pub(crate) fn refused(&self) -> Vec<(u64, &str, &str)> {
        let events = self.json["refused"].as_array().unwrap().iter();
        events
            .map(|event| {
                assert!(!event["reason"].as_str().unwrap().is_empty());
                (
                    event["index"].as_u64().unwrap(),
                    event["field"].as_str().unwrap_or(""),
                    event["code"].as_str().unwrap(),
                )
            })
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn retry_after_s(&self) -> u64 {
        self.header("retry-after")
            .parse()
            .expect("Retry-After in seconds")
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A client that does as it likes.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// All that comes until the server closes the connection.
    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        // A connection that is cut off is as good as one that ends.
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut bytes))
            .await
            .expect("the server ends the connection");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The head of a POST with what is given in addition, `\r\n` included.
pub(crate) fn head(more: &str) -> String {
    format!("POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{more}\r\n")
}
