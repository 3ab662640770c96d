//! The other side, as seen through the socket that stays open after the handshake.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::Shutdown;

use crate::connection::HANDSHAKE_TIMEOUT;
use crate::descriptor::Descriptor;
use crate::handshake::{Message, Versions};
use crate::link::Link;
use crate::liveness::{Liveness, PeerGone};
use crate::message::Channel;
use crate::thread::Thread;

/// The socket is looked at no more often than this; in between [`Liveness::alive`] answers from memory.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The other side of a connection. Its socket closes when its process ends, however it ends; that is how it is
/// noticed. Nothing but descriptors and a goodbye travels on the socket after the handshake.
///
/// A child that the other side forked without exec holds the socket too, and counts as alive; who must know better
/// watches the process itself.
#[derive(Debug)]
pub struct Peer {
    socket: Descriptor,
    versions: Versions,
    /// Where frames go over the socket: what they go by, and the thread that reads them.
    stream: Option<Stream>,
    start: Instant,
    /// When to look next, in nanoseconds since `start`.
    look_at: AtomicU64,
    gone: AtomicBool,
}

impl Peer {
    /// The peer at the other end of a connected socket. `versions`: this side's, for the goodbye.
    pub(crate) fn new(socket: OwnedFd, versions: Versions) -> Self {
        Self {
            socket: Descriptor::new(socket),
            versions,
            stream: None,
            start: Instant::now(),
            look_at: AtomicU64::new(0),
            gone: AtomicBool::new(false),
        }
    }

    /// The peer at the other end of a link over this socket, which `reader` reads until it is over.
    pub(crate) fn on_stream(socket: OwnedFd, versions: Versions, link: Arc<Link>, reader: Thread) -> Self {
        let stream = Stream { link, reader: Some(reader), process: std::process::id() };
        let mut peer = Self::new(socket, versions);
        peer.stream = Some(stream);
        peer
    }

    /// What frames go by, where they do.
    pub fn link(&self) -> Option<&Link> {
        self.stream.as_ref().map(|stream| &*stream.link)
    }

    /// Ends the connection from this side and tells the other side why, for its log. Later calls do nothing.
    pub fn close(&self, reason: &str) {
        if let Some(link) = self.link() {
            return link.close(reason);
        }
        let (false, Ok(socket)) = (self.gone.swap(true, Ordering::AcqRel), self.socket()) else { return };
        // A full socket buffer or a peer that is gone already: then the goodbye is lost, and that is all.
        let goodbye = Message::Goodbye { versions: self.versions, reason: reason.to_owned() };
        let _ = Channel::new(socket, Instant::now()).send(&goodbye, None);
        let _ = rustix::net::shutdown(socket, Shutdown::Both);
    }

    /// Sends a descriptor; the caller keeps its own.
    ///
    /// # Errors
    /// When the other side is gone, or does not take what it was sent before within [`HANDSHAKE_TIMEOUT`].
    pub fn send_descriptor(&self, fd: BorrowedFd<'_>) -> Result<(), PeerGone> {
        if self.stream.is_some() {
            return Err(PeerGone);
        }
        let channel = Channel::new(self.socket()?, Instant::now() + HANDSHAKE_TIMEOUT);
        channel.send(&Message::Descriptor(self.versions), Some(fd)).map_err(|_| PeerGone)
    }

    /// The next descriptor from the other side, which sent it before the record that announces it, so that it is there.
    /// `None` if it is not, or something else is.
    pub fn receive_descriptor(&self) -> Option<OwnedFd> {
        if self.stream.is_some() {
            return None;
        }
        let channel = Channel::new(self.socket().ok()?, Instant::now());
        let received = channel.receive().ok()?;
        match Message::decode(&received.preamble, &received.body) {
            Ok(Message::Descriptor(_)) => received.fd,
            _ => None,
        }
    }

    /// The socket, unless the program has closed it under us.
    fn socket(&self) -> Result<BorrowedFd<'_>, PeerGone> {
        self.socket.get().ok_or(PeerGone)
    }

    /// Why the other side left, if it said so. Reads the socket, so it answers once; made for the moment after
    /// [`crate::PeerGone`].
    pub fn last_words(&self) -> Option<String> {
        if let Some(link) = self.link() {
            return link.last_words();
        }
        let channel = Channel::new(self.socket().ok()?, Instant::now());
        loop {
            let received = channel.receive().ok()?;
            match Message::decode(&received.preamble, &received.body) {
                Ok(Message::Goodbye { reason, .. }) => return Some(reason),
                // Nobody waits for it any more.
                Ok(Message::Descriptor(_)) => {}
                _ => return None,
            }
        }
    }

    /// Looks at the socket.
    fn look(&self) -> bool {
        // IN is not asked for: a goodbye alone does not end it, the shutdown that follows does.
        let mut fds = [PollFd::from_borrowed_fd(self.socket.unchecked(), PollFlags::RDHUP)];
        let over = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR | PollFlags::NVAL;
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) if fds[0].revents().intersects(over) => false,
            Ok(_) => self.socket.get().is_some(),
            // No memory, or interrupted: nothing was learned.
            Err(Errno::INTR | Errno::NOMEM) => true,
            Err(_) => false,
        }
    }
}

/// The stream of a peer.
#[derive(Debug)]
struct Stream {
    link: Arc<Link>,
    reader: Option<Thread>,
    /// The process that has the thread.
    process: u32,
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A forked child has neither the connection nor the thread.
        if self.process != std::process::id() {
            return;
        }
        self.link.hang_up();
        if let Some(reader) = self.reader.take() {
            reader.join();
        }
    }
}

impl Liveness for Peer {
    fn alive(&self) -> bool {
        if let Some(link) = self.link() {
            return link.is_up();
        }
        if self.gone.load(Ordering::Acquire) {
            return false;
        }
        let now = self.start.elapsed().as_nanos() as u64;
        if now < self.look_at.load(Ordering::Relaxed) {
            return true;
        }
        self.look_at.store(now + LOOK_EVERY.as_nanos() as u64, Ordering::Relaxed);
        let alive = self.look();
        if !alive {
            self.gone.store(true, Ordering::Release);
        }
        alive
    }
}
