//! [CloudEvents 1.0](https://github.com/cloudevents/spec): each as one JSON object, with its attributes at the top and its data in `data`.
//!
//! That is the JSON format of the specification (*structured mode*), so such an event is taken as it is. In *binary mode* the attributes
//! stand in headers, and the data alone is the body or the value: [`CloudEvents::from_binary`] writes the object that it stands for.
use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{Code, DecodeError, Parsed, fault, field_fault, shortened};
use crate::limits::DEFAULT_MAX_EVENT_BYTES;
use crate::schema::{EventSchema, FieldType, Part};

/// What every CloudEvent has.
pub const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// The version of the specification that is read.
pub const VERSION: &str = "1.0";

/// How much of an offending value a message shows.
const SHOWN_CHARS: usize = 40;

/// How a CloudEvent stands in a request or a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All of it in the body or the value, as JSON.
    Structured,
    /// All of it in the body or the value, in a format that is not read here.
    Unreadable,
    /// The attributes in headers, the data in the body or the value.
    Binary,
}

impl Mode {
    /// What the content type says and, where it says nothing of CloudEvents, whether there are attributes in headers. Nothing of either:
    /// producers that know no modes write events in JSON.
    pub fn of(content_type: Option<&str>, has_attributes: bool) -> Self {
        let media_type = content_type.map(MediaType::parse);
        match media_type {
            Some(media_type) if media_type.essence.starts_with("application/cloudevents") => {
                if media_type.is_json() {
                    Self::Structured
                } else {
                    Self::Unreadable
                }
            }
            _ if has_attributes => Self::Binary,
            _ => Self::Structured,
        }
    }
}

/// A content type, in lower case.
struct MediaType {
    /// Such as `application/json`.
    essence: String,
    /// Whether it says another encoding than UTF-8.
    is_foreign: bool,
}

impl MediaType {
    fn parse(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_owned();
        let charset = |parameter: &str| {
            let (name, value) = parameter.split_once('=')?;
            (name.trim() == "charset").then(|| value.trim().trim_matches('"').to_owned())
        };
        let is_foreign = parts
            .filter_map(charset)
            .any(|charset| !matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii"));
        Self {
            essence,
            is_foreign,
        }
    }

    fn is_json(&self) -> bool {
        let subtype = self.essence.split_once('/').map(|(_, subtype)| subtype);
        subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
    }

    fn is_text(&self) -> bool {
        let is_text = self.essence.starts_with("text/")
            || self.essence == "application/xml"
            || self.essence.ends_with("+xml");
        is_text && !self.is_foreign
    }
}

/// Reads CloudEvents for a schema.
#[derive(Debug, Clone)]
pub struct CloudEvents {
    /// Attributes whose columns are numbers and booleans: headers say them as text.
    bare: HashSet<String>,
}

impl CloudEvents {
    /// For events of `schema`.
    pub fn new(schema: &EventSchema) -> Self {
        let is_bare = |data_type| {
            matches!(
                data_type,
                FieldType::Bigint | FieldType::Double | FieldType::Boolean
            )
        };
        let of_value = schema
            .fields
            .iter()
            .filter(|field| field.part == Part::Value);
        let bare = of_value.filter_map(|field| match field.path.as_slice() {
            [attribute] if is_bare(field.data_type) => Some(attribute.clone()),
            _ => None,
        });
        Self {
            bare: bare.collect(),
        }
    }

    /// Whether an event in JSON is a CloudEvent; nothing else is looked at.
    ///
    /// # Errors
    /// What it lacks.
    pub fn check(event: &[u8]) -> Result<(), DecodeError> {
        if event.trim_ascii().is_empty() {
            // The decoder has a word of its own for that.
            return Ok(());
        }
        Context::check(event).map_err(|fault| *fault)
    }

    /// The event in JSON that one in binary mode stands for: `attributes` by their names, without the prefix that their headers have, in
    /// their order, then `datacontenttype` and `data`, or `data_base64` where it is neither JSON nor text.
    ///
    /// # Errors
    /// It is no CloudEvent, or its data is not what the content type says.
    pub fn from_binary<'a>(
        &self,
        attributes: impl IntoIterator<Item = (&'a str, Cow<'a, [u8]>)>,
        content_type: Option<&str>,
        data: Option<&[u8]>,
    ) -> Result<Vec<u8>, DecodeError> {
        let mut event = Object::default();
        self.attributes(&mut event, attributes)
            .and_then(|()| {
                if let Some(content_type) = content_type {
                    event.member("datacontenttype");
                    event.text(content_type);
                }
                match data {
                    Some(data) if !data.is_empty() => write_data(&mut event, content_type, data),
                    _ => Ok(()),
                }
            })
            .map_err(|fault| *fault)?;
        Ok(event.finish())
    }

