//! The socket that clients connect to.
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted; the kernel allows `net.core.somaxconn` at most, which is 4096 where nobody set it.
/// Beyond it the kernel drops the request to connect, and a client asks again after a whole second: 128, which listeners have
/// by default, are too few for clients that all come back at once.
const BACKLOG: u32 = 4096;

/// Listens on `address`, with room for many clients that connect at the same moment.
///
/// # Errors
/// As of `bind`: the address is in use, is not of this machine, or is not allowed.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A process that is started again need not wait for connections of the one before to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
