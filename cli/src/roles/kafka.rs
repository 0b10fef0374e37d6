//! How Kafka is reached: an address, and properties of librdkafka from a mounted Secret.
use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::roles::secrets::values_of_folder;

/// How Kafka is reached.
#[derive(Debug, Clone, Args)]
pub(crate) struct KafkaArgs {
    /// Kafka's bootstrap servers, `HOST:PORT` with commas between several; wins over `bootstrap.servers` among the properties
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "TIDEWHEEL_KAFKA",
        help_heading = "Kafka"
    )]
    pub(crate) kafka: Option<String>,
    /// A folder with a file for each property of librdkafka, as a mounted Secret has them: the file's name is the property,
    /// such as `sasl.password`, what it holds the value
    #[arg(
        long,
        value_name = "DIR",
        env = "TIDEWHEEL_KAFKA_PROPERTIES",
        help_heading = "Kafka"
    )]
    pub(crate) kafka_properties: Option<PathBuf>,
}

impl KafkaArgs {
    /// Whether Kafka is meant at all.
    pub(crate) fn is_given(&self) -> bool {
        self.kafka.is_some() || self.kafka_properties.is_some()
    }

    /// The properties of librdkafka, read now: what was changed in the folder holds for the next connection.
    ///
    /// # Errors
    /// The folder cannot be read, or nothing says where Kafka is. Never shows a value.
    pub(crate) fn properties(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut properties = BTreeMap::new();
        if let Some(folder) = &self.kafka_properties {
            let values = values_of_folder(folder).map_err(|error| {
                Failure::usage(
                    format!("--kafka-properties: {error}"),
                    "mount the Secret there, with a key for each property of librdkafka",
                )
            })?;
            for (name, value) in values {
                // A PEM keeps its lines; a trailing newline is the editor's.
                let text = String::from_utf8(value).map_err(|_| {
                    Failure::usage(
                        format!("--kafka-properties: the value of `{name}` is not text"),
                        "write the property's value as text",
                    )
                })?;
                properties.insert(name, text.trim_end_matches(['\r', '\n']).to_owned());
            }
        }
        if let Some(servers) = &self.kafka {
            properties.insert("bootstrap.servers".to_owned(), servers.clone());
        }
        if properties.contains_key("bootstrap.servers") {
            Ok(properties)
        } else {
            Err(Failure::usage(
                "nothing says where Kafka is",
                "give --kafka HOST:PORT (or TIDEWHEEL_KAFKA), or a file `bootstrap.servers` in --kafka-properties",
            ))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn properties_are_the_files_of_the_folder_and_the_address_wins() {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in [
            ("bootstrap.servers", "elsewhere:9092\n"),
            ("sasl.password", " kept as it is \n"),
            ("..data", "not a property"),
        ] {
            std::fs::write(folder.path().join(name), value).unwrap();
        }
        let args = KafkaArgs {
            kafka: Some("here:9092".to_owned()),
            kafka_properties: Some(folder.path().to_owned()),
        };
        let expected = [
            ("bootstrap.servers", "here:9092"),
            ("sasl.password", " kept as it is "),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(args.properties().unwrap(), expected.into());
    }

    #[test]
    fn without_an_address_it_is_said_how_to_give_one() {
        let args = KafkaArgs {
            kafka: None,
            kafka_properties: None,
        };
        let failure = args.properties().unwrap_err().to_string();
        assert!(failure.contains("--kafka HOST:PORT"), "{failure}");
    }
}
