//! Why an event is refused: a stable word, the field, and what to send instead.
use std::fmt;

/// Why an event was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", field.as_ref().map(|f| format!("{f}: ")).unwrap_or_default())]
pub struct DecodeError {
    /// The declared column, or the path of the member, that is wrong; none where the event as a whole is.
    pub field: Option<String>,
    /// A stable word for metrics and headers, such as `WrongType`: [`Code::as_str`].
    pub code: &'static str,
    /// What is wrong and what to send instead.
    pub reason: String,
}

impl DecodeError {
    /// An event has more bytes than it may. `what`: which bytes were counted, where they are not those that came.
    #[cold]
    pub(crate) fn too_large(bytes: usize, what: &str, most: usize) -> Self {
        Self {
            field: None,
            code: Code::TooLarge.as_str(),
            reason: format!(
                "the event has {bytes} bytes{what}, more than the {most} that are allowed; split it, or send less"
            ),
        }
    }
}

/// The kinds of refusal. Their words are stable: metrics, headers and answers carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// Not a CloudEvent, where events are.
    NotCloudEvent,
    /// Not what its schema of Avro says.
    NotAvro,
    /// Not what its schema of Protobuf says.
    NotProtobuf,
    /// Nothing but white space.
    Empty,
    /// More bytes than an event may have.
    TooLarge,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// Not JSON.
    Malformed,
    /// JSON, but not an object.
    NotAnObject,
    /// Objects and arrays nested too deep.
    TooDeep,
    /// More members than an event may have.
    TooManyMembers,
    /// A string or member name with NUL or half a surrogate pair.
    BadText,
    /// A member name that occurs twice in one object.
    DuplicateField,
    /// A member that the schema does not declare, where unknown members are rejected.
    UnknownField,
    /// A required field that is absent.
    Missing,
    /// A required field that is null.
    Null,
    /// A value of another type than declared.
    WrongType,
    /// A number or time that the declared type cannot hold.
    OutOfRange,
    /// A time without a zone.
    NoZone,
    /// A string that is not a time.
    BadTimestamp,
    /// A string that is not a UUID.
    BadUuid,
}

impl Code {
    /// All codes, in the order in which a decoder meets them.
    pub const ALL: [Code; 20] = [
        Code::NotCloudEvent,
        Code::NotAvro,
        Code::NotProtobuf,
        Code::Empty,
        Code::TooLarge,
        Code::InvalidUtf8,
        Code::Malformed,
        Code::NotAnObject,
        Code::TooDeep,
        Code::TooManyMembers,
        Code::BadText,
        Code::DuplicateField,
        Code::UnknownField,
        Code::Missing,
        Code::Null,
        Code::WrongType,
        Code::OutOfRange,
        Code::NoZone,
        Code::BadTimestamp,
        Code::BadUuid,
    ];

    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotCloudEvent => "NotCloudEvent",
            Self::NotAvro => "NotAvro",
            Self::NotProtobuf => "NotProtobuf",
            Self::Empty => "Empty",
            Self::TooLarge => "TooLarge",
            Self::InvalidUtf8 => "InvalidUtf8",
            Self::Malformed => "Malformed",
            Self::NotAnObject => "NotAnObject",
            Self::TooDeep => "TooDeep",
            Self::TooManyMembers => "TooManyMembers",
            Self::BadText => "BadText",
            Self::DuplicateField => "DuplicateField",
            Self::UnknownField => "UnknownField",
            Self::Missing => "Missing",
            Self::Null => "Null",
            Self::WrongType => "WrongType",
            Self::OutOfRange => "OutOfRange",
            Self::NoZone => "NoZone",
            Self::BadTimestamp => "BadTimestamp",
            Self::BadUuid => "BadUuid",
        }
    }

    /// One sentence for a reference table.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::NotCloudEvent => {
                "The source takes CloudEvents 1.0, and an attribute is missing or is not what it has to be."
            }
            Self::NotAvro => {
                "The value is not in Avro as a schema registry frames it, or not what its schema says."
            }
            Self::NotProtobuf => {
                "The value is not in Protobuf as a schema registry frames it, or not what its schema says."
            }
            Self::Empty => "There is nothing but white space.",
            Self::TooLarge => "The event has more bytes than are allowed.",
            Self::InvalidUtf8 => "The event is not UTF-8.",
            Self::Malformed => "The event is not JSON, or something follows it.",
            Self::NotAnObject => "The event is JSON, but not an object.",
            Self::TooDeep => "Objects and arrays are nested deeper than 64 levels.",
            Self::TooManyMembers => "The objects of the event have more than 10,000 members.",
            Self::BadText => {
                "A string or member name holds NUL (`\\u0000`) or half a surrogate pair (such as `\\ud800` alone)."
            }
            Self::DuplicateField => "A member name occurs twice in one object.",
            Self::UnknownField => {
                "The schema does not declare the member, and `unknownFields` is `Reject`."
            }
            Self::Missing => "A required field is absent.",
            Self::Null => "A required field is null.",
            Self::WrongType => "The value has another type than its field.",
            Self::OutOfRange => "The field's type cannot hold the number or time.",
            Self::NoZone => "The time does not say its zone.",
            Self::BadTimestamp => "The string is not an RFC 3339 time.",
            Self::BadUuid => "The string is not a UUID.",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Boxed, so that the results on the hot path fit a register.
pub(crate) type Fault = Box<DecodeError>;

/// What a step of parsing yields.
pub(crate) type Parsed<T> = Result<T, Fault>;

#[cold]
pub(crate) fn fault(code: Code, reason: impl Into<String>) -> Fault {
    Box::new(DecodeError {
        field: None,
        code: code.as_str(),
        reason: reason.into(),
    })
}

#[cold]
pub(crate) fn field_fault(field: &str, code: Code, reason: impl Into<String>) -> Fault {
    Box::new(DecodeError {
        field: Some(shortened(field, 100)),
        code: code.as_str(),
        reason: reason.into(),
    })
}

/// At most `chars` characters of `text`, with an ellipsis where some are left out.
pub(crate) fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
