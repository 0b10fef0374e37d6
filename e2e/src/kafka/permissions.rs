//! Permits users of a broker with an authorizer: Kafka's own request, since no client of ours has one for it.
use std::{
    io::{self, Read, Write as _},
    net::TcpStream,
    time::Duration,
};

const CREATE_ACLS: i16 = 30;
/// The newest without tagged fields.
const VERSION: i16 = 1;
const LITERAL: u8 = 3;
const PREFIXED: u8 = 4;
const ALLOW: u8 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// What somebody may do, by Kafka's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "Kafka's own words")]
#[repr(u8)]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    DescribeConfigs = 10,
    AlterConfigs = 11,
}

/// On what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A topic.
    Topic(&'a str),
    /// Topics whose names begin so.
    TopicsOf(&'a str),
    /// A consumer group.
    Group(&'a str),
    /// Consumer groups whose names begin so.
    GroupsOf(&'a str),
    /// Transactional ids that begin so.
    TransactionalIdsOf(&'a str),
}

impl Resource<'_> {
    /// Kafka's numbers for its kind and for how it is named, and the name.
    fn parts(&self) -> (u8, u8, &str) {
        const TOPIC: u8 = 2;
        const GROUP: u8 = 3;
        const TRANSACTIONAL_ID: u8 = 5;
        match self {
            Self::Topic(name) => (TOPIC, LITERAL, name),
            Self::TopicsOf(prefix) => (TOPIC, PREFIXED, prefix),
            Self::Group(name) => (GROUP, LITERAL, name),
            Self::GroupsOf(prefix) => (GROUP, PREFIXED, prefix),
            Self::TransactionalIdsOf(prefix) => (TRANSACTIONAL_ID, PREFIXED, prefix),
        }
    }
}

/// Asks a broker to permit a user something, on a listener where everybody may. What it says instead, where it does not.
pub(super) fn allow(
    bootstrap: &str,
    user: &str,
    resource: Resource<'_>,
    operations: &[Operation],
) -> io::Result<Result<(), String>> {
    let mut stream = TcpStream::connect(bootstrap)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = request(user, resource, operations);
    stream.write_all(&length(request.len()).to_be_bytes())?;
    stream.write_all(&request)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer)?;
    // Correlation, throttle time, how many results; of each result a code and a text.
    let mut rest = &answer[..];
    skip(&mut rest, 12)?;
    for _ in operations {
        let code = number(&mut rest)?;
        let text = number(&mut rest)?;
        let text = skip(&mut rest, usize::try_from(text).unwrap_or(0))?;
        if code != 0 {
            let text = String::from_utf8_lossy(text);
            return Ok(Err(format!("error {code}: {text}")));
        }
    }
    Ok(Ok(()))
}

fn request(user: &str, resource: Resource<'_>, operations: &[Operation]) -> Vec<u8> {
    let (kind, named, name) = resource.parts();
    let mut request = Vec::new();
    request.extend(CREATE_ACLS.to_be_bytes());
    request.extend(VERSION.to_be_bytes());
    request.extend(0_u32.to_be_bytes()); // correlation
    text(&mut request, "tidewheel-e2e");
    request.extend(length(operations.len()).to_be_bytes());
    for &operation in operations {
        request.push(kind);
        text(&mut request, name);
        request.push(named);
        text(&mut request, &format!("User:{user}"));
        text(&mut request, "*");
        request.extend([operation as u8, ALLOW]);
    }
    request
}

fn text(request: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
    request.extend(length.to_be_bytes());
    request.extend(text.as_bytes());
}

fn length(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn number(rest: &mut &[u8]) -> io::Result<i16> {
    let bytes = skip(rest, 2)?;
    Ok(i16::from_be_bytes([bytes[0], bytes[1]]))
}

fn skip<'a>(rest: &mut &'a [u8], count: usize) -> io::Result<&'a [u8]> {
    let (skipped, left) = rest
        .split_at_checked(count)
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    *rest = left;
    Ok(skipped)
}
