//! The guest's end of the ring.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use super::ALIGNMENT;
use crate::liveness::{Liveness, PeerGone};
use crate::region::Region;
use crate::spin::Spin;
use crate::wait::Woken;

/// Room in the ring to write records into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Where to write; aligned to [`ALIGNMENT`].
    pub ptr: NonNull<u8>,
    /// Bytes that may be written: at least what was asked for, a multiple of [`ALIGNMENT`].
    pub len: usize,
}

/// Room in the ring that could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// The consumer is gone.
    #[error(transparent)]
    PeerGone(#[from] PeerGone),
    /// More was asked for than a record may take.
    #[error(
        "asked for {asked} bytes of the command ring, of which one record may take {most}: send it in fragments"
    )]
    TooLarge {
        /// Bytes asked for.
        asked: usize,
        /// Most that can be asked for: half the ring.
        most: usize,
    },
    /// The consumer's position cannot be: the other side is broken.
    #[error(
        "the consumer of the command ring says that it has read {head} bytes of {tail} written (ring of {capacity}): \
         the other side is broken, the connection cannot be used any more"
    )]
    BadHead {
        /// What the consumer says.
        head: u64,
        /// What was published.
        tail: u64,
        /// Bytes in the ring.
        capacity: u64,
    },
}

/// The end of the ring that writes. One per region: a second one would overwrite the first one's records.
pub struct Producer {
    region: Arc<Region>,
    peer: Arc<dyn Liveness>,
    base: NonNull<u8>,
    /// Bytes in the ring; a power of two.
    capacity: u64,
    /// Bytes committed so far.
    position: u64,
    /// Bytes published so far; at most `position`.
    published: u64,
    /// The consumer's position when last read and found sane.
    head: u64,
    /// What the last reserve gave and no commit has taken yet.
    reserved: usize,
    spin: Spin,
}

// SAFETY: `base` points into the mapping that `region` keeps; a producer is used by one thread at a time
// (`&mut self`), and which one does not matter.
unsafe impl Send for Producer {}

impl Producer {
    /// The producer of a fresh region. `peer` is asked while it waits for room.
    pub fn new(region: Arc<Region>, peer: Arc<dyn Liveness>) -> Self {
        let (base, capacity) = region.ring();
        Self {
            region,
            peer,
            base,
            capacity: capacity as u64,
            position: 0,
            published: 0,
            head: 0,
            reserved: 0,
            spin: Spin::adaptive(),
        }
    }

    /// Replaces the spin budget of waits for room.
    pub fn set_spin(&mut self, spin: Spin) {
        self.spin = spin;
    }

    /// Most that [`Producer::reserve`] can be asked for, in bytes: half the ring, so that it need not drain first.
    pub fn max_reserve(&self) -> usize {
        (self.capacity / 2) as usize
    }

    /// Room for at least `min` contiguous bytes, at the position where the next record starts. Usually without a
    /// look at shared memory. If the ring is full, publishes what was committed and waits. What was reserved before
    /// and not committed is given up.
    ///
    /// # Errors
    /// [`ReserveError`]: the consumer is gone or broken, or `min` is more than [`Producer::max_reserve`].
    pub fn reserve(&mut self, min: usize) -> Result<Space, ReserveError> {
        if min > self.max_reserve() {
            return Err(ReserveError::TooLarge { asked: min, most: self.max_reserve() });
        }
        if self.free() < min as u64 {
            self.read_head()?;
            if self.free() < min as u64 {
                // The consumer can only make room by reading what is there.
                self.publish();
                self.wait_for_head(self.position + min as u64 - self.capacity, None)?;
            }
        }
        let len = self.free() as usize / ALIGNMENT * ALIGNMENT;
        self.reserved = len;
        let offset = (self.position & (self.capacity - 1)) as usize;
        // SAFETY: `offset` is below the capacity, and the mapping has twice the capacity from `base` on.
        let ptr = unsafe { self.base.add(offset) };
        Ok(Space { ptr, len })
    }

    /// Takes the first `n` bytes of the last reserved space as records, written and whole. `n` is a multiple of
    /// [`ALIGNMENT`] and at most the space's length. The rest stays reserved. Nothing is visible to the consumer yet.
    pub fn commit(&mut self, n: usize) {
        debug_assert!(n.is_multiple_of(ALIGNMENT) && n <= self.reserved, "commit({n}) of {}", self.reserved);
        // A wrong length must not become a position that lies about what is free.
        let n = n.next_multiple_of(ALIGNMENT).min(self.reserved);
        self.reserved -= n;
        self.position += n as u64;
    }

    /// Makes what was committed visible and rings the doorbell if the consumer sleeps. Returns whether it slept.
    pub fn publish(&mut self) -> bool {
        if self.published == self.position {
            return false;
        }
        self.published = self.position;
        self.region.control().tail_cursor().advance(self.position)
    }

    /// Bytes ever committed: the position at which the next record starts.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that were committed and not yet published.
    pub fn unpublished(&self) -> u64 {
        self.position - self.published
    }

    /// Bytes that the consumer has released, read from shared memory; never more than were published.
    pub fn consumed(&self) -> u64 {
        self.region.control().head_cursor().load().min(self.published)
    }

    /// Publishes, then waits until the consumer has released everything before `position`, or until `deadline`
    /// (`None`: for ever).
    ///
    /// # Errors
    /// [`ReserveError`]: the consumer is gone or broken.
    pub fn wait_consumed(&mut self, position: u64, deadline: Option<Instant>) -> Result<Woken, ReserveError> {
        self.publish();
        self.wait_for_head(position.min(self.published), deadline)
    }

    /// The region that the ring is in.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Bytes free by the head last read.
    fn free(&self) -> u64 {
        self.capacity - (self.position - self.head)
    }

    /// Reads the consumer's position, once, and takes it if it can be.
    fn read_head(&mut self) -> Result<(), ReserveError> {
        let head = self.region.control().head_cursor().load();
        if head < self.head || head > self.published {
            return Err(ReserveError::BadHead { head, tail: self.published, capacity: self.capacity });
        }
        self.head = head;
        Ok(())
    }

    /// Waits until the consumer's position is at least `needed`, which must be published.
    fn wait_for_head(&mut self, needed: u64, deadline: Option<Instant>) -> Result<Woken, ReserveError> {
        let head = self.region.control().head_cursor();
        let woken = head.moved.wait_until(&self.spin, deadline, &*self.peer, || head.load() >= needed)?;
        self.read_head()?;
        // The head may have been made to go back after the wait saw it: then it says nothing any more.
        if woken == Woken::Ready && self.head < needed {
            return Err(ReserveError::BadHead {
                head: self.head,
                tail: self.published,
                capacity: self.capacity,
            });
        }
        Ok(woken)
    }
}
