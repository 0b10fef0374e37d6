//! The databases of Sinks: where they are, how they do, and new passwords.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::resource::ResourceSet;
use tidewheel_sinks::Sink;
use tidewheel_sinks::postgres::{Limits, Postgres};
use tidewheel_worker::Sinks;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::roles::secrets::Secrets;

/// How often Secrets are read again.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(10);
/// How long a probe waits for a database.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// The URL of a Sink's database.
pub(crate) struct SinkUrls {
    set: ResourceSet,
    secrets: Secrets,
    /// By `<namespace>/<name>`: what the command line says.
    given: BTreeMap<String, String>,
}

impl SinkUrls {
    /// Those that the Secrets of `set` say, but for the ones that are given as `NAME=URL` or `NAMESPACE/NAME=URL`.
    pub(crate) fn new(
        set: &ResourceSet,
        secrets: Secrets,
        given: &[String],
    ) -> Result<Self, Failure> {
        let given = given.iter().map(|text| given_url(set, text));
        Ok(Self {
            given: given.collect::<Result<_, _>>()?,
            set: set.clone(),
            secrets,
        })
    }

    /// What the command line says of a Sink (`<namespace>/<name>`).
    pub(crate) fn given(&self, sink: &str) -> Option<&str> {
        self.given.get(sink).map(String::as_str)
    }

    /// The URL of a Sink (`<namespace>/<name>`), as it is now.
    pub(crate) fn url(&self, sink: &str) -> Result<String, Failure> {
        if let Some(url) = self.given.get(sink) {
            return Ok(url.clone());
        }
        let refused = |message: String| {
            let help =
                "its value is the URL of the database: postgres://user:password@host:port/database";
            Failure::usage(format!("Sink {sink}: {message}"), help)
        };
        let (namespace, name) = sink.split_once('/').unwrap_or_default();
        let found = self.set.sink(namespace, name);
        let postgres = found.and_then(|sink| sink.spec.postgres.as_ref());
        let postgres = postgres.ok_or_else(|| refused("it has no database".to_owned()))?;
        let secret = &postgres.connection.secret_ref;
        self.secrets
            .text(namespace, &secret.name, &secret.key)
            .map_err(|error| refused(error.to_string()))
    }
}

/// A `NAME=URL`: the Sink, and the URL, which is never shown.
fn given_url(set: &ResourceSet, text: &str) -> Result<(String, String), Failure> {
    let names = || {
        let names = set.sinks.iter().map(|sink| sink.id.full_name());
        names.collect::<Vec<_>>()
    };
    let Some((name, url)) = text.split_once('=') else {
        return Err(Failure::usage(
            "--sink wants NAME=URL",
            "write the name of a Sink, `=`, and postgres://user:password@host:port/database",
        ));
    };
    let matching: Vec<String> = names()
        .into_iter()
        .filter(|sink| sink == name || sink.split_once('/').is_some_and(|(_, own)| own == name))
        .collect();
    match &matching[..] {
        [sink] => Ok((sink.clone(), url.to_owned())),
        [] => Err(Failure::usage(
            format!("--sink: the files hold no Sink `{name}`"),
            format!("there are: {}", names().join(", ")),
        )),
        several => Err(Failure::usage(
            format!("--sink: `{name}` may be any of several Sinks"),
            format!("write one of: {}", several.join(", ")),
        )),
    }
}

/// Opens the database at `url` for a Sink. Connects when first needed.
pub(crate) fn open(sink: &str, url: &str) -> Result<Postgres, Failure> {
    Postgres::new(url, Limits::default()).map_err(|error| {
        Failure::usage(
            format!("Sink {sink}: {error}"),
            "write postgres://user:password@host:port/database",
        )
    })
}

/// The databases that a pipeline writes to. Clones share them.
#[derive(Clone)]
pub(crate) struct Databases {
    urls: Arc<SinkUrls>,
    by_sink: Arc<BTreeMap<String, Postgres>>,
    /// The URLs that they were opened with.
    opened_with: Arc<BTreeMap<String, String>>,
}

/// Whether a database answers, or why not, without any secret.
pub(crate) type Answer = Result<(), String>;

