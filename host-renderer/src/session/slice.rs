//! How a session process asks the broker for a part of a region, and what it hears.

use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vw_transport::attached::{RegionId, Slice};

use crate::broker::handoff::{self, Parcel};

/// How long the broker may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A part of a region that a session would like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Of which region.
    pub(crate) id: RegionId,
    /// Bytes that are of use at least.
    pub(crate) least: u64,
    /// Bytes that are of use at most; 0 leaves it to the broker.
    pub(crate) most: u64,
}

/// Why there is no slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u64)]
pub(crate) enum Denied {
    /// No such region.
    #[error(
        "is none of this renderer's: it was made by another one, or by this one before it was started anew"
    )]
    Unknown = 1,
    /// It is not this guest's.
    #[error("belongs to another guest: the two were swapped")]
    Another = 2,
    /// No room.
    #[error("has no room left: its other sessions use it up, or it is too small")]
    Full = 3,
}

/// What the parcels are about that are no [`Wish`](crate::frames::watch::Wish).
mod about {
    /// A slice: offset, length and the region's file.
    pub(super) const SLICE: u64 = 3;
    /// None: why.
    pub(super) const DENIED: u64 = 4;
    /// To the broker: the wish and the guest's socket.
    pub(super) const REQUEST: u64 = 5;
}

impl Request {
    /// Reads what a session process has sent; it may have been taken over by its guest.
    pub(crate) fn parse(parcel: Parcel) -> Option<(Self, OwnedFd)> {
        let [about::REQUEST, a, b, least, most] = parcel.words else { return None };
        Some((Self { id: bytemuck::cast([a, b]), least, most }, parcel.fd?))
    }

    /// Asks the broker. `guest` is the guest's socket.
    ///
    /// # Errors
    /// Why there is no slice.
    pub(crate) fn send(self, broker: BorrowedFd<'_>, guest: BorrowedFd<'_>) -> Result<Slice, String> {
        let failed = |error: std::io::Error| format!("the broker does not answer: {error}");
        let [a, b] = bytemuck::cast::<_, [u64; 2]>(self.id);
        let words = [about::REQUEST, a, b, self.least, self.most];
        handoff::send(broker, words, Some(guest)).map_err(failed)?;
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            if poll(&mut [PollFd::from_borrowed_fd(broker, PollFlags::IN)], Some(&left)) == Ok(0) {
                return Err(format!("the broker has not answered for {PATIENCE:?}"));
            }
            let Some(parcel) = handoff::receive(broker).map_err(failed)? else {
                return Err("the broker is gone".to_owned());
            };
            match (parcel.words, parcel.fd) {
                ([about::SLICE, offset, length, ..], Some(file)) => {
                    return Ok(Slice { file, id: self.id, offset, length });
                }
                ([about::DENIED, why, ..], _) => {
                    let denied = [Denied::Unknown, Denied::Another, Denied::Full];
                    let why = denied.into_iter().find(|denied| *denied as u64 == why);
                    let why = why.map_or("is not to be had".to_owned(), |why| why.to_string());
                    return Err(format!("region {} {why}", self.id));
                }
                // Somebody wants to look at frames that there are not yet.
                (_, Some(who)) => {
                    let _ = UnixStream::from(who).write_all(b"error: the session has not begun yet\n");
                }
                (_, None) => {}
            }
        }
    }
}

/// Tells a session process what it gets.
///
/// # Errors
/// What the system says; it may be gone.
pub(crate) fn answer(process: BorrowedFd<'_>, slice: Result<&Slice, Denied>) -> std::io::Result<()> {
    match slice {
        Ok(slice) => {
            let words = [about::SLICE, slice.offset, slice.length, 0, 0];
            handoff::send(process, words, Some(slice.file.as_fd()))
        }
        Err(denied) => handoff::send(process, [about::DENIED, denied as u64, 0, 0, 0], None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Read as _;

    use vw_transport::attached::{FIRST_SLICE, Memory};

    use super::*;
    use crate::frames::watch::Wish;

    #[test]
    fn slice_when_asked_for_comes_and_who_looks_meanwhile_is_told() {
        let memory = Memory::create(16 << 20).unwrap();
        let request = Request { id: memory.id(), least: 5, most: 6 };
        let (broker, process) = UnixStream::pair().unwrap();
        let (guest, mut looks) = UnixStream::pair().unwrap();
        let asks = std::thread::spawn(move || {
            let first = request.send(process.as_fd(), guest.as_fd()).unwrap();
            (first, request.send(process.as_fd(), guest.as_fd()).unwrap_err())
        });
        let (asked, who) = Request::parse(handoff::receive(broker.as_fd()).unwrap().unwrap()).unwrap();
        assert_eq!(asked, request);
        handoff::send(broker.as_fd(), [Wish::Pictures(None).to_u64(), 0, 0, 0, 0], Some(who.as_fd()))
            .unwrap();
        let slice = memory.slice(FIRST_SLICE, 2 << 20).unwrap();
        answer(broker.as_fd(), Ok(&slice)).unwrap();
        handoff::receive(broker.as_fd()).unwrap().unwrap();
        answer(broker.as_fd(), Err(Denied::Another)).unwrap();
        let (got, refused) = asks.join().unwrap();
        assert_eq!((got.offset, got.length, got.id), (FIRST_SLICE, 2 << 20, memory.id()));
        assert!(refused.contains("another guest") && refused.contains(&memory.id().to_string()), "{refused}");
        drop((who, slice));
        let mut text = String::new();
        looks.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("error: "), "{text}");
    }

    #[test]
    fn request_when_it_is_none_is_not_read() {
        let parcel = |words, fd| Parcel { words, fd };
        let fd = || Some(UnixStream::pair().unwrap().0.into());
        assert!(Request::parse(parcel([1, 0, 0, 0, 0], fd())).is_none());
        assert!(Request::parse(parcel([about::REQUEST, 0, 0, 0, 0], None)).is_none());
    }
}
