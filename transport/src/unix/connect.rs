//! The guest's side of the handshake.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::{Connection, HANDSHAKE_TIMEOUT};
use crate::handshake::{Hello, Message, MessageError, PROTOCOL_VERSION, Versions};
use crate::message::{Channel, ChannelError};
use crate::peer::Peer;
use crate::region::{Region, RegionError};

/// A connection that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing stands at the path.
    #[error("no socket at {path}: start the renderer there, or name the socket that it listens on", path = .0.display())]
    NoSocket(PathBuf),
    /// Something else stands at the path.
    #[error("{path} is not a socket: name the socket that the renderer listens on", path = .0.display())]
    NotASocket(PathBuf),
    /// The path is longer than a socket's address may be.
    #[error("the path {path} is too long for a unix socket (at most 107 bytes): use a shorter one", path = .0.display())]
    PathTooLong(PathBuf),
    /// The socket is there and may not be used.
    #[error(
        "no permission to use the socket {path}: this user needs write access to it and search access to its directory",
        path = .0.display()
    )]
    PermissionDenied(PathBuf),
    /// The socket is there and its server is not.
    #[error("nobody listens on {path}: its renderer has ended, start it again", path = .0.display())]
    NobodyListening(PathBuf),
    /// The host said no.
    #[error("the renderer at {path} refused the connection: {message}", path = path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What the host said.
        message: String,
    },
    /// The two sides were built differently.
    #[error(
        "versions differ: this side has {ours}, the renderer at {path} has {theirs}: install the same version of vw on both sides",
        path = path.display()
    )]
    VersionMismatch {
        /// The socket.
        path: PathBuf,
        /// What this side was built with.
        ours: Versions,
        /// What the host was built with.
        theirs: Versions,
    },
    /// The host did not answer in time.
    #[error(
        "the renderer at {path} did not answer within {waited:?} (waiting {step}): it is stuck or overloaded, see its log",
        path = path.display()
    )]
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// How long this side waited.
        waited: Duration,
        /// For what.
        step: &'static str,
    },
    /// The host closed the socket without an answer.
    #[error("the renderer at {path} closed the connection during the handshake: its log says why", path = path.display())]
    Closed {
        /// The socket.
        path: PathBuf,
    },
    /// What answers is not a renderer, or it is broken.
    #[error("the answer from {path} makes no sense: {source}", path = path.display())]
    Malformed {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        source: MessageError,
    },
    /// The answer does not fit the question.
    #[error("the answer from {path} makes no sense: {what}", path = path.display())]
    Unexpected {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The region that the host sent cannot be used.
    #[error("the renderer at {path} is reached, but: {source}", path = path.display())]
    Region {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        source: RegionError,
    },
    /// The operating system refused a step.
    #[error("could not {step} for {path}: {source}", path = path.display())]
    Os {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Connects to the host that listens at `path`, within [`HANDSHAKE_TIMEOUT`].
///
/// # Errors
/// [`ConnectError`] says what happened and what to do.
pub fn connect(path: impl AsRef<Path>, hello: &Hello) -> Result<Connection, ConnectError> {
    connect_within(path, hello, HANDSHAKE_TIMEOUT)
}

/// Connects to the host that listens at `path`, within `timeout`.
///
/// # Errors
/// [`ConnectError`] says what happened and what to do.
pub fn connect_within(
    path: impl AsRef<Path>,
    hello: &Hello,
    timeout: Duration,
) -> Result<Connection, ConnectError> {
    let attempt = Attempt { path: path.as_ref(), timeout, deadline: Instant::now() + timeout };
    let socket = attempt.connect()?;
    attempt.shake_hands(socket, hello)
}

/// One try: what its errors need to know.
struct Attempt<'a> {
    path: &'a Path,
    timeout: Duration,
    deadline: Instant,
}

impl Attempt<'_> {
    fn connect(&self) -> Result<OwnedFd, ConnectError> {
        let address = SocketAddrUnix::new(self.path).map_err(|e| match e {
            Errno::NAMETOOLONG => ConnectError::PathTooLong(self.path()),
            e => self.os("make an address", e),
        })?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| self.os("make a socket", e))?;
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.timed_out("for its queue of connections"));
            }
            // On a unix socket the send time-out also bounds connect, which waits while the queue is full.
            set_socket_timeout(&socket, Timeout::Send, Some(left))
                .map_err(|e| self.os("set a time-out", e))?;
            match rustix::net::connect(&socket, &address) {
                Ok(()) => return Ok(socket),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::NOENT | Errno::NOTDIR) => return Err(ConnectError::NoSocket(self.path())),
                Err(Errno::ACCESS | Errno::PERM) => return Err(ConnectError::PermissionDenied(self.path())),
                Err(Errno::CONNREFUSED) if self.is_socket() => {
                    return Err(ConnectError::NobodyListening(self.path()));
                }
                Err(Errno::CONNREFUSED) => return Err(ConnectError::NotASocket(self.path())),
                Err(e) => return Err(self.os("connect", e)),
            }
        }
    }

    fn shake_hands(&self, socket: OwnedFd, hello: &Hello) -> Result<Connection, ConnectError> {
        let channel = Channel::new(socket.as_fd(), self.deadline);
        match channel.send(&Message::Hello(hello.clone()), None) {
            // A host that refuses everybody may close before it has read; what it said is still to be read.
            Ok(()) | Err(ChannelError::Closed) => {}
            Err(e) => return Err(self.failed(e, "to send the hello")),
        }
        let answer = channel.receive().map_err(|e| self.failed(e, "for the answer to the hello"))?;
        let (ours, theirs) = (hello.versions, answer.preamble.versions());
        let mismatch = || ConnectError::VersionMismatch { path: self.path(), ours, theirs };
        if theirs.protocol != PROTOCOL_VERSION && !answer.preamble.is_farewell() {
            return Err(mismatch());
        }
        let message = Message::decode(&answer.preamble, &answer.body)
            .map_err(|source| ConnectError::Malformed { path: self.path(), source })?;
        let welcome = match message {
            Message::Welcome(welcome) => welcome,
            Message::Refusal(refusal) if refusal.versions_differ => return Err(mismatch()),
            Message::Refusal(refusal) => {
                return Err(ConnectError::Refused { path: self.path(), message: refusal.message });
            }
            Message::Goodbye { reason, .. } => {
                return Err(ConnectError::Refused { path: self.path(), message: reason });
            }
            Message::Hello(_) | Message::Descriptor(_) => {
                return Err(self.unexpected("something else than a welcome"));
            }
        };
        if theirs != ours {
            return Err(mismatch());
        }
        if welcome.features & !hello.features != 0 {
            return Err(self.unexpected("it turns on features that this side did not offer"));
        }
        let fd = answer.fd.ok_or_else(|| self.unexpected("a welcome without the region's descriptor"))?;
        let region = Region::attach(fd, &welcome.layout)
            .map_err(|source| ConnectError::Region { path: self.path(), source })?;
        Ok(Connection {
            region: Arc::new(region),
            peer: Arc::new(Peer::new(socket, ours)),
            hello: hello.clone(),
            welcome,
        })
    }

    fn path(&self) -> PathBuf {
        self.path.to_owned()
    }

    fn is_socket(&self) -> bool {
        // If it cannot be asked, it was a socket when connect looked at it, more likely than not.
        std::fs::metadata(self.path).map_or(true, |m| m.file_type().is_socket())
    }

    fn os(&self, step: &'static str, e: Errno) -> ConnectError {
        ConnectError::Os { path: self.path(), step, source: e.into() }
    }

    fn unexpected(&self, what: &'static str) -> ConnectError {
        ConnectError::Unexpected { path: self.path(), what }
    }

    fn timed_out(&self, step: &'static str) -> ConnectError {
        ConnectError::TimedOut { path: self.path(), waited: self.timeout, step }
    }

    fn failed(&self, error: ChannelError, step: &'static str) -> ConnectError {
        match error {
            ChannelError::TimedOut => self.timed_out(step),
            ChannelError::Closed => ConnectError::Closed { path: self.path() },
            ChannelError::Malformed(source) => ConnectError::Malformed { path: self.path(), source },
            ChannelError::Os(e) => self.os("shake hands", e),
        }
    }
}
