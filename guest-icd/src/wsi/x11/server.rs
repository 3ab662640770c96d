//! Connections of the driver's own, to the server that the program is connected to.

use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};

use rustix::net::SocketAddrAny;
use x11rb::reexports::x11rb_protocol::xauth;
use x11rb::rust_connection::{DefaultStream, RustConnection};

use crate::log;

/// TCP port of display 0.
const FIRST_PORT: u16 = 6000;

/// A connection to an X server.
pub(super) struct Server {
    pub(super) connection: RustConnection,
    /// Descriptors pass to it.
    pub(super) local: bool,
}

/// Connects to the server at the other end of `program`, the program's socket; none if that fails.
pub(super) fn connect(program: BorrowedFd<'_>) -> Option<Server> {
    let refused =
        |error: &dyn std::fmt::Display| log::error!("the X server takes no other connection: {error}");
    let address = rustix::net::getpeername(program).ok().flatten();
    let named = address.as_ref().and_then(open);
    let Some((stream, display, local)) = named else {
        // A socket that has no name, as servers inherit them: the environment may know another one.
        let (connection, _) = RustConnection::connect(None).inspect_err(|error| refused(error)).ok()?;
        return Some(Server { connection, local: false });
    };
    let (stream, (family, peer)) = stream.inspect_err(|error| refused(error)).ok()?;
    let (name, data) = xauth::get_auth(family, &peer, display).ok().flatten().unwrap_or_default();
    let connection = RustConnection::connect_to_stream_with_auth_info(stream, 0, name, data);
    Some(Server { connection: connection.inspect_err(|error| refused(error)).ok()?, local })
}

type Stream = std::io::Result<(DefaultStream, (xauth::Family, Vec<u8>))>;

/// Opens a socket to an address: also the display's number, and whether descriptors pass.
fn open(address: &SocketAddrAny) -> Option<(Stream, u16, bool)> {
    if let Ok(unix) = rustix::net::SocketAddrUnix::try_from(address.clone()) {
        let (name, address) = match (unix.abstract_name(), unix.path()) {
            (Some(name), _) => (name.to_vec(), SocketAddr::from_abstract_name(name)),
            (None, Some(path)) => {
                let path = path.to_bytes();
                (path.to_vec(), SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)))
            }
            (None, None) => return None,
        };
        let digits: Vec<u8> = name.rsplit(|byte| *byte == b'X').next().unwrap_or_default().to_vec();
        let display = String::from_utf8_lossy(&digits).parse().unwrap_or_default();
        let stream = address.and_then(|address| UnixStream::connect_addr(&address));
        return Some((stream.and_then(DefaultStream::from_unix_stream), display, true));
    }
    let tcp = std::net::SocketAddr::try_from(address.clone()).ok()?;
    let stream = TcpStream::connect(tcp).and_then(DefaultStream::from_tcp_stream);
    Some((stream, tcp.port().saturating_sub(FIRST_PORT), false))
}
