//! Why a guest has no connection: what happened, to what, and what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::Address;
use crate::attached::DeviceError;
use crate::handshake::{MessageError, Versions};
use crate::region::RegionError;

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
    #[error("the renderer at {host} refused the connection: {message}")]
    Refused {
        /// Where the host is.
        host: Address,
        /// What the host said.
        message: String,
    },
    /// The two sides were built differently.
    #[error(
        "versions differ: this side has {ours}, the renderer at {host} has {theirs}: install the same version of vw on both sides"
    )]
    VersionMismatch {
        /// Where the host is.
        host: Address,
        /// What this side was built with.
        ours: Versions,
        /// What the host was built with.
        theirs: Versions,
    },
    /// The host did not answer in time.
    #[error(
        "the renderer at {host} did not answer within {waited:?} (waiting {step}): it is stuck or overloaded, see its log"
    )]
    TimedOut {
        /// Where the host is.
        host: Address,
        /// How long this side waited.
        waited: Duration,
        /// For what.
        step: &'static str,
    },
    /// The host closed the socket without an answer.
    #[error("the renderer at {host} closed the connection during the handshake: its log says why")]
    Closed {
        /// Where the host is.
        host: Address,
    },
    /// What answers is not a renderer, or it is broken.
    #[error("the answer from {host} makes no sense: {source}")]
    Malformed {
        /// Where the host is.
        host: Address,
        /// What is wrong.
        source: MessageError,
    },
    /// The answer does not fit the question.
    #[error("the answer from {host} makes no sense: {what}")]
    Unexpected {
        /// Where the host is.
        host: Address,
        /// What is wrong.
        what: &'static str,
    },
    /// The region that the host sent cannot be used.
    #[error("the renderer at {host} is reached, but: {source}")]
    Region {
        /// Where the host is.
        host: Address,
        /// What is wrong.
        source: RegionError,
    },
    /// The host is on another kernel, and memory was to be passed by descriptor.
    #[error(
        "VW_MEMORY=passed needs a host on the same kernel; {host} is on another one: use auto or attached"
    )]
    CannotPass {
        /// Where the host is.
        host: Address,
    },
    /// This machine has no vsock.
    #[error("no way to {host}: this machine has no vsock device, or its driver is not loaded ({source})")]
    NoVsock {
        /// Where the host is.
        host: Address,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no such machine, or nobody listens there at this port.
    #[error("nobody answers at {host} ({source}): start the renderer with this port among its listeners")]
    NobodyAnswers {
        /// Where the host is.
        host: Address,
        /// The system's answer.
        source: io::Error,
    },
    /// The memory that both sides should see cannot be used.
    #[error("the renderer at {host} is reached, but: {source}")]
    Device {
        /// Where the host is.
        host: Address,
        /// What is wrong.
        source: DeviceError,
    },
    /// The operating system refused a step.
    #[error("could not {step} for {host}: {source}")]
    Os {
        /// Where the host is.
        host: Address,
        /// What was tried.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}
