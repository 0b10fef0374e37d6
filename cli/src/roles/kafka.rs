//! Where Kafka is: an address, or properties of librdkafka in files.
use std::collections::BTreeMap;
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

/// What is neither a list of addresses nor a file or folder.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no HOST:PORT, and no file or folder of that name is there: write the broker's host, `:` and its port, a whole number from 1 to 65535, such as 127.0.0.1:9092"
)]
pub(crate) struct NoKafkaPlace(String);

impl FromStr for KafkaPlace {
    type Err = NoKafkaPlace;

    /// What has a slash, or is there, is a file or a folder: no address is either.
    fn from_str(text: &str) -> Result<Self, NoKafkaPlace> {
        if text.contains('/') || Path::new(text).exists() {
            return Ok(Self::Properties(text.into()));
        }
        // As librdkafka reads it, which passes over what is empty but takes the port modulo 65536.
        let mut servers = text.split(',').map(str::trim);
        match servers.find(|server| !server.is_empty() && !is_address(server)) {
            Some(wrong) => Err(NoKafkaPlace(wrong.to_owned())),
            None => Ok(Self::Servers(text.to_owned())),
        }
    }
}

/// Whether this is a `HOST:PORT`, in which an IPv6 address stands in brackets.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let is_host = !host.is_empty() && (is_bracketed || !host.contains(':'));
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    is_host && is_number && port.parse::<u16>().is_ok_and(|port| port > 0)
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
    fn an_address_has_a_host_and_a_port() {
        for good in ["[::1]:9092", "kafka.shop.svc:1", "a:65535, b:9092,", ""] {
            let place = good.parse::<KafkaPlace>();
            assert_eq!(place, Ok(KafkaPlace::Servers(good.to_owned())));
        }
        for (bad, wrong) in [
            ("127.0.0.1:99999", "127.0.0.1:99999"),
            ("here:9092,there:0", "there:0"),
            ("here:+9092", "here:+9092"),
            ("here:", "here:"),
            (":9092", ":9092"),
            ("::1:9092", "::1:9092"),
            ("kafka.properties", "kafka.properties"),
        ] {
            let refused = bad.parse::<KafkaPlace>().unwrap_err().to_string();
            let named = format!("`{wrong}` is no HOST:PORT");
            assert!(refused.starts_with(&named), "{refused}");
            assert!(refused.contains("from 1 to 65535"), "{refused}");
        }
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
