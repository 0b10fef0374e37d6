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
    let mut held = Vec::new();
    let mut ports = [0; COUNT];
    for port in &mut ports {
        let listener = listen().map_err(io("looking for a free port"))?;
        *port = listener
            .local_addr()
            .map_err(io("asking for a port"))?
            .port();
        held.push(listener);
    }
    Ok(ports)
}

fn listen() -> std::io::Result<TcpListener> {
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
