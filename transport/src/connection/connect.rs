//! The guest's side of the handshake.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_error};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::error::ConnectError;
use super::{Connection, HANDSHAKE_TIMEOUT};
use crate::address::Address;
use crate::attached::{Device, DeviceError, pump};
use crate::descriptor::Descriptor;
use crate::handshake::{Hello, MAX_REGIONS, Message, PROTOCOL_VERSION, Versions, Welcome, feature};
use crate::message::{Channel, ChannelError};
use crate::mirror::{Mirror, Side};
use crate::peer::Peer;
use crate::region::Region;
use crate::vsock::{self, SocketAddrVm};

/// How a guest wants to have memory in common with its host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// What the way to the host allows.
    #[default]
    Auto,
    /// A region of its own, whose descriptor comes over the unix socket.
    Passed,
    /// A slice of a device that this machine has.
    Attached,
    /// None: what is written is sent over the stream.
    Stream,
    /// The same, and what is written is found by comparison, whatever the kernel can tell.
    StreamCompared,
}

/// Text that is no [`Choice`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no way to have memory in common; write auto, passed, attached or stream")]
pub struct ChoiceError(String);

impl FromStr for Choice {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "passed" => Ok(Self::Passed),
            "attached" => Ok(Self::Attached),
            "stream" => Ok(Self::Stream),
            "stream-compared" => Ok(Self::StreamCompared),
            _ => Err(ChoiceError(text.to_owned())),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Passed => "passed",
            Self::Attached => "attached",
            Self::Stream => "stream",
            Self::StreamCompared => "stream-compared",
        })
    }
}

/// How to reach a host.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Where it is.
    pub host: Address,
    /// How to have memory in common.
    pub memory: Choice,
    /// The one device that may be the memory; found by itself without.
    pub device: Option<PathBuf>,
    /// How long it may take.
    pub timeout: Duration,
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
    let host = Address::Unix(path.as_ref().to_owned());
    Dial { timeout, ..Dial::new(host) }.connect(hello)
}

impl Dial {
    /// The host at this address, within [`HANDSHAKE_TIMEOUT`], however memory can be had in common.
    pub fn new(host: Address) -> Self {
        Self { host, memory: Choice::Auto, device: None, timeout: HANDSHAKE_TIMEOUT }
    }

    /// Connects. The hello's features are what the caller can use; how memory is had in common is added here.
    ///
    /// # Errors
    /// [`ConnectError`] says what happened and what to do.
    pub fn connect(&self, hello: &Hello) -> Result<Connection, ConnectError> {
        let attempt = self.attempt();
        let mut hello = hello.clone();
        match (self.memory, &self.host) {
            (Choice::Passed, Address::Vsock { .. }) => {
                Err(ConnectError::CannotPass { host: self.host.clone() })
            }
            (Choice::Attached, _) | (Choice::Auto, Address::Vsock { .. }) => {
                attempt.find_memory(hello, self.memory == Choice::Auto)
            }
            (Choice::Auto | Choice::Passed, Address::Unix(_)) => {
                hello.features |= feature::PASSED;
                attempt.shake_hands(attempt.connect()?, &hello, &[])
            }
            (Choice::Stream | Choice::StreamCompared, _) => {
                hello.features = hello.features & !feature::DESCRIPTORS | feature::STREAM;
                attempt.shake_hands(attempt.connect()?, &hello, &[])
            }
        }
    }

    /// As [`connect`](Self::connect), as far as nobody waits: says hello, so that the host makes a session ready. None where
    /// memory is not passed, because there the host waits for more than that.
    ///
    /// # Errors
    /// [`ConnectError`] says what happened and what to do.
    pub fn begin(&self, hello: &Hello) -> Result<Option<Begun>, ConnectError> {
        let (Choice::Auto | Choice::Passed, Address::Unix(_)) = (self.memory, &self.host) else {
            return Ok(None);
        };
        let mut hello = hello.clone();
        hello.features |= feature::PASSED;
        let attempt = self.attempt();
        let socket = attempt.connect()?;
        attempt.say_hello(&Channel::new(socket.as_fd(), attempt.deadline), &hello)?;
        Ok(Some(Begun { dial: self.clone(), hello, socket: Descriptor::new(socket) }))
    }