    fn attributes<'a>(
        &self,
        event: &mut Object,
        attributes: impl IntoIterator<Item = (&'a str, Cow<'a, [u8]>)>,
    ) -> Parsed<()> {
        let mut seen = HashSet::new();
        let mut found = [false; REQUIRED.len()];
        for (name, value) in attributes {
            check_name(name)?;
            if !seen.insert(name) {
                let reason = "the attribute stands in two headers; send it once";
                return Err(field_fault(name, Code::DuplicateField, reason));
            }
            let Ok(value) = std::str::from_utf8(&value) else {
                let reason = "the attribute is not UTF-8; send text";
                return Err(field_fault(name, Code::InvalidUtf8, reason));
            };
            if let Some(index) = REQUIRED.iter().position(|required| *required == name) {
                check_required(name, value)?;
                if let Some(found) = found.get_mut(index) {
                    *found = true;
                }
            }
            event.member(name);
            if self.bare.contains(name) && is_bare(value) {
                event.raw(value.as_bytes());
            } else {
                event.text(value);
            }
        }
        match REQUIRED.iter().zip(found).find(|(_, found)| !found) {
            Some((name, _)) => Err(missing(name)),
            None => Ok(()),
        }
    }
}

/// Whether a text is what JSON writes without quotes.
fn is_bare(text: &str) -> bool {
    matches!(text, "true" | "false") || serde_json::from_str::<serde_json::Number>(text).is_ok()
}

fn check_name(name: &str) -> Parsed<()> {
    let is_lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.is_empty() || !name.bytes().all(is_lower) {
        let reason = "the names of attributes are lower-case letters and digits; rename its header";
        return Err(field_fault(name, Code::NotCloudEvent, reason));
    }
    match name {
        "data" => Err(field_fault(
            name,
            Code::NotCloudEvent,
            "the data is no attribute; send it as the body",
        )),
        "datacontenttype" => Err(field_fault(
            name,
            Code::NotCloudEvent,
            "in binary mode the content type of the data is the header `content-type`; send that instead",
        )),
        _ => Ok(()),
    }
}

fn check_required(name: &str, value: &str) -> Parsed<()> {
    if value.is_empty() {
        let reason = "the attribute is empty, but every CloudEvent needs it";
        return Err(field_fault(name, Code::NotCloudEvent, reason));
    }
    if name == "specversion" && value != VERSION {
        let shown = shortened(value, SHOWN_CHARS);
        let reason = format!("the version is {shown}; send CloudEvents of version {VERSION}");
        return Err(field_fault(name, Code::NotCloudEvent, reason));
    }
    Ok(())
}

#[cold]
fn missing(name: &str) -> crate::error::Fault {
    let reason = format!(
        "the attribute is missing; a CloudEvent has {}",
        REQUIRED.join(", ")
    );
    field_fault(name, Code::NotCloudEvent, reason)
}

fn write_data(event: &mut Object, content_type: Option<&str>, data: &[u8]) -> Parsed<()> {
    if data.len() > DEFAULT_MAX_EVENT_BYTES {
        let reason = format!(
            "the data has {} bytes, but an event has at most {DEFAULT_MAX_EVENT_BYTES}; split it, or send less",
            data.len()
        );
        return Err(field_fault("data", Code::TooLarge, reason));
    }
    // Without a content type it is JSON: so says the JSON format.
    let media_type = content_type.map(MediaType::parse);
    if media_type.as_ref().is_none_or(MediaType::is_json) {
        // Nothing but one value may stand there: what follows it would be read as members of the event.
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(data) {
            let said = content_type.map_or_else(
                || "there is no content type to say that it is anything else".to_owned(),
                |said| format!("the content type is {}", shortened(said, SHOWN_CHARS)),
            );
            let reason = format!("the data is not JSON, but {said}: {error}");
            return Err(field_fault("data", Code::Malformed, reason));
        }
        event.member("data");
        event.raw(data);
    } else if media_type.as_ref().is_some_and(MediaType::is_text) {
        let Ok(text) = std::str::from_utf8(data) else {
            let reason = "the data is not UTF-8, but the content type says text; name its charset";
            return Err(field_fault("data", Code::InvalidUtf8, reason));
        };
        event.member("data");
        event.text(text);
    } else {
        event.member("data_base64");
        event.text(&STANDARD.encode(data));
    }
    Ok(())
}

/// A JSON object that is being written.
#[derive(Default)]
struct Object(Vec<u8>);

impl Object {
    fn member(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.text(name);
        self.0.push(b':');
    }

    fn text(&mut self, text: &str) {
        // A text is always written, and so is whatever goes to memory.
        let _ = serde_json::to_writer(&mut self.0, text);
    }

    fn raw(&mut self, json: &[u8]) {
        self.0.extend_from_slice(json);
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

/// The attributes that every CloudEvent has.
#[derive(Deserialize)]
struct Context {
    specversion: Option<Attribute>,
    id: Option<Attribute>,
    source: Option<Attribute>,
    #[serde(rename = "type")]
    type_: Option<Attribute>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Attribute {
    Text(String),
    Other(IgnoredAny),
}

impl Context {
    fn check(event: &[u8]) -> Parsed<()> {
        let context: Self = serde_json::from_slice(event).map_err(|error| {
            let reason =
                format!("the event is no JSON object with the attributes of a CloudEvent: {error}");
            fault(Code::NotCloudEvent, reason)
        })?;
        let attributes = [
            context.specversion,
            context.id,
            context.source,
            context.type_,
        ];
        for (name, attribute) in REQUIRED.iter().zip(attributes) {
            match attribute {
                None => return Err(missing(name)),
                Some(Attribute::Text(value)) => check_required(name, &value)?,
                Some(Attribute::Other(IgnoredAny)) => {
                    let reason = "the attribute is no text; send a string in double quotes";
                    return Err(field_fault(name, Code::NotCloudEvent, reason));
                }
            }
        }
        Ok(())
    }
}
