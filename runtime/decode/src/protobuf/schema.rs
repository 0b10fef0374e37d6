//! Files of Protobuf that values can be read with.
use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FileDescriptor, MessageDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::json::object;
use super::message_index::split;
use super::nesting::deepest;
use crate::error::DecodeError;
use crate::framed::Encoding;

/// What the file of the schema itself is called: others have the names by which it imports them.
const ROOT: &str = "schema.of-the-registry.proto";
/// How deep brackets of a file may lie within each other.
const MAX_NESTING: usize = 64;

/// A file of Protobuf that values can be read with. Equal only to what was made of the same reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtobufSchema {
    file: FileDescriptor,
}

/// A file that another one imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// By which it is imported.
    pub name: String,
    /// Its text.
    pub source: String,
}

/// A file that values cannot be read with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProtobufSchemaError(String);

impl ProtobufSchema {
    /// Reads a file. What it and others import are those of `imports`, and those that come with Protobuf (`google/protobuf/*.proto`).
    ///
    /// # Errors
    /// What is wrong with the first that cannot be read.
    pub fn parse(source: &str, imports: &[Import]) -> Result<Self, ProtobufSchemaError> {
        let mut sources = HashMap::from([(ROOT, source)]);
        for Import { name, source } in imports {
            let other = sources.insert(name, source);
            if other.is_some_and(|other| other != source) {
                return Err(ProtobufSchemaError(format!(
                    "two files are imported as `{name}`"
                )));
            }
        }
        if sources.values().any(|source| deepest(source) > MAX_NESTING) {
            let reason = format!("its brackets lie more than {MAX_NESTING} deep in each other");
            return Err(ProtobufSchemaError(reason));
        }
        let sources = sources.into_iter();
        let sources = sources.map(|(name, source)| (name.to_owned(), source.to_owned()));
        let mut resolver = ChainFileResolver::new();
        resolver.add(GoogleFileResolver::new());
        resolver.add(Sources(sources.collect()));
        let mut compiler = Compiler::with_file_resolver(resolver);
        let compiled = compiler.open_file(ROOT);
        compiled.map_err(|error| ProtobufSchemaError(error.to_string()))?;
        let file = compiler.descriptor_pool().get_file_by_name(ROOT);
        let file = file.filter(|file| file.messages().len() > 0);
        let none = || ProtobufSchemaError("it has no message, and an event is one".to_owned());
        Ok(Self {
            file: file.ok_or_else(none)?,
        })
    }

    /// The JSON of a value, of which `value` is what stands behind the id of its schema.
    ///
    /// # Errors
    /// It is not what the schema says, or too large.
    pub(crate) fn json(&self, value: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let refused = |reason: String| Encoding::Protobuf.misfit(reason);
        let (indexes, encoding) = split(value)
            .ok_or_else(|| refused("it does not say which message it is".to_owned()))?;
        let message = self.message(&indexes);
        let message = message.ok_or_else(|| refused(format!("there is no message {indexes:?}")))?;
        let message = DynamicMessage::decode(message, encoding);
        object(&message.map_err(|error| refused(error.to_string()))?)
    }

    fn message(&self, indexes: &[usize]) -> Option<MessageDescriptor> {
        let (&first, inner) = indexes.split_first()?;
        let outer = self.file.messages().nth(first)?;
        inner.iter().try_fold(outer, |outer, &index| {
            // Serializers count what stands in the file, where no map has a message of its own.
            let mut written = outer.child_messages().filter(|inner| !inner.is_map_entry());
            written.nth(index)
        })
    }
}

/// Files by the names by which they are imported.
struct Sources(HashMap<String, String>);

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(source) => File::from_source(name, source),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}
