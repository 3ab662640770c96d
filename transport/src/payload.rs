//! The state of a semaphore or fence that several processes share: a page of its own, in a sealed memfd.
//!
//! Guests and their sessions map the page. Whoever has the descriptor may write anything into it at any time: a value read
//! here decides whether to go on waiting, and nothing else.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::pages::{Mapping, SharedFile};
use crate::wait::{Signal, WaitWord};

/// What a payload is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// A binary semaphore: 1 when signalled.
    BinarySemaphore = u64::from_le_bytes(*b"vwbinary"),
    /// A timeline semaphore: its counter value.
    TimelineSemaphore = u64::from_le_bytes(*b"vwtimeln"),
    /// A fence: 1 when signalled.
    Fence = u64::from_le_bytes(*b"vwfence\0"),
}

/// What stands in the page.
#[repr(C)]
struct State {
    /// A [`Kind`].
    kind: AtomicU64,
    value: AtomicU64,
    /// Signalled when the value has changed.
    moved: WaitWord,
}

/// A payload, mapped.
#[derive(Debug)]
pub struct Payload(Mapping);

impl Payload {
    /// Makes a payload, and the descriptor that stands for it.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(kind: Kind, value: u64) -> io::Result<(Self, OwnedFd)> {
        let (fd, mapping) = SharedFile::create(rustix::param::page_size())?.into_parts();
        let payload = Self(mapping);
        payload.state().kind.store(kind as u64, Ordering::Relaxed);
        payload.state().value.store(value, Ordering::Release);
        Ok((payload, fd))
    }

    /// Maps the payload that a descriptor stands for, and gives the descriptor back.
    ///
    /// # Errors
    /// `InvalidData` for a descriptor that is of no shared pages, or what the system says.
    pub fn attach(fd: OwnedFd) -> io::Result<(Self, OwnedFd)> {
        let (fd, mapping) = SharedFile::attach(fd)?.into_parts();
        Ok((Self(mapping), fd))
    }

    fn state(&self) -> &State {
        // SAFETY: the mapping is at least a page long, aligned to one, and stays as long as `self`; all of `State` is
        // atomics, for which any bits will do and which others may change.
        unsafe { self.0.base().cast::<State>().as_ref() }
    }

    /// Whether it says that it is of this kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.state().kind.load(Ordering::Relaxed) == kind as u64
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.state().value.load(Ordering::Acquire)
    }

    /// Raises the value of a timeline semaphore, and wakes who waits for it.
    pub fn raise(&self, value: u64) {
        self.state().value.fetch_max(value, Ordering::AcqRel);
        self.moved().signal();
    }

    /// Signals a binary semaphore or a fence, and wakes who waits for it.
    pub fn set(&self) {
        self.raise(1);
    }

    /// Makes a fence unsignalled.
    pub fn reset(&self) {
        self.state().value.store(0, Ordering::Release);
    }

    /// Makes a signalled binary semaphore unsignalled. Returns whether it was signalled, and nobody else has done so.
    pub fn take(&self) -> bool {
        self.state().value.swap(0, Ordering::AcqRel) != 0
    }

    /// Signalled when the value has changed.
    pub fn moved(&self) -> Signal<'_> {
        self.state().moved.shared()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::thread;

    use super::*;
    use crate::{AlwaysAlive, Spin, Woken};

    #[test]
    fn payload_when_attached_is_the_same_state() {
        let (made, fd) = Payload::create(Kind::BinarySemaphore, 0).unwrap();
        let (attached, _fd) = Payload::attach(fd.try_clone().unwrap()).unwrap();
        assert!(attached.is(Kind::BinarySemaphore) && !attached.is(Kind::Fence));
        assert!(!attached.take());
        made.set();
        assert!(attached.take() && !made.take());
        let (timeline, _fd) = Payload::create(Kind::TimelineSemaphore, 7).unwrap();
        timeline.raise(5);
        assert_eq!(timeline.value(), 7);
    }

    #[test]
    fn payload_when_waited_for_by_several_wakes_all() {
        let (made, fd) = Payload::create(Kind::TimelineSemaphore, 0).unwrap();
        let wait = |value| {
            let (payload, _) = Payload::attach(fd.try_clone().unwrap()).unwrap();
            thread::spawn(move || {
                payload.moved().wait_until(&Spin::off(), None, &AlwaysAlive, || payload.value() >= value)
            })
        };
        let waiters = [wait(1), wait(2), wait(2)];
        made.raise(1);
        made.raise(2);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Ok(Woken::Ready));
        }
    }
}
