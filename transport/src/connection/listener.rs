//! The socket that guests connect to.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// A socket that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A live server has it.
    #[error("another renderer already listens on {path}: stop it, or choose another path for this one", path = .0.display())]
    InUse(PathBuf),
    /// Something else stands there.
    #[error("{path} exists and is not a socket: remove it, or choose another path", path = .0.display())]
    NotASocket(PathBuf),
    /// The directory is missing.
    #[error("the directory of {path} does not exist: make it, or choose another path", path = .0.display())]
    NoDirectory(PathBuf),
    /// The directory may not be written.
    #[error(
        "no permission to make a socket at {path}: this user needs write access to its directory",
        path = .0.display()
    )]
    PermissionDenied(PathBuf),
    /// The operating system refused a step.
    #[error("could not {step} for the socket {path}: {source}", path = path.display())]
    Os {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// A listening socket. It keeps `<path>.lock` locked, which says that it lives (the file stays, the lock goes with
/// the process), and removes the socket when dropped.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket file, so that a successor's is not removed.
    identity: Option<(u64, u64)>,
    _lock: File,
}

impl Listener {
    /// Listens at `path`. A socket that a dead server left there is replaced, a live server's is not touched.
    ///
    /// # Errors
    /// [`BindError`] says what is in the way.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, BindError> {
        let path = path.as_ref();
        let lock = lock(path)?;
        // From here on no other `Listener` touches the path.
        remove_stale(path)?;
        let socket = UnixListener::bind(path).map_err(|e| failed(path, "bind", e))?;
        Ok(Self { socket, path: path.to_owned(), identity: identity(path), _lock: lock })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next guest. Blocks, unless [`Listener::set_nonblocking`].
    ///
    /// # Errors
    /// What the system says; `WouldBlock` if there is nobody and it does not block.
    pub fn accept(&self) -> io::Result<UnixStream> {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => return Ok(stream),
                // The guest left before it was served: the next one.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Whether [`Listener::accept`] blocks.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Takes the lock that says that a server lives at `path`. The file is never removed: removing it would let two
/// servers hold locks on two files of the same name.
fn lock(path: &Path) -> Result<File, BindError> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(|e| failed(path, "open the lock file", e))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(BindError::InUse(path.to_owned())),
        Err(e) => Err(failed(path, "lock the lock file", e.into())),
    }
}

/// Removes a socket that nobody serves.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(path, "look at what is there", e)),
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    // A server that does not know the lock may still be there.
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
        Ok(_) => return Err(BindError::InUse(path.to_owned())),
        Err(e) => return Err(failed(path, "see whether somebody listens", e)),
    }
    std::fs::remove_file(path).map_err(|e| failed(path, "remove the stale socket", e))
}

fn failed(path: &Path, step: &'static str, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::NotFound => BindError::NoDirectory(path.to_owned()),
        io::ErrorKind::PermissionDenied => BindError::PermissionDenied(path.to_owned()),
        io::ErrorKind::AddrInUse => BindError::InUse(path.to_owned()),
        _ => BindError::Os { path: path.to_owned(), step, source },
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
