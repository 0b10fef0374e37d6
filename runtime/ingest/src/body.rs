//! Reading a body without ever holding more of it than is allowed.
use std::io::{self, Write as _};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use crate::memory::Share;
use crate::refusal::Refusal;
use crate::settings::IngestSettings;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Gzip,
}

/// Checks that the headers say that the body is JSON, or nothing.
pub(crate) fn expect_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE);
    if content_type.is_some_and(|value| !value.to_str().is_ok_and(is_json)) {
        return Err(Refusal::ContentType);
    }
    Ok(())
}

/// How the headers say that the body is compressed.
pub(crate) fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(Encoding::Plain),
        (Some(value), None) => match value
            .as_bytes()
            .trim_ascii()
            .to_ascii_lowercase()
            .as_slice()
        {
            b"" | b"identity" => Ok(Encoding::Plain),
            b"gzip" | b"x-gzip" => Ok(Encoding::Gzip),
            _ => Err(Refusal::ContentEncoding),
        },
        (Some(_), Some(_)) => Err(Refusal::ContentEncoding),
    }
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type
        .split(';')
        .map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let subtype = match essence.split_once('/') {
        None => return essence.is_empty(),
        Some(("application" | "text", subtype)) => subtype,
        Some(_) => return false,
    };
    let json = matches!(
        subtype,
        "json" | "x-ndjson" | "ndjson" | "jsonl" | "x-jsonl" | "jsonlines"
    ) || subtype.ends_with("+json");
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some(("charset", charset)) => {
            matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii")
        }
        _ => true,
    });
    json && utf8
}

/// Reads a whole body, decompressed. What it holds is taken from `share` as it grows, never ahead of what was sent.
pub(crate) async fn read(
    body: Body,
    headers: &HeaderMap,
    encoding: Encoding,
    settings: &IngestSettings,
    share: &mut Share,
) -> Result<Bytes, Refusal> {
    let too_large = Refusal::BodyTooLarge {
        limit_bytes: settings.max_body_bytes,
    };
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|bytes| bytes > settings.max_body_bytes) {
        return Err(too_large);
    }
    let mut sink = match encoding {
        Encoding::Plain => Sink::Plain(Bounded::new(share, too_large.clone())),
        Encoding::Gzip => Sink::Gzip(Box::new(MultiGzDecoder::new(Bounded::new(
            share,
            Refusal::DecompressedTooLarge {
                limit_bytes: settings.max_decompressed_bytes,
            },
        )))),
    };
    let mut frames = body.into_data_stream();
    let deadline = Instant::now() + settings.body_timeout;
    let mut received_bytes = 0;
    loop {
        let pause_ends = deadline.min(Instant::now() + settings.body_idle_timeout);
        let frame = match timeout_at(pause_ends, frames.next()).await {
            Err(_) => return Err(Refusal::SlowBody),
            Ok(None) => return sink.finish(),
            Ok(Some(Err(_))) => return Err(Refusal::BrokenBody),
            Ok(Some(Ok(frame))) => frame,
        };
        received_bytes += frame.len();
        if received_bytes > settings.max_body_bytes {
            return Err(too_large);
        }
        sink.write(&frame)?;
    }
}

enum Sink<'a> {
    Plain(Bounded<'a>),
    Gzip(Box<MultiGzDecoder<Bounded<'a>>>),
}

impl Sink<'_> {
    fn write(&mut self, frame: &[u8]) -> Result<(), Refusal> {
        match self {
            Self::Plain(buffer) => buffer.extend(frame),
            Self::Gzip(decoder) => decoder
                .write_all(frame)
                .map_err(|_| decoder.get_mut().failure.take().unwrap_or(Refusal::Gzip)),
        }
    }

    fn finish(self) -> Result<Bytes, Refusal> {
        let bytes = match self {
            Self::Plain(buffer) => buffer.bytes,
            Self::Gzip(mut decoder) => {
                decoder
                    .try_finish()
                    .map_err(|_| decoder.get_mut().failure.take().unwrap_or(Refusal::Gzip))?;
                std::mem::take(&mut decoder.get_mut().bytes)
            }
        };
        Ok(Bytes::from(bytes))
    }
}

/// A buffer that pays for its capacity before it grows.
struct Bounded<'a> {
    bytes: Vec<u8>,
    share: &'a mut Share,
    limit_bytes: usize,
    too_large: Refusal,
    /// Why it refused to grow: the decompressor only passes I/O errors on.
    failure: Option<Refusal>,
}

impl<'a> Bounded<'a> {
    fn new(share: &'a mut Share, too_large: Refusal) -> Self {
        let limit_bytes = match &too_large {
            Refusal::BodyTooLarge { limit_bytes }
            | Refusal::DecompressedTooLarge { limit_bytes } => *limit_bytes,
            _ => 0,
        };
        Self {
            bytes: Vec::new(),
            share,
            limit_bytes,
            too_large,
            failure: None,
        }
    }

    fn extend(&mut self, more: &[u8]) -> Result<(), Refusal> {
        let needed = self.bytes.len() + more.len();
        if needed > self.limit_bytes {
            return Err(self.too_large.clone());
        }
        let capacity = self.bytes.capacity();
        if needed > capacity {
            let target = needed.max(2 * capacity).min(self.limit_bytes);
            self.share
                .grow(target - capacity)
                .map_err(|_| Refusal::Overloaded)?;
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.extend(more).map_err(|refusal| {
            self.failure = Some(refusal);
            io::Error::other("the body is refused")
        })?;
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn json_types_in_utf_8_pass_and_others_do_not() {
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/x-ndjson",
            "application/cloudevents+json",
            "text/json",
            "",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=utf-16",
            "image/json",
            "json",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
