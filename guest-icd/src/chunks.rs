//! Chunks of the command arena: where command buffers are recorded.
//!
//! A chunk belongs to one command buffer (or, between two recordings, to its pool) until it is handed over to the
//! host with an `ARENA_STREAM` record. It is free again when the ring's head has passed that record.

use std::collections::VecDeque;

/// Size of a chunk in bytes.
pub(crate) const CHUNK_SIZE: usize = 64 << 10;

/// The chunks of one arena.
#[derive(Debug)]
pub(crate) struct Chunks {
    /// Offsets of free chunks in the arena.
    free: Vec<u64>,
    /// Chunks that the host may still read: the ring position that frees them, and the offset.
    busy: VecDeque<(u64, u64)>,
}

impl Chunks {
    /// All chunks of an arena of `size` bytes, free.
    pub(crate) fn new(size: usize) -> Self {
        let count = size / CHUNK_SIZE;
        Self { free: (0..count).rev().map(|i| (i * CHUNK_SIZE) as u64).collect(), busy: VecDeque::new() }
    }

    /// A chunk that nobody reads, given how far the host has consumed the ring.
    pub(crate) fn take(&mut self, consumed: u64) -> Option<u64> {
        while let Some(&(position, offset)) = self.busy.front()
            && position <= consumed
        {
            self.busy.pop_front();
            self.free.push(offset);
        }
        self.free.pop()
    }

    /// Gives a chunk back. `position` is the ring position behind the last record that points into it; 0 when none
    /// does.
    pub(crate) fn give_back(&mut self, offset: u64, position: u64) {
        if position == 0 {
            self.free.push(offset);
            return;
        }
        // Nearly always the newest; the order keeps `take` cheap.
        let at = self.busy.partition_point(|&(p, _)| p <= position);
        self.busy.insert(at, (position, offset));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn chunk_when_handed_over_is_free_only_after_the_host_has_passed_it() {
        let mut chunks = Chunks::new(2 * CHUNK_SIZE + 5);
        let (a, b) = (chunks.take(0).unwrap(), chunks.take(0).unwrap());
        assert_eq!((a, b), (0, CHUNK_SIZE as u64));
        assert_eq!(chunks.take(0), None);
        chunks.give_back(b, 300);
        chunks.give_back(a, 200);
        assert_eq!(chunks.take(199), None);
        assert_eq!(chunks.take(200), Some(a));
        assert_eq!(chunks.take(299), None);
        assert_eq!(chunks.take(300), Some(b));
    }

    #[test]
    fn chunk_when_never_handed_over_is_free_at_once() {
        let mut chunks = Chunks::new(CHUNK_SIZE);
        let a = chunks.take(0).unwrap();
        chunks.give_back(a, 0);
        assert_eq!(chunks.take(0), Some(a));
    }
}
