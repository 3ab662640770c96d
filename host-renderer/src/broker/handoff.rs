//! How connections get from the broker to a session process: messages of a few numbers, most with a descriptor along. The first
//! is the session's number and its guest; later ones are what somebody [wants](crate::frames::watch::Wish) of the session, and
//! the answer to what it [asks](crate::session::slice) for.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// What one message carries.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// What it is about, and what that says.
    pub(crate) words: Words,
    /// A descriptor.
    pub(crate) fd: Option<OwnedFd>,
}

/// The numbers of a message.
pub(crate) type Words = [u64; 5];

/// Sends a message.
///
/// # Errors
/// What the system says; the process at the other end may be gone.
pub(crate) fn send(to: BorrowedFd<'_>, words: Words, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = fd.as_slice();
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::NOBUFS.into());
    }
    // A few bytes: a process that takes them finds them soon, so that the socket is never full.
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let bytes = bytemuck::bytes_of(&words);
    let sent = retry_on_intr(|| sendmsg(to, &[IoSlice::new(bytes)], &mut ancillary, flags))?;
    if sent == bytes.len() { Ok(()) } else { Err(Errno::NOBUFS.into()) }
}

/// Waits for a message; none when the other side has closed its end.
///
/// # Errors
/// What the system says, or that it is no message.
pub(crate) fn receive(from: BorrowedFd<'_>) -> io::Result<Option<Parcel>> {
    receive_with(from, RecvFlags::empty())
}

/// As [`receive`]; `WouldBlock` when there is none.
///
/// # Errors
/// As there.
pub(crate) fn try_receive(from: BorrowedFd<'_>) -> io::Result<Option<Parcel>> {
    receive_with(from, RecvFlags::DONTWAIT)
}

fn receive_with(from: BorrowedFd<'_>, flags: RecvFlags) -> io::Result<Option<Parcel>> {
    let mut words = Words::default();
    let bytes = bytemuck::bytes_of_mut(&mut words);
    let whole = bytes.len();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = retry_on_intr(|| recvmsg(from, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags))?;
    let fd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match received.bytes {
        0 if fd.is_none() => Ok(None),
        count if count == whole => Ok(Some(Parcel { words, fd })),
        _ => Err(Errno::BADMSG.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn guest_when_handed_over_can_be_talked_to() {
        let (broker, process) = UnixStream::pair().unwrap();
        let (guest, mut program) = UnixStream::pair().unwrap();
        let words = [7, 0, 0, 0, u64::MAX];
        send(broker.as_fd(), words, Some(guest.as_fd())).unwrap();
        drop(guest);
        let parcel = receive(process.as_fd()).unwrap().unwrap();
        assert_eq!(parcel.words, words);
        UnixStream::from(parcel.fd.unwrap()).write_all(b"hello").unwrap();
        send(process.as_fd(), words, None).unwrap();
        assert!(try_receive(broker.as_fd()).unwrap().unwrap().fd.is_none());
        assert_eq!(try_receive(broker.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut text = String::new();
        program.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn wait_for_a_guest_when_the_broker_is_gone_is_over() {
        let (broker, process) = UnixStream::pair().unwrap();
        drop(broker);
        assert!(receive(process.as_fd()).unwrap().is_none());
        let (broker, process) = UnixStream::pair().unwrap();
        (&broker).write_all(&[1; 8]).unwrap();
        assert!(receive(process.as_fd()).is_err(), "a part of a message");
        drop(process);
        assert!(send(broker.as_fd(), [1; 5], Some(broker.as_fd())).is_err());
    }
}