    fn attempt(&self) -> Attempt<'_> {
        Attempt { dial: self, deadline: Instant::now() + self.timeout }
    }
}

/// A hello whose answer has not been read: dropped, it was for nothing.
#[derive(Debug)]
pub struct Begun {
    dial: Dial,
    hello: Hello,
    socket: Descriptor,
}

impl Begun {
    /// Connects: anew if the host has closed the socket meanwhile, because it may have been started again, if the program has,
    /// or if this is a process that was forked since.
    ///
    /// # Errors
    /// [`ConnectError`] says what happened and what to do.
    pub fn finish(self) -> Result<Connection, ConnectError> {
        let Self { dial, mut hello, socket } = self;
        let process = std::process::id();
        if hello.pid == process
            && let Some(socket) = socket.into_owned()
        {
            match dial.attempt().hear_answer(socket, &hello, &[]) {
                Err(ConnectError::Closed { .. }) => {}
                result => return result,
            }
        }
        hello.pid = process;
        dial.connect(&hello)
    }
}

/// One try: what its errors need to know.
struct Attempt<'a> {
    dial: &'a Dial,
    deadline: Instant,
}

impl Attempt<'_> {
    /// Connects by a device that is the host's memory; `or_none`: or else with no memory in common.
    fn find_memory(&self, mut hello: Hello, or_none: bool) -> Result<Connection, ConnectError> {
        let (devices, errors) = Device::find(self.dial.device.as_deref());
        hello.features &= !feature::DESCRIPTORS;
        if !devices.is_empty() || !or_none {
            hello.features |= feature::ATTACHED;
        }
        if or_none {
            hello.features |= feature::STREAM;
        }
        hello.regions = devices.iter().take(MAX_REGIONS).map(Device::id).collect();
        hello.note = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let result = self.shake_hands(self.connect()?, &hello, &devices);
        match (result, errors.into_iter().next()) {
            // The host was told, for its log; the reason is on this side.
            (Err(ConnectError::Refused { .. }), Some(source)) if devices.is_empty() => {
                Err(ConnectError::Device { host: self.host(), source })
            }
            (Err(ConnectError::Device { source, .. }), _) if or_none => {
                hello.features &= !feature::ATTACHED;
                hello.regions.clear();
                hello.note = source.to_string();
                self.shake_hands(self.connect()?, &hello, &[])
            }
            (result, _) => result,
        }
    }

    fn connect(&self) -> Result<OwnedFd, ConnectError> {
        match &self.dial.host {
            Address::Unix(path) => self.connect_unix(path),
            Address::Vsock { cid, port } => self.connect_vsock(SocketAddrVm::new(*cid, *port)),
        }
    }

    fn connect_unix(&self, path: &Path) -> Result<OwnedFd, ConnectError> {
        let to = || path.to_owned();
        let address = SocketAddrUnix::new(path).map_err(|e| match e {
            Errno::NAMETOOLONG => ConnectError::PathTooLong(to()),
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
                Err(Errno::NOENT | Errno::NOTDIR) => return Err(ConnectError::NoSocket(to())),
                Err(Errno::ACCESS | Errno::PERM) => return Err(ConnectError::PermissionDenied(to())),
                Err(Errno::CONNREFUSED) if is_socket(path) => {
                    return Err(ConnectError::NobodyListening(to()));
                }
                Err(Errno::CONNREFUSED) => return Err(ConnectError::NotASocket(to())),
                Err(e) => return Err(self.os("connect", e)),
            }
        }
    }

    fn connect_vsock(&self, address: SocketAddrVm) -> Result<OwnedFd, ConnectError> {
        let host = || self.dial.host.clone();
        let failed = |error: Errno| match error {
            Errno::AFNOSUPPORT | Errno::NODEV | Errno::ADDRNOTAVAIL => {
                ConnectError::NoVsock { host: host(), source: error.into() }
            }
            Errno::CONNRESET
            | Errno::CONNREFUSED
            | Errno::NETUNREACH
            | Errno::HOSTUNREACH
            | Errno::TIMEDOUT => ConnectError::NobodyAnswers { host: host(), source: error.into() },
            error => self.os("connect", error),
        };
        let socket = vsock::socket().map_err(failed)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(error) => return Err(failed(error)),
        }
        let channel = Channel::new(socket.as_fd(), self.deadline);
        channel.wait_for(PollFlags::OUT).map_err(|e| self.failed(e, "for the connection"))?;
        match socket_error(&socket).map_err(|e| self.os("connect", e))? {
            Ok(()) => Ok(socket),
            Err(error) => Err(failed(error)),
        }
    }

    fn shake_hands(
        &self,
        socket: OwnedFd,
        hello: &Hello,
        devices: &[Device],
    ) -> Result<Connection, ConnectError> {
        self.say_hello(&Channel::new(socket.as_fd(), self.deadline), hello)?;
        self.hear_answer(socket, hello, devices)
    }

    fn say_hello(&self, channel: &Channel<'_>, hello: &Hello) -> Result<(), ConnectError> {
        match channel.send(&Message::Hello(hello.clone()), None) {
            // A host that refuses everybody may close before it has read; what it said is still to be read.
            Ok(()) | Err(ChannelError::Closed) => Ok(()),
            Err(e) => Err(self.failed(e, "to send the hello")),
        }
    }

    fn hear_answer(
        &self,
        socket: OwnedFd,
        hello: &Hello,
        devices: &[Device],
    ) -> Result<Connection, ConnectError> {
        let channel = Channel::new(socket.as_fd(), self.deadline);
        let (message, fd) = self.answer(&channel, hello.versions, "for the answer to the hello")?;
        let Message::Welcome(welcome) = message else {
            return Err(self.unexpected("something else than a welcome"));
        };
        if welcome.features & !hello.features != 0 {
            return Err(self.unexpected("it turns on features that this side did not offer"));
        }
        let region = match welcome.features & feature::MEMORY {
            feature::PASSED => {
                let fd = fd.ok_or_else(|| self.unexpected("a welcome without the region's descriptor"))?;
                Region::attach(fd, &welcome.layout)
                    .map_err(|source| ConnectError::Region { host: self.host(), source })?
            }
            feature::ATTACHED => self.attach(&channel, hello.versions, &welcome, devices)?,
            feature::STREAM => {
                Region::create(welcome.layout.limits())
                    .map_err(|source| ConnectError::Region { host: self.host(), source })?
                    .0
            }
            _ => return Err(self.unexpected("it does not say how memory is shared")),
        };
        let region = Arc::new(region);
        let listening = |source| ConnectError::Os { host: self.host(), step: "start to listen", source };
        let peer = if welcome.features & feature::STREAM != 0 {
            let compare = self.dial.memory == Choice::StreamCompared;
            Mirror::connect(&region, socket, hello.versions, Side::Guest, compare).map_err(listening)?
        } else if welcome.place.is_some() {
            pump::connect(&region, socket, hello.versions, true).map_err(listening)?
        } else {
            Peer::new(socket, hello.versions)
        };
        Ok(Connection { region, peer: Arc::new(peer), hello: hello.clone(), welcome })
    }

    /// The region in one of the devices, once both sides have seen that they see the same.
    fn attach(
        &self,
        channel: &Channel<'_>,
        ours: Versions,
        welcome: &Welcome,
        devices: &[Device],
    ) -> Result<Region, ConnectError> {
        let place = welcome.place.ok_or_else(|| self.unexpected("a welcome to no place"))?;
        let device = devices.iter().find(|device| device.id() == place.region);
        let region = device
            .ok_or(DeviceError::Unknown(place.region))
            .and_then(|device| device.region(&place, &welcome.layout));
        let region = match region {
            Ok(region) => region,
            Err(source) => {
                // For the host's log; it may be gone.
                let _ = channel.send(&Message::Goodbye { versions: ours, reason: source.to_string() }, None);
                return Err(ConnectError::Device { host: self.host(), source });
            }
        };
        match channel.send(&Message::Proof(ours, region.proof().1), None) {
            Ok(()) | Err(ChannelError::Closed) => {}
            Err(e) => return Err(self.failed(e, "to send the proof")),
        }
        match self.answer(channel, ours, "for the answer to the proof")? {
            (Message::Ready(_), _) => Ok(region),
            _ => Err(self.unexpected("something else than the end of the handshake")),
        }
    }

    /// The host's next message, which is neither a no nor of another version.
    fn answer(
        &self,
        channel: &Channel<'_>,
        ours: Versions,
        step: &'static str,
    ) -> Result<(Message, Option<OwnedFd>), ConnectError> {
        let answer = channel.receive().map_err(|e| self.failed(e, step))?;
        let theirs = answer.preamble.versions();
        let mismatch = || ConnectError::VersionMismatch { host: self.host(), ours, theirs };
        if theirs.protocol != PROTOCOL_VERSION && !answer.preamble.is_farewell() {
            return Err(mismatch());
        }
        let message = Message::decode(&answer.preamble, &answer.body)
            .map_err(|source| ConnectError::Malformed { host: self.host(), source })?;
        match message {
            Message::Refusal(refusal) if refusal.versions_differ => Err(mismatch()),
            Message::Refusal(refusal) => {
                Err(ConnectError::Refused { host: self.host(), message: refusal.message })
            }
            Message::Goodbye { reason, .. } => {
                Err(ConnectError::Refused { host: self.host(), message: reason })
            }
            _ if theirs != ours => Err(mismatch()),
            message => Ok((message, answer.fd)),
        }
    }

    fn host(&self) -> Address {
        self.dial.host.clone()
    }

    fn os(&self, step: &'static str, e: Errno) -> ConnectError {
        ConnectError::Os { host: self.host(), step, source: e.into() }
    }

    fn unexpected(&self, what: &'static str) -> ConnectError {
        ConnectError::Unexpected { host: self.host(), what }
    }

    fn timed_out(&self, step: &'static str) -> ConnectError {
        ConnectError::TimedOut { host: self.host(), waited: self.dial.timeout, step }
    }

    fn failed(&self, error: ChannelError, step: &'static str) -> ConnectError {
        match error {
            ChannelError::TimedOut => self.timed_out(step),
            ChannelError::Closed => ConnectError::Closed { host: self.host() },
            ChannelError::Malformed(source) => ConnectError::Malformed { host: self.host(), source },
            ChannelError::Os(e) => self.os("shake hands", e),
        }
    }
}

