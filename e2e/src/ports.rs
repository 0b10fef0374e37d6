//! Ports that nobody has.
use std::net::TcpListener;

use rand::Rng;

use crate::server::{ServerError, io};

/// Below the ports that the system gives to outgoing connections: a client that keeps trying to reach a stopped server on one
/// of those may end up connected to itself.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// As many different ports as are asked for.
pub(crate) fn free<const COUNT: usize>() -> Result<[u16; COUNT], ServerError> {
    // Held until all are found, so that they differ.
    let held = listen(COUNT)?;
    let mut ports = [0; COUNT];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = self::port(listener)?;
    }
    Ok(ports)
}

/// Listens on as many ports as are asked for.
pub(crate) fn listen(count: usize) -> Result<Vec<TcpListener>, ServerError> {
    let listeners = (0..count).map(|_| listen_somewhere());
    listeners
        .collect::<std::io::Result<_>>()
        .map_err(io("looking for a free port"))
}

/// The port that somebody listens on.
pub(crate) fn port(listener: &TcpListener) -> Result<u16, ServerError> {
    let address = listener.local_addr();
    address
        .map(|address| address.port())
        .map_err(io("asking for a port"))
}

fn listen_somewhere() -> std::io::Result<TcpListener> {
    let mut random = rand::rng();
    let mut last = None;
    for _ in 0..100 {
        match TcpListener::bind(("127.0.0.1", random.random_range(PORTS))) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("no port was tried")))
}
