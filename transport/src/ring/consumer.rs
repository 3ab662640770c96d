//! The host's end of the ring. Everything that it reads was written by somebody it does not trust.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::ALIGNMENT;
use crate::liveness::{Liveness, PeerGone};
use crate::region::Region;
use crate::rhythm::Rhythm;
use crate::spin::Spin;
use crate::wait::Woken;

/// A sleeping producer is looked for with a fence each time this part of the ring was released, and before the
/// consumer sleeps; in between without one.
const FENCE_PART: u64 = 8;

/// A record in the ring whose length was checked and whose content was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord {
    /// The first word, read once: whole length in the upper 32 bits, the rest is the reader's.
    pub word: u64,
    /// What follows the word. Shared memory that may change at any time: to be copied by raw reads, each byte once.
    /// Valid until [`Consumer::release`].
    pub payload: NonNull<u8>,
    /// Bytes at `payload`; a multiple of 8, maybe 0.
    pub len: usize,
}

/// What the producer wrote is not a ring. The session cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The tail went back, beyond the ring, or is not aligned.
    #[error(
        "protocol violation: the producer of the command ring says that it has written {tail} bytes where {read} were \
         read (ring of {capacity}, records of whole 8 bytes): the session must end"
    )]
    BadTail {
        /// What the producer says.
        tail: u64,
        /// What was read.
        read: u64,
        /// Bytes in the ring.
        capacity: u64,
    },
    /// A record's length is not one.
    #[error(
        "protocol violation: the record at {position} of the command ring says that it is {length} bytes long; \
         {available} are there, and it must be a multiple of 8 and not 0: the session must end"
    )]
    BadLength {
        /// Where the record starts, in bytes from the start of the session.
        position: u64,
        /// The length that it states.
        length: u32,
        /// Bytes published from there on.
        available: u64,
    },
}

/// The end of the ring that reads. One per region.
#[derive(Debug)]
pub struct Consumer {
    region: Arc<Region>,
    base: NonNull<u8>,
    /// Bytes in the ring; a power of two.
    capacity: u64,
    /// Bytes read: where the next record starts.
    position: u64,
    /// Bytes released; at most `position`.
    released: u64,
    /// `released` when the producer was last looked for with a fence.
    fenced: u64,
    /// The producer's position when last read and checked.
    tail: u64,
    spin: Spin,
    /// Foretells when records come, where that is wanted.
    rhythm: Option<Rhythm>,
}

// SAFETY: `base` points into the mapping that `region` keeps; a consumer is used by one thread at a time
// (`&mut self`), and which one does not matter.
unsafe impl Send for Consumer {}

impl Consumer {
    /// The consumer of a fresh region.
    pub fn new(region: Arc<Region>) -> Self {
        let (base, capacity) = region.ring();
        Self {
            region,
            base,
            capacity: capacity as u64,
            position: 0,
            released: 0,
            fenced: 0,
            tail: 0,
            spin: Spin::adaptive(),
            rhythm: None,
        }
    }

    /// Replaces the spin budget of waits for records.
    pub fn set_spin(&mut self, spin: Spin) {
        self.spin = spin;
    }

    /// Waits for records of a punctual producer awake, from shortly before they are due: a sleeper's core takes long to wake.
    /// Nothing changes where spinning is off.
    pub fn foretell(&mut self) {
        self.rhythm = (!self.spin.is_off()).then(Rhythm::new);
    }

    /// Waits until there is something to read or `stop` is set. Returns false if it was `stop`. Who sets `stop` then
    /// signals the control page's `command` word here; it is noticed at the latest after
    /// [`crate::wait::LIVENESS_PERIOD`].
    ///
    /// # Errors
    /// [`PeerGone`] if the producer is gone and everything that it published was read.
    pub fn wait(&mut self, peer: &dyn Liveness, stop: &AtomicBool) -> Result<bool, PeerGone> {
        self.wake_producer();
        let tail = self.region.control().tail_cursor();
        let (position, known) = (self.position, self.tail);
        let stopped = || stop.load(Ordering::Acquire);
        // Any change counts, also an impossible one: `next` says what is wrong with it.
        let mut ready = || known != position || tail.load() != position || stopped();
        if ready() {
            return Ok(!stopped());
        }
        let started = Instant::now();
        let foretold = self.rhythm.as_ref().and_then(|rhythm| rhythm.next(started));
        let deadline = foretold.map(|window| window.wake);
        let woken = tail.moved.wait_until(&self.spin, deadline, peer, &mut ready)?;
        if let (Some(window), Some(rhythm), Woken::TimedOut) = (foretold, &mut self.rhythm, woken) {
            tail.moved.disarm();
            rhythm.woken(window.wake, Instant::now());
            let come = self.spin.look_until(window.end, &mut ready);
            rhythm.turned_out(come);
            if !come {
                tail.moved.wait_until(&Spin::off(), None, peer, &mut ready)?;
            }
        }
        if let Some(rhythm) = &mut self.rhythm {
            rhythm.came(Instant::now(), started);
        }
        Ok(!stopped())
    }