impl Databases {
    /// Those of the Sinks of `plan`.
    pub(crate) fn open(urls: SinkUrls, plan: &Plan) -> Result<Self, Failure> {
        let (mut by_sink, mut opened_with) = (BTreeMap::new(), BTreeMap::new());
        for sink in plan.table_sinks() {
            let url = urls.url(sink)?;
            by_sink.insert(sink.to_owned(), open(sink, &url)?);
            opened_with.insert(sink.to_owned(), url);
        }
        Ok(Self {
            by_sink: Arc::new(by_sink),
            opened_with: Arc::new(opened_with),
            urls: Arc::new(urls),
        })
    }

    /// The URL of a Sink (`<namespace>/<name>`), as it is now.
    pub(crate) fn url(&self, sink: &str) -> Result<String, Failure> {
        self.urls.url(sink)
    }

    /// As workers take them.
    pub(crate) fn sinks(&self) -> Sinks {
        let sink = |(name, database): (&String, &Postgres)| {
            (name.clone(), Arc::new(database.clone()) as Arc<dyn Sink>)
        };
        self.by_sink.iter().map(sink).collect()
    }

    /// Asks each whether it is there. By the name of the Sink.
    pub(crate) async fn answers(&self) -> BTreeMap<String, Answer> {
        let asked = self.by_sink.iter().map(|(sink, database)| async {
            let answer = tokio::time::timeout(ANSWERS_WITHIN, database.ping()).await;
            let answer = match answer {
                Ok(answer) => answer.map_err(|error| error.reason()),
                Err(_) => Err(format!("no answer within {} s", ANSWERS_WITHIN.as_secs())),
            };
            (sink.clone(), answer)
        });
        join_all(asked).await.into_iter().collect()
    }

    /// Uses a changed URL, such as one with a new password, from the next connection on. Until `stop`.
    pub(crate) async fn follow_secrets(&self, stop: &CancellationToken) {
        let mut used = self.opened_with.as_ref().clone();
        while !stop.is_cancelled() {
            for (sink, database) in self.by_sink.iter() {
                match self.urls.url(sink) {
                    Ok(url) if used.get(sink) == Some(&url) => {}
                    Ok(url) => match database.set_url(&url) {
                        Ok(()) => drop(used.insert(sink.clone(), url)),
                        Err(error) => tracing::warn!(sink, %error, "the old URL stays in use"),
                    },
                    Err(error) => tracing::warn!(sink, %error, "the old URL stays in use"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(READ_AGAIN_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const SINKS: &str = "apiVersion: tidewheel.dev/v1alpha1\nkind: Sink\nmetadata: {name: warehouse, namespace: web}\nspec: {postgres: {connection: {secretRef: {name: warehouse, key: url}}}}\n---\napiVersion: tidewheel.dev/v1alpha1\nkind: Sink\nmetadata: {name: warehouse, namespace: shop}\nspec: {postgres: {connection: {secretRef: {name: warehouse, key: url}}}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: warehouse, namespace: shop}\nstringData: {url: 'postgres://from-the-secret'}\n";

    fn urls(given: &[&str]) -> Result<SinkUrls, Failure> {
        let set = tidewheel_planner::load::load_texts([("sinks.yaml", SINKS)]).set;
        let given: Vec<String> = given.iter().map(|&text| text.to_owned()).collect();
        SinkUrls::new(&set, Secrets::new(None, &set), &given)
    }

    #[test]
    fn what_the_command_line_says_wins_over_the_secret() {
        let urls = urls(&["web/warehouse=postgres://given?options=a%3Db"]).unwrap();
        assert_eq!(
            urls.url("web/warehouse").unwrap(),
            "postgres://given?options=a%3Db"
        );
        assert_eq!(
            urls.url("shop/warehouse").unwrap(),
            "postgres://from-the-secret"
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_the_url() {
        let refused = |given: &str| urls(&[given]).err().unwrap().to_string();
        assert!(refused("warehouse=postgres://u:hunter2@h").contains("web/warehouse"));
        assert!(refused("lake=postgres://u:hunter2@h").contains("no Sink `lake`"));
        for given in ["warehouse=hunter2", "lake=hunter2", "hunter2"] {
            assert!(!refused(given).contains("hunter2"), "{given}");
        }
        let missing = urls(&[])
            .unwrap()
            .url("web/warehouse")
            .unwrap_err()
            .to_string();
        assert!(missing.contains("--secrets"), "{missing}");
    }
}
