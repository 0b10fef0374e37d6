//! What can stand between a sink and its database.
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
};

/// What a proxy does when it sees a text on its way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Ends the connection instead of passing it on.
    CutBefore(&'static str),
    /// Passes it on, takes the answer, and ends the connection without passing that on.
    CutAfter(&'static str),
    /// Keeps it until [`Proxy::go_on`].
    Hold(&'static str),
}

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Self::CutBefore(text) | Self::CutAfter(text) | Self::Hold(text) => text,
        }
    }
}

#[derive(Default)]
struct Shared {
    fault: Mutex<Option<Fault>>,
    met: AtomicBool,
    go_on: Notify,
    /// Whether answers are taken and not passed on.
    mute: AtomicBool,
    taken: Notify,
}

/// Passes connections on, until a fault is to happen.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    pub(crate) async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let faults = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&faults)));
            }
        });
        Self { port, shared }
    }

    /// What is to happen next, once.
    pub(crate) fn inject(&self, fault: Fault) {
        self.shared.met.store(false, Ordering::SeqCst);
        *self.shared.fault.lock() = Some(fault);
    }

    /// Whether it happened.
    pub(crate) fn met(&self) -> bool {
        self.shared.met.load(Ordering::SeqCst)
    }

    /// Passes on what was held.
    pub(crate) fn go_on(&self) {
        self.shared.go_on.notify_one();
    }
}

async fn pass(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let answers = tokio::spawn(pass_answers(server_in, client_out, Arc::clone(&shared)));
    pass_questions(client_in, server_out, &shared).await;
    answers.abort();
}

async fn pass_answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: Arc<Shared>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if shared.mute.swap(false, Ordering::SeqCst) {
            shared.taken.notify_one();
        } else if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn pass_questions(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let piece = &buffer[..length];
        let fault = {
            let mut fault = shared.fault.lock();
            let due = fault.filter(|fault| contains(piece, fault.text()));
            if due.is_some() {
                *fault = None;
            }
            due
        };
        match fault {
            None => {}
            Some(fault) => {
                shared.met.store(true, Ordering::SeqCst);
                match fault {
                    Fault::CutBefore(_) => return,
                    Fault::Hold(_) => shared.go_on.notified().await,
                    Fault::CutAfter(_) => {
                        shared.mute.store(true, Ordering::SeqCst);
                        to.write_all(piece).await.unwrap();
                        shared.taken.notified().await;
                        return;
                    }
                }
            }
        }
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}

fn contains(piece: &[u8], text: &str) -> bool {
    piece
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// Gives each transaction of a client another session than the one before, as a pooler in transaction mode may. Its clients need no
/// password.
pub(crate) async fn pooler(target: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pool(client, target));
        }
    });
    port
}

async fn pool(client: TcpStream, target: u16) -> Option<()> {
    let (mut client_in, mut client_out) = client.into_split();
    let length = client_in.read_u32().await.ok()?;
    let mut startup = length.to_be_bytes().to_vec();
    startup.resize(length as usize, 0);
    client_in.read_exact(&mut startup[4..]).await.ok()?;

    let mut sessions = Vec::new();
    for number in 0..2 {
        let session = TcpStream::connect(("127.0.0.1", target)).await.ok()?;
        let (mut session_in, mut session_out) = session.into_split();
        session_out.write_all(&startup).await.ok()?;
        loop {
            let message = message(&mut session_in).await?;
            if number == 0 {
                client_out.write_all(&message).await.ok()?;
            }
            if message[0] == b'Z' {
                break;
            }
        }
        sessions.push((session_in, session_out));
    }

    let (mut current, mut idle) = (0, true);
    loop {
        // A question, and its answer up to where the server waits for more.
        let question = message(&mut client_in).await?;
        if idle {
            (current, idle) = (1 - current, false);
        }
        let (session_in, session_out) = &mut sessions[current];
        session_out.write_all(&question).await.ok()?;
        if matches!(question[0], b'd' | b'X') {
            continue;
        }
        loop {
            let answer = message(session_in).await?;
            client_out.write_all(&answer).await.ok()?;
            match answer[0] {
                b'Z' => {
                    idle = answer[5] == b'I';
                    break;
                }
                // It takes a COPY.
                b'G' => break,
                _ => {}
            }
        }
    }
}

/// A message with its type and length.
async fn message(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let kind = from.read_u8().await.ok()?;
    let length = from.read_u32().await.ok()?;
    let mut message = vec![kind];
    message.extend(length.to_be_bytes());
    message.resize(1 + length as usize, 0);
    from.read_exact(&mut message[5..]).await.ok()?;
    Some(message)
}
