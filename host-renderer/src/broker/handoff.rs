//! How connections get from the broker to a session process: messages of a number with a socket along with it. The first is
//! the session's number and its guest; later ones are what somebody [wants](crate::frames::watch::Wish) of the session.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Hands `guest` over with a `number`.
///
/// # Errors
/// What the system says; the process at the other end may be gone.
pub(crate) fn send(process: BorrowedFd<'_>, number: u64, guest: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [guest];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::NOBUFS.into());
    }
    // A few bytes: a process that takes them finds them soon, so that the socket is never full.
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let bytes = number.to_le_bytes();
    let sent = retry_on_intr(|| sendmsg(process, &[IoSlice::new(&bytes)], &mut ancillary, flags))?;
    if sent == bytes.len() { Ok(()) } else { Err(Errno::NOBUFS.into()) }
}

/// Waits for a number and a socket; none when the broker has closed its end.
///
/// # Errors
/// What the system says, or that the message is not the broker's.
pub(crate) fn receive(broker: BorrowedFd<'_>) -> io::Result<Option<(u64, OwnedFd)>> {
    let mut bytes = [0; size_of::<u64>()];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        recvmsg(broker, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let guest = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match (received.bytes, guest) {
        (0, None) => Ok(None),
        (8, Some(guest)) => Ok(Some((u64::from_le_bytes(bytes), guest))),
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
        send(broker.as_fd(), 7, guest.as_fd()).unwrap();
        drop(guest);
        let (number, guest) = receive(process.as_fd()).unwrap().unwrap();
        assert_eq!(number, 7);
        UnixStream::from(guest).write_all(b"hello").unwrap();
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
        assert!(receive(process.as_fd()).is_err(), "a number without a guest");
        drop(process);
        assert!(send(broker.as_fd(), 1, broker.as_fd()).is_err());
    }
}
