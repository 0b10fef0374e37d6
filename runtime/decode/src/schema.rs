//! The declared columns of an event, and the Arrow schema they make.
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};

use crate::limits::MAX_DEPTH;

/// The column that holds the members no column takes, as one JSON object.
pub const EXTRA_COLUMN: &str = "_extra";

/// Key of the Arrow field metadata that tells `uuid` and `json` columns from plain text.
pub const TYPE_METADATA: &str = "tidewheel.type";

/// The zone of every timestamp column.
pub(crate) const UTC: &str = "+00:00";

/// The declared columns of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSchema {
    /// The columns, in order.
    pub fields: Vec<Field>,
    /// What becomes of members that no column takes.
    pub unknown: UnknownFields,
    /// How an event stands in what carries it. Decoders take JSON: see the variants.
    pub format: EventFormat,
}

/// How an event stands in the request or record that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EventFormat {
    /// As one JSON object.
    #[default]
    Json,
    /// As a CloudEvent, in structured or binary mode: see [`cloud_events`](crate::cloud_events), which makes one JSON object of it.
    CloudEvents,
    /// In Avro, as a schema registry frames it: see [`avro`](crate::avro).
    Avro,
    /// In Protobuf, as a schema registry frames it: see [`protobuf`](crate::protobuf).
    Protobuf,
}

/// A declared column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Column name.
    pub name: String,
    /// Where in a record its value stands.
    pub part: Part,
    /// Of [`Part::Value`]: members from the event's root to the value: `attributes.user_id` is `["attributes", "user_id"]`. Empty for the other parts.
    pub path: Vec<String>,
    /// Type.
    pub data_type: FieldType,
    /// Absent or null is an error.
    pub required: bool,
}

/// Where in a record a column's value stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Part {
    /// In the event, at the field's path.
    #[default]
    Value,
    /// The record's key.
    Key,
    /// The newest header of this name.
    Header(String),
    /// The record's own timestamp; for columns of type timestamp.
    Timestamp,
    /// The record's offset; for columns of type bigint.
    Offset,
    /// The record's partition; for columns of type bigint.
    Partition,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value => f.write_str("value"),
            Self::Key => f.write_str("key"),
            Self::Header(name) => write!(f, "header `{name}`"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Offset => f.write_str("offset"),
            Self::Partition => f.write_str("partition"),
        }
    }
}

/// Types of event columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// Arrow Utf8. Only JSON strings; no NUL, no lone surrogates.
    Text,
    /// Arrow Int64. JSON numbers that are whole and in range (`1.0` and `1e3` are; `"1"` is not).
    Bigint,
    /// Arrow Float64. JSON numbers that are finite in a double.
    Double,
    /// Arrow Boolean.
    Boolean,
    /// Arrow Timestamp(Microsecond, "+00:00"). RFC 3339 strings with a zone, years 0001 to 9999, or whole numbers of milliseconds since the epoch.
    Timestamp,
    /// Arrow Utf8, canonical lower case, with the field metadata `tidewheel.type=uuid`.
    Uuid,
    /// Arrow Utf8 (the JSON text as it came, without surrounding space), with the field metadata `tidewheel.type=json`.
    Json,
}

/// What becomes of members that no column takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnknownFields {
    /// As one JSON object in the column `_extra` (null where there are none).
    Keep,
    /// Skipped.
    Drop,
    /// The event is refused.
    Reject,
}