    /// Looks at the ring and at `done` for as long as `spin` allows. Returns whether there was something to read or
    /// `done` held; false says nothing about the ring.
    pub fn look(&mut self, spin: &Spin, mut done: impl FnMut() -> bool) -> bool {
        self.wake_producer();
        let tail = self.region.control().tail_cursor();
        let (position, known) = (self.position, self.tail);
        let mut ready = || known != position || tail.load() != position || done();
        ready() || spin.until(Instant::now(), None, ready)
    }

    /// The next record, or `None` if all that is published was read. What it points to stays valid until
    /// [`Consumer::release`]; several records may be taken before that.
    ///
    /// # Errors
    /// [`RingError`]: the producer broke the protocol; every later call fails as well or gives nothing useful.
    #[expect(
        clippy::should_implement_trait,
        reason = "not an iterator: fails, and what it gives must be released"
    )]
    pub fn next(&mut self) -> Result<Option<RawRecord>, RingError> {
        if self.position == self.tail && !self.read_tail()? {
            self.wake_producer();
            return Ok(None);
        }
        let available = self.tail - self.position;
        let offset = (self.position & (self.capacity - 1)) as usize;
        // SAFETY: `offset` is below the capacity, and the mapping has twice the capacity from `base` on; `position`
        // is a multiple of 8 (it grows by checked lengths) and the ring is page-aligned, so 8 bytes are there, aligned.
        // An atomic read is sound whatever the other side writes at the same time.
        let (start, word) = unsafe {
            let start = self.base.add(offset);
            (start, AtomicU64::from_ptr(start.cast().as_ptr()).load(Ordering::Relaxed))
        };
        let length = (word >> 32) as u32;
        let aligned = length != 0 && (length as usize).is_multiple_of(ALIGNMENT);
        if !aligned || u64::from(length) > available {
            return Err(RingError::BadLength { position: self.position, length, available });
        }
        self.position += u64::from(length);
        // SAFETY: the length is at least 8, and at most `available`, which is at most the capacity.
        let payload = unsafe { start.add(ALIGNMENT) };
        Ok(Some(RawRecord { word, payload, len: length as usize - ALIGNMENT }))
    }

    /// Gives the room of all records taken so far back to the producer.
    pub fn release(&mut self) {
        if self.released == self.position {
            return;
        }
        self.released = self.position;
        let head = self.region.control().head_cursor();
        if self.released - self.fenced >= self.capacity / FENCE_PART {
            self.fenced = self.released;
            head.advance(self.released);
        } else {
            head.advance_lazily(self.released);
        }
    }

    /// Bytes read so far: where the next record starts.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes published and not yet read, by the tail last seen.
    pub fn backlog(&self) -> u64 {
        self.tail - self.position
    }

    /// The region that the ring is in.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Makes good for the lazy releases since the last fence.
    fn wake_producer(&mut self) {
        if self.fenced != self.released {
            self.fenced = self.released;
            self.region.control().head_cursor().moved.signal();
        }
    }

    /// Reads the producer's position, once; true if there is something new, and it can be.
    fn read_tail(&mut self) -> Result<bool, RingError> {
        let tail = self.region.control().tail_cursor().load();
        // What was read but not released is still taken: the producer may not have written there. A tail that went back
        // wraps around to more than any capacity.
        let published = tail.wrapping_sub(self.released);
        let fresh = tail.wrapping_sub(self.position);
        if published > self.capacity || fresh > self.capacity || !(tail as usize).is_multiple_of(ALIGNMENT) {
            return Err(RingError::BadTail { tail, read: self.position, capacity: self.capacity });
        }
        self.tail = tail;
        Ok(fresh != 0)
    }
}
