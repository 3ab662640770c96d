//! Messages over a socket, each within a deadline, with a descriptor along.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::handshake::{Message, MessageError, PREAMBLE_SIZE, Preamble};

/// A message that could not be sent or received.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ChannelError {
    /// The deadline passed.
    TimedOut,
    /// The other side closed the socket.
    Closed,
    /// The other side sent something else.
    Malformed(MessageError),
    /// The operating system refused.
    Os(Errno),
}

impl From<MessageError> for ChannelError {
    fn from(error: MessageError) -> Self {
        Self::Malformed(error)
    }
}

/// A socket and the moment until which the exchange must be over.
pub(crate) struct Channel<'a> {
    socket: BorrowedFd<'a>,
    deadline: Instant,
}

impl<'a> Channel<'a> {
    pub(crate) fn new(socket: BorrowedFd<'a>, deadline: Instant) -> Self {
        Self { socket, deadline }
    }

    /// Sends a message, with a descriptor if there is one.
    pub(crate) fn send(&self, message: &Message, fd: Option<BorrowedFd<'_>>) -> Result<(), ChannelError> {
        let bytes = message.encode();
        let mut sent = 0;
        // The descriptor travels with the first byte.
        let mut fd = fd;
        while sent < bytes.len() {
            let fds = fd.as_slice();
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(ChannelError::Os(Errno::NOBUFS));
            }
            // Without NOSIGNAL a dead peer would kill programs that do not ignore SIGPIPE.
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(self.socket, &[IoSlice::new(&bytes[sent..])], &mut ancillary, flags) {
                Ok(n) => {
                    sent += n;
                    fd = None;
                }
                Err(Errno::AGAIN) => self.wait_for(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(ChannelError::Closed),
                Err(e) => return Err(ChannelError::Os(e)),
            }
        }
        Ok(())
    }

    /// Receives a preamble and its body, and the descriptor that came along. The body is for the caller to decode,
    /// who may find the versions different.
    pub(crate) fn receive(&self) -> Result<Received, ChannelError> {
        let mut fd = None;
        let mut start = [0; PREAMBLE_SIZE];
        self.receive_exact(&mut start, &mut fd)?;
        let preamble = Preamble::decode(&start)?;
        let mut body = vec![0; preamble.body_length()];
        self.receive_exact(&mut body, &mut fd)?;
        Ok(Received { preamble, body, fd })
    }

    fn receive_exact(&self, buffer: &mut [u8], fd: &mut Option<OwnedFd>) -> Result<(), ChannelError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let received =
                recvmsg(self.socket, &mut [IoSliceMut::new(&mut buffer[filled..])], &mut ancillary, flags);
            // More descriptors than fit are closed by the kernel, and those not kept here by their owner's drop.
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    *fd = fds.last().or(fd.take());
                }
            }
            match received {
                Ok(r) if r.bytes == 0 => return Err(ChannelError::Closed),
                Ok(r) => filled += r.bytes,
                Err(Errno::AGAIN) => self.wait_for(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(ChannelError::Closed),
                Err(e) => return Err(ChannelError::Os(e)),
            }
        }
        Ok(())
    }

    /// Sleeps until the socket is ready or the deadline has passed.
    pub(crate) fn wait_for(&self, events: PollFlags) -> Result<(), ChannelError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ChannelError::TimedOut);
        }
        match poll(&mut [PollFd::from_borrowed_fd(self.socket.as_fd(), events)], Some(&timespec(left))) {
            Ok(0) => Err(ChannelError::TimedOut),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(ChannelError::Os(e)),
        }
    }
}

/// What [`Channel::receive`] gives.
pub(crate) struct Received {
    pub(crate) preamble: Preamble,
    pub(crate) body: Vec<u8>,
    pub(crate) fd: Option<OwnedFd>,
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: i64::from(i32::MAX), tv_nsec: 0 })
}