fn is_socket(path: &Path) -> bool {
    // If it cannot be asked, it was a socket when connect looked at it, more likely than not.
    std::fs::metadata(path).map_or(true, |m| m.file_type().is_socket())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;
    use crate::attached::{FIRST_SLICE, Memory};
    use crate::connection::{AcceptError, Listener, accept_handshake};
    use crate::handshake::{Grant, Offer};
    use crate::layout::Limits;

    #[test]
    fn guest_when_its_device_is_not_what_the_host_sees_goes_without() {
        const SIZE: u64 = 32 << 20;
        let versions = Versions::new(1, 1);
        let folder = std::env::temp_dir().join(format!("vw-fallback-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (ours, theirs) = (Memory::create(SIZE).unwrap(), Memory::create(SIZE).unwrap());
        let mut header = [0; 48];
        rustix::io::pread(&ours, &mut header, 0).unwrap();
        rustix::io::pwrite(&theirs, &header, 0).unwrap();
        let limits = Limits {
            ring_size: 2 << 20,
            reply_size: 1 << 20,
            arena_size: 0,
            window_size: 1 << 20,
            ..Limits::default()
        };
        let listener = Listener::bind(folder.join("vw.sock")).unwrap();
        let host = std::thread::spawn(move || {
            let serve = || {
                accept_handshake(listener.accept().unwrap(), versions, |hello| {
                    let memory = if hello.features & feature::ATTACHED != 0 {
                        Grant::Attached(ours.slice(FIRST_SLICE, 8 << 20).unwrap())
                    } else {
                        assert!(hello.note.contains("swapped"), "{}", hello.note);
                        Grant::Stream
                    };
                    Ok(Offer { memory, limits, features: 0, host: String::new() })
                })
            };
            (serve(), serve())
        });
        let mut dial = Dial::new(Address::Unix(folder.join("vw.sock")));
        dial.device = Some(format!("/proc/self/fd/{}", theirs.as_fd().as_raw_fd()).into());
        dial.timeout = Duration::from_secs(60);
        let attempt = Attempt { dial: &dial, deadline: Instant::now() + dial.timeout };
        let guest = attempt.find_memory(Hello::new(versions, "test"), true).unwrap();
        assert_eq!(guest.welcome.features & feature::MEMORY, feature::STREAM);
        let (first, second) = host.join().unwrap();
        assert!(matches!(first, Err(AcceptError::Left { .. })));
        assert!(second.is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
