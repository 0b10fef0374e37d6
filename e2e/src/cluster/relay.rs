//! Connections from the machine into the cluster's network. There is none in the other direction.
//!
//! A socket in the file system can be reached from every network namespace. In the cluster's, somebody listens on it; whoever
//! connects writes one line, `HOST:PORT`, and is connected to that.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    thread,
};

use crate::cluster::error::{ClusterError, io_at};

/// Listens in the cluster's network for as long as this process runs.
pub(crate) fn serve(socket: &Path) -> Result<(), ClusterError> {
    let listener = UnixListener::bind(socket).map_err(io_at("listening on", socket))?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || {
                // A connection that cannot be made or breaks off is seen at its other end.
                let _ = connect(connection);
            });
        }
    });
    Ok(())
}

fn connect(connection: UnixStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut target = String::new();
    reader.read_line(&mut target)?;
    let inner = TcpStream::connect(target.trim())?;
    inner.set_nodelay(true)?;
    // What has been read beyond the line.
    let early = reader.buffer().to_vec();
    (&inner).write_all(&early)?;
    join(connection, inner)
}

/// Passes connections to `listener` on to `target` in the cluster's network, for as long as this process runs.
pub(crate) fn forward(listener: TcpListener, socket: PathBuf, target: SocketAddr) {
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let socket = socket.clone();
            thread::spawn(move || {
                let _ = enter(connection, &socket, target);
            });
        }
    });
}

fn enter(connection: TcpStream, socket: &Path, target: SocketAddr) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut inner = UnixStream::connect(socket)?;
    writeln!(inner, "{target}")?;
    join(inner, connection)
}

/// Passes bytes both ways until both sides have ended.
fn join(unix: UnixStream, tcp: TcpStream) -> std::io::Result<()> {
    let (unix_reader, tcp_reader) = (unix.try_clone()?, tcp.try_clone()?);
    thread::spawn(move || {
        pass(unix_reader, &tcp);
        let _ = tcp.shutdown(Shutdown::Write);
    });
    pass(tcp_reader, &unix);
    unix.shutdown(Shutdown::Write)
}

/// Until the reader has nothing more, or the writer takes no more.
fn pass(mut reader: impl Read, mut writer: impl Write) {
    let _ = std::io::copy(&mut reader, &mut writer);
}
