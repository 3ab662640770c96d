//! Where guests come in.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use vw_transport::{Listener, VsockListener};

use super::BrokerError;
use crate::config::Listen;

/// One listening socket.
#[derive(Debug)]
pub(super) enum Door {
    Unix(Listener),
    Vsock(VsockListener),
}

/// Who has come in, as far as this side knows by itself: what the other end says of itself proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// By this unix socket: a process of this machine, or the virtual machine that the socket is for.
    Unix(String),
    /// From the virtual machine with this CID.
    Vsock(u32),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::Vsock(cid) => write!(f, "vsock:{cid}"),
        }
    }
}

impl Door {
    /// Listens where `listen` says; never blocks.
    pub(super) fn open(listen: &Listen) -> Result<Self, BrokerError> {
        match listen {
            Listen::Unix(path) => {
                let listener = Listener::bind(path)?;
                listener.set_nonblocking(true).map_err(super::system("use the listening socket"))?;
                Ok(Self::Unix(listener))
            }
            Listen::Vsock(port) => VsockListener::bind(*port)
                .map(Self::Vsock)
                .map_err(|source| BrokerError::Vsock { port: *port, source }),
        }
    }

    /// The next guest.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` if there is nobody.
    pub(super) fn accept(&self) -> io::Result<(OwnedFd, Origin)> {
        match self {
            Self::Unix(listener) => {
                let stream = listener.accept()?;
                Ok((stream.into(), Origin::Unix(listener.path().display().to_string())))
            }
            Self::Vsock(listener) => listener.accept().map(|(stream, cid)| (stream, Origin::Vsock(cid))),
        }
    }

    /// The file that stands for it.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(listener) => Some(listener.path()),
            Self::Vsock(_) => None,
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener) => listener.as_fd(),
            Self::Vsock(listener) => listener.as_fd(),
        }
    }
}
