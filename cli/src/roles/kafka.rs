//! Where Kafka is: an address, or properties of librdkafka in files.
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tidewheel_kafka::Connection;

use crate::failure::Failure;
use crate::roles::secrets::values_of_folder;

pub(crate) const HELP: &str = "give --kafka HOST:PORT, a folder with a file for each property of librdkafka, or a file with lines PROPERTY=VALUE";

/// Where Kafka is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KafkaPlace {
    /// `HOST:PORT`, with commas between several.
    Servers(String),
    /// A folder with a file for each property, or a file of properties.
    Properties(PathBuf),
}

impl FromStr for KafkaPlace {
    type Err = Infallible;

    /// What has a slash, or is there, is a file or a folder: no address is either.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text.contains('/') || Path::new(text).exists() {
            Self::Properties(text.into())
        } else {
            Self::Servers(text.to_owned())
        })
    }
}

impl KafkaPlace {
    /// How it is reached, as the files say now.
    ///
    /// # Errors
    /// The files cannot be read, or are no connection. Never shows a value.
    pub(crate) fn connection(&self) -> Result<Connection, Failure> {
        let properties = match self {
            Self::Servers(servers) => [("bootstrap.servers".to_owned(), servers.clone())].into(),
            Self::Properties(path) if path.is_dir() => of_folder(path)?,
            Self::Properties(path) => of_file(path)?,
        };
        Connection::new(properties)
            .map_err(|error| Failure::usage(format!("--kafka: {error}"), HELP))
    }
}

fn of_folder(folder: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let wrong = |reason: String| Failure::usage(format!("--kafka: {reason}"), HELP);
    let values = values_of_folder(folder).map_err(|error| wrong(error.to_string()))?;
    let text = |(name, value): (String, Vec<u8>)| {
        let text = String::from_utf8(value)
            .map_err(|_| wrong(format!("the value of `{name}` is not text")))?;
        // A PEM keeps its lines; a trailing newline is the editor's.
        Ok((name, text.trim_end_matches(['\r', '\n']).to_owned()))
    };
    values.into_iter().map(text).collect()
}

fn of_file(file: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let wrong =
        |reason: String| Failure::usage(format!("--kafka: {}: {reason}", file.display()), HELP);
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let lines = text.lines().enumerate();
    let meant = lines.filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let property = |(index, line): (usize, &str)| match line.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        // The line may hold a secret.
        None => Err(wrong(format!("line {} is no PROPERTY=VALUE", index + 1))),
    };
    meant.map(property).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn connection(place: &str) -> Result<Connection, Failure> {
        place.parse::<KafkaPlace>().unwrap().connection()
    }

    #[test]
    fn an_address_is_the_servers() {
        let found = connection("here:9092,there:9092").unwrap();
        assert_eq!(found.get("bootstrap.servers"), Some("here:9092,there:9092"));
    }

    #[test]
    fn properties_are_the_files_of_a_mounted_secret() {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in [
            ("bootstrap.servers", "here:9092\n"),
            ("sasl.password", " kept as it is \n"),
            ("..data", "not a property"),
        ] {
            std::fs::write(folder.path().join(name), value).unwrap();
        }
        let found = connection(folder.path().to_str().unwrap()).unwrap();
        assert_eq!(found.get("bootstrap.servers"), Some("here:9092"));
        assert_eq!(found.get("sasl.password"), Some(" kept as it is "));
        assert_eq!(found.get("..data"), None);
    }

    #[test]
    fn properties_are_the_lines_of_a_file_and_a_wrong_one_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kafka.properties");
        std::fs::write(
            &file,
            "# ours\nbootstrap.servers = here:9092\n\nsasl.password=a=b\n",
        )
        .unwrap();
        let found = connection(file.to_str().unwrap()).unwrap();
        assert_eq!(found.get("bootstrap.servers"), Some("here:9092"));
        assert_eq!(found.get("sasl.password"), Some("a=b"));

        std::fs::write(&file, "bootstrap.servers=here:9092\nhunter2\n").unwrap();
        let failure = connection(file.to_str().unwrap()).unwrap_err().to_string();
        assert!(
            failure.contains("line 2") && !failure.contains("hunter2"),
            "{failure}"
        );
    }

    #[test]
    fn without_an_address_it_is_said_how_to_give_one() {
        let folder = tempfile::tempdir().unwrap();
        let failure = connection(folder.path().to_str().unwrap()).unwrap_err();
        let failure = failure.to_string();
        assert!(
            failure.contains("`bootstrap.servers` is missing"),
            "{failure}"
        );
        assert!(failure.contains("--kafka HOST:PORT"), "{failure}");
    }
}
