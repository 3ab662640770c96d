//! Memory for decoded structures.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use super::error::DecodeError;

/// A bump allocator: blocks are freed together, by [`reset`](Arena::reset) or with the arena.
///
/// A limit on the bytes handed out since the last reset bounds what a hostile record can make its decoder
/// allocate. Blocks are aligned to [`Arena::ALIGN`] bytes.
#[derive(Debug)]
pub struct Arena {
    next: Cell<*mut u8>,
    /// Bytes left in the newest chunk.
    left: Cell<usize>,
    used: Cell<usize>,
    limit: usize,
    chunks: RefCell<Vec<Chunk>>,
}

#[derive(Debug)]
struct Chunk {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the arena owns its chunks; nothing in it is tied to a thread.
unsafe impl Send for Arena {}

impl Arena {
    /// Alignment of every block in bytes, which is that of the widest type in the tables or more.
    pub const ALIGN: usize = 16;
    /// Limit of [`Arena::default`]: 256 MiB.
    pub const DEFAULT_LIMIT: usize = 256 << 20;
    /// Least size of a chunk.
    const CHUNK: usize = 64 << 10;
    /// Largest chunk that [`reset`](Arena::reset) keeps.
    const KEEP: usize = 4 << 20;

    /// An arena that hands out at most `limit` bytes between two resets.
    pub fn new(limit: usize) -> Self {
        Self {
            next: Cell::new(std::ptr::null_mut()),
            left: Cell::new(0),
            used: Cell::new(0),
            limit,
            chunks: RefCell::new(Vec::new()),
        }
    }

    /// Frees every block. One chunk is kept for what follows.
    pub fn reset(&mut self) {
        if self.used.get() == 0 {
            return;
        }
        let chunks = self.chunks.get_mut();
        // The newest is the largest of the ordinary ones; an outsized one goes back to the system.
        let keep = chunks.iter().rposition(|c| c.layout.size() <= Self::KEEP).map(|i| chunks.swap_remove(i));
        chunks.drain(..).for_each(Chunk::free);
        self.used.set(0);
        match keep {
            Some(c) => {
                self.next.set(c.start.as_ptr());
                self.left.set(c.layout.size());
                chunks.push(c);
            }
            None => {
                self.next.set(std::ptr::null_mut());
                self.left.set(0);
            }
        }
    }

    /// Bytes handed out since the last reset.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    /// A block of `size` bytes with arbitrary contents. A block of 0 bytes has an address of its own, too.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] when the limit would be exceeded or the system has no memory.
    #[inline]
    pub fn alloc(&self, size: usize) -> Result<NonNull<u8>, DecodeError> {
        match self.bump(size) {
            Some(p) => Ok(p),
            None => self.alloc_slow(size, false),
        }
    }

    /// A block of `size` zero bytes.
    ///
    /// # Errors
    /// As [`alloc`](Arena::alloc).
    #[inline]
    pub fn alloc_zeroed(&self, size: usize) -> Result<NonNull<u8>, DecodeError> {
        match self.bump(size) {
            Some(p) => {
                // SAFETY: the block is `size` bytes long.
                unsafe { p.write_bytes(0, size) };
                Ok(p)
            }
            None => self.alloc_slow(size, true),
        }
    }

    /// Takes a block from the newest chunk.
    #[inline(always)]
    fn bump(&self, size: usize) -> Option<NonNull<u8>> {
        let rounded = Self::round(size)?;
        let used = self.used.get().checked_add(rounded)?;
        if rounded > self.left.get() || used > self.limit {
            return None;
        }
        let p = self.next.get();
        // SAFETY: `rounded` bytes are left in the chunk.
        self.next.set(unsafe { p.add(rounded) });
        self.left.set(self.left.get() - rounded);
        self.used.set(used);
        NonNull::new(p)
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, size: usize, zeroed: bool) -> Result<NonNull<u8>, DecodeError> {
        let too_large = DecodeError::TooLarge { requested: size as u64, limit: self.limit as u64 };
        let rounded = Self::round(size).ok_or(too_large)?;
        let used = self.used.get().checked_add(rounded).filter(|u| *u <= self.limit).ok_or(too_large)?;
        // Doubling keeps the number of chunks small; a big block gets one of its own, which the system zeroes
        // without touching its pages.
        let own = rounded > Self::CHUNK / 2;
        let size = if own { rounded } else { self.used.get().clamp(Self::CHUNK, Self::KEEP) };
        let chunk = Chunk::new(size, zeroed && own).ok_or(too_large)?;
        let p = chunk.start;
        self.used.set(used);
        let mut chunks = self.chunks.borrow_mut();
        if own {
            // What is left of the chunk in use stays in use.
            let below = chunks.len().saturating_sub(1);
            chunks.insert(below, chunk);
        } else {
            chunks.push(chunk);
            // SAFETY: the chunk is larger than the block.
            self.next.set(unsafe { p.as_ptr().add(rounded) });
            self.left.set(size - rounded);
            if zeroed {
                // SAFETY: the block is `rounded` bytes long.
                unsafe { p.write_bytes(0, rounded) };
            }
        }
        Ok(p)
    }

    /// Size that a block takes.
    #[inline(always)]
    fn round(size: usize) -> Option<usize> {
        size.max(1).checked_next_multiple_of(Self::ALIGN)
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new(Self::DEFAULT_LIMIT)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.chunks.get_mut().drain(..).for_each(Chunk::free);
    }
}

impl Chunk {
    fn new(size: usize, zeroed: bool) -> Option<Self> {
        let layout = Layout::from_size_align(size, Arena::ALIGN).ok()?;
        // SAFETY: the size is not zero: it is at least one rounded block.
        let start = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
        Some(Self { start: NonNull::new(start)?, layout })
    }

    fn free(self) {
        // SAFETY: allocated by `new` with this layout, and consumed here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_when_handed_out_are_aligned_and_apart() {
        let mut arena = Arena::new(1 << 20);
        // Miri takes its time over each byte.
        let step = if cfg!(miri) { 501 } else { 1 };
        for round in 0..3 {
            let mut last = 0;
            for size in [0, 1, 15, 16, 17, 1000, 40_000, 100_000, 3, 64 << 10, 5] {
                let p = arena.alloc_zeroed(size).expect("within the limit");
                assert_eq!(p.addr().get() % Arena::ALIGN, 0);
                assert_ne!(p.addr().get(), last);
                last = p.addr().get();
                // SAFETY: the block is `size` bytes long.
                unsafe {
                    assert!((0..size).step_by(step).all(|i| p.add(i).read() == 0), "round {round}");
                    p.write_bytes(0xAA, size);
                }
            }
            arena.reset();
            assert_eq!(arena.used(), 0);
            assert!(arena.chunks.borrow().len() <= 1);
        }
    }

    #[test]
    fn block_when_it_exceeds_the_limit_is_refused() {
        let arena = Arena::new(100);
        arena.alloc(64).expect("within the limit");
        assert_eq!(arena.alloc(64), Err(DecodeError::TooLarge { requested: 64, limit: 100 }));
        assert!(arena.alloc(usize::MAX).is_err());
        assert!(arena.alloc_zeroed(usize::MAX - 20).is_err());
        arena.alloc(32).expect("within the limit");
        assert!(arena.alloc(1).is_err());
    }
}