impl FieldType {
    /// The type's name in a schema, such as `bigint`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bigint => "bigint",
            Self::Double => "double",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
            Self::Uuid => "uuid",
            Self::Json => "json",
        }
    }

    fn arrow_type(self) -> DataType {
        match self {
            Self::Text | Self::Uuid | Self::Json => DataType::Utf8,
            Self::Bigint => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        }
    }

    fn arrow_field(self, name: &str, nullable: bool) -> arrow::datatypes::Field {
        let field = arrow::datatypes::Field::new(name, self.arrow_type(), nullable);
        match self {
            Self::Uuid | Self::Json => field.with_metadata(HashMap::from([(
                TYPE_METADATA.to_owned(),
                self.name().to_owned(),
            )])),
            _ => field,
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl EventSchema {
    /// The Arrow schema of decoded events: the declared columns (nullable unless required), then `_extra` for [`UnknownFields::Keep`].
    pub fn arrow_schema(&self) -> SchemaRef {
        let mut fields: Vec<_> = self
            .fields
            .iter()
            .map(|field| field.data_type.arrow_field(&field.name, !field.required))
            .collect();
        if self.unknown == UnknownFields::Keep {
            fields.push(FieldType::Json.arrow_field(EXTRA_COLUMN, true));
        }
        Arc::new(Schema::new(fields))
    }

    /// Whether every column has a name and a path of its own, so that each member of an event goes to one place.
    ///
    /// # Errors
    /// The first field that clashes with the rules or with an earlier field.
    pub fn validate(&self) -> Result<(), SchemaError> {
        for (index, field) in self.fields.iter().enumerate() {
            field.validate()?;
            for earlier in self.fields.iter().take(index) {
                field.validate_beside(earlier)?;
            }
        }
        Ok(())
    }
}

impl Field {
    /// The path as people write it: `attributes.user_id`.
    pub fn path_text(&self) -> String {
        self.path.join(".")
    }

    fn validate(&self) -> Result<(), SchemaError> {
        if self.name.is_empty() {
            return Err(SchemaError::EmptyName {
                path: self.path_text(),
            });
        }
        if self.name.starts_with('_') {
            return Err(SchemaError::ReservedName {
                name: self.name.clone(),
            });
        }
        if self.part != Part::Value {
            return self.validate_part();
        }
        if self.path.is_empty() || self.path.iter().any(String::is_empty) {
            return Err(SchemaError::EmptyPath {
                name: self.name.clone(),
            });
        }
        if self.path.len() > MAX_DEPTH {
            return Err(SchemaError::PathTooDeep {
                name: self.name.clone(),
                segments: self.path.len(),
            });
        }
        Ok(())
    }

    fn validate_part(&self) -> Result<(), SchemaError> {
        let fits = match self.part {
            Part::Timestamp => self.data_type == FieldType::Timestamp,
            Part::Offset | Part::Partition => self.data_type == FieldType::Bigint,
            Part::Value | Part::Key | Part::Header(_) => true,
        };
        if fits {
            return Ok(());
        }
        Err(SchemaError::PartOfAnotherType {
            name: self.name.clone(),
            part: self.part.to_string(),
            wanted: if self.part == Part::Timestamp {
                FieldType::Timestamp
            } else {
                FieldType::Bigint
            },
        })
    }

    fn validate_beside(&self, earlier: &Field) -> Result<(), SchemaError> {
        if self.name == earlier.name {
            return Err(SchemaError::DuplicateName {
                name: self.name.clone(),
            });
        }
        if self.part != Part::Value || earlier.part != Part::Value {
            return Ok(());
        }
        if self.path == earlier.path {
            return Err(SchemaError::DuplicatePath {
                name: self.name.clone(),
                other: earlier.name.clone(),
                path: self.path_text(),
            });
        }
        let (outer, inner) = if self.path.len() < earlier.path.len() {
            (self, earlier)
        } else {
            (earlier, self)
        };
        if inner.path.starts_with(&outer.path) {
            return Err(SchemaError::PathInsidePath {
                outer: outer.name.clone(),
                outer_path: outer.path_text(),
                inner: inner.name.clone(),
                inner_path: inner.path_text(),
            });
        }
        Ok(())
    }
}

/// Why an [`EventSchema`] cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A column without a name.
    #[error("the field with path `{path}` has no name; give it one")]
    EmptyName {
        /// Its path.
        path: String,
    },
    /// A column name that begins with an underscore.
    #[error(
        "the field name `{name}` begins with `_`, which is kept for columns such as `_extra`; choose another name"
    )]
    ReservedName {
        /// The name.
        name: String,
    },
    /// A path with no members, or with a member whose name is empty.
    #[error(
        "the path of field `{name}` has an empty segment; write member names separated by single dots"
    )]
    EmptyPath {
        /// The column.
        name: String,
    },
    /// A path deeper than events may be.
    #[error(
        "the path of field `{name}` has {segments} segments, but events nest at most {MAX_DEPTH} levels; shorten it"
    )]
    PathTooDeep {
        /// The column.
        name: String,
        /// How many segments its path has.
        segments: usize,
    },
    /// A column that cannot hold the part of the record that it is to hold.
    #[error("the field `{name}` cannot hold the record's {part}; give it the type {wanted}")]
    PartOfAnotherType {
        /// The column.
        name: String,
        /// The part.
        part: String,
        /// The type that holds it.
        wanted: FieldType,
    },
    /// Two columns of one name.
    #[error("the field `{name}` is declared twice; rename or remove one")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Two columns that read one member.
    #[error("the fields `{other}` and `{name}` both read `{path}`; remove one")]
    DuplicatePath {
        /// The later column.
        name: String,
        /// The earlier column.
        other: String,
        /// The path of both.
        path: String,
    },
    /// A column that reads a member of another column's value.
    #[error(
        "the field `{inner}` reads `{inner_path}`, which lies inside `{outer_path}` of field `{outer}`; remove one"
    )]
    PathInsidePath {
        /// The column that takes the whole value.
        outer: String,
        /// Its path.
        outer_path: String,
        /// The column that takes a part of it.
        inner: String,
        /// Its path.
        inner_path: String,
    },
}
