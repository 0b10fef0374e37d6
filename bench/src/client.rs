//! An HTTP client that does as little as it can: it shares the machine with the servers that it measures.
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Failure;

/// The only status that counts as an answer.
const ACCEPTED: u16 = 202;
/// No answer of those that are measured has more.
const LONGEST_HEAD_BYTES: usize = 16 * 1024;

/// Where requests go.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `HOST:PORT`.
    pub(crate) address: String,
    pub(crate) path: &'static str,
}

/// What a server says of its answer before the answer.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of the head, with the empty line at its end.
    length: usize,
    /// Bytes of the answer after the head.
    body: usize,
}

/// Sends bodies as POST requests over `connections` connections, each with one request at a time. How long each answer took.
///
/// # Errors
/// A connection that breaks, and an answer that is not 202.
pub(crate) async fn post_all(
    target: &Target,
    connections: usize,
    bodies: &[Bytes],
) -> Result<Vec<Duration>, Failure> {
    let senders = (0..connections).map(|first| {
        let bodies = bodies.iter().skip(first).step_by(connections).cloned();
        let (target, bodies) = (target.clone(), bodies.collect());
        async move { tokio::spawn(post_each(target, bodies)).await? }
    });
    Ok(try_join_all(senders).await?.concat())
}

/// Sends one body after the other, each when the one before it was answered.
async fn post_each(target: Target, bodies: Vec<Bytes>) -> Result<Vec<Duration>, Failure> {
    let mut connection = TcpStream::connect(&target.address).await?;
    connection.set_nodelay(true)?;
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    let mut took = Vec::with_capacity(bodies.len());
    for body in bodies {
        request.clear();
        let line = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            target.path,
            target.address,
            body.len()
        );
        request.extend_from_slice(line.as_bytes());
        request.extend_from_slice(&body);
        let sent = Instant::now();
        connection.write_all(&request).await?;
        answer.clear();
        let said = loop {
            if connection.read_buf(&mut answer).await? == 0 {
                return Err("the server closed the connection".into());
            }
            match head(&answer)? {
                Some(head) if answer.len() >= head.length + head.body => break head,
                _ => {}
            }
        };
        took.push(sent.elapsed());
        if said.status != ACCEPTED {
            let answer = String::from_utf8_lossy(&answer);
            return Err(format!("a request was answered: {answer}").into());
        }
    }
    Ok(took)
}

/// The head that an answer begins with; none where it is not there in full yet.
fn head(answer: &[u8]) -> Result<Option<Head>, Failure> {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        if answer.len() > LONGEST_HEAD_BYTES {
            return Err("an answer does not begin as HTTP does".into());
        }
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..end])?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.ok_or("an answer does not begin as HTTP does")?;
    let body = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, body) = body.ok_or("an answer does not say how long it is")?;
    Ok(Some(Head {
        status: status.parse()?,
        length: end + 4,
        body: body.trim().parse()?,
    }))
}

#[cfg(test)]
mod tests {
    use super::{Head, head};

    #[test]
    fn an_answer_is_over_when_its_length_is_there() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\ndate: now\r\n\r\n{}";
        for cut in 0..answer.len() - 2 {
            assert_eq!(head(&answer[..cut]).ok(), Some(None), "{cut} bytes");
        }
        let whole = Head {
            status: 202,
            length: answer.len() - 2,
            body: 2,
        };
        assert_eq!(head(answer).ok(), Some(Some(whole)));
    }

    #[test]
    fn an_answer_without_its_length_is_refused() {
        assert!(head(b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"220 smtp.example ESMTP\r\n\r\n").is_err());
        assert!(head(&[b'x'; 20_000]).is_err());
    }
}
