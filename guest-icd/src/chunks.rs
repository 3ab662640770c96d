//! Chunks of the command arena: where command buffers are recorded.
//!
//! A chunk belongs to one command buffer (or, between two recordings, to its pool) until it is handed over to the
//! host with an `ARENA_STREAM` record. It is free again when the ring's head has passed that record. When none is free,
//! a recording goes to memory of the guest's own, of the same size.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;

use vw_wire_protocol::record::abandoned_offset;

/// Size of a chunk in bytes.
pub(crate) const CHUNK_SIZE: usize = 64 << 10;

/// Bytes of an arena, from its start, whose pages stay when they are not used. More is in use where a program records much
/// before the host has seen it.
const KEPT: u64 = 16 << 20;

/// The host is behind when this part of the arena (and half of the ring) waits for it.
const BEHIND: usize = 4;

/// Memory of the guest's own for a recording, [`CHUNK_SIZE`] bytes.
pub(crate) type Words = Vec<u64>;

/// The chunks of one arena.
#[derive(Debug)]
pub(crate) struct Chunks {
    /// Offsets of free chunks in the arena.
    free: Vec<u64>,
    /// Chunks that the host may still read: the ring position that frees them, and the offset.
    busy: VecDeque<(u64, u64)>,
    /// End of the furthest chunk that was taken since the pages behind [`KEPT`] were given back.
    touched: u64,
    /// End of the furthest chunk.
    end: u64,
    /// Memory of the guest's own that recordings have left; kept for others.
    words: Vec<Words>,
}

impl Chunks {
    /// All chunks of an arena of `size` bytes, free.
    pub(crate) fn new(size: usize) -> Self {
        let count = abandoned_offset(size).unwrap_or(size) / CHUNK_SIZE;
        let free = (0..count).rev().map(|i| (i * CHUNK_SIZE) as u64).collect();
        Self { free, busy: VecDeque::new(), touched: 0, end: (count * CHUNK_SIZE) as u64, words: Vec::new() }
    }

    /// A chunk that nobody reads, given how far the host has consumed the ring.
    pub(crate) fn take(&mut self, consumed: u64) -> Option<u64> {
        self.collect(consumed);
        let offset = self.free.pop()?;
        self.touched = self.touched.max(offset + CHUNK_SIZE as u64);
        Some(offset)
    }

    /// Whether so much of the arena waits for the host that it need not have more. `consumed` as in [`Chunks::take`].
    pub(crate) fn are_behind(&mut self, consumed: u64) -> bool {
        self.collect(consumed);
        self.end > 0 && self.busy.len() * CHUNK_SIZE >= self.end as usize / BEHIND
    }

    /// Memory of the guest's own, with anything in it.
    pub(crate) fn take_words(&mut self) -> Words {
        self.words.pop().unwrap_or_else(|| vec![0; CHUNK_SIZE / size_of::<u64>()])
    }

    /// Keeps memory of the guest's own for another recording, up to as much as the arena has; gives it back otherwise.
    pub(crate) fn keep_words(&mut self, words: Words) -> Option<Words> {
        if self.words.len() * CHUNK_SIZE >= self.end as usize {
            return Some(words);
        }
        self.words.push(words);
        None
    }

    /// Takes all memory of the guest's own that was kept.
    pub(crate) fn take_all_words(&mut self) -> Vec<Words> {
        std::mem::take(&mut self.words)
    }

    /// Frees the chunks that the host has read.
    fn collect(&mut self, consumed: u64) {
        while let Some(&(position, offset)) = self.busy.front()
            && position <= consumed
        {
            self.busy.pop_front();
            self.free.push(offset);
        }
    }

    /// The part of the arena whose pages nobody needs now, if there is one; it counts as given back. `consumed` as in
    /// [`Chunks::take`].
    pub(crate) fn trim(&mut self, consumed: u64) -> Option<Range<u64>> {
        if self.touched <= KEPT {
            return None;
        }
        self.collect(consumed);
        let unused = self.free.iter().filter(|offset| **offset >= KEPT).count() as u64;
        if unused * (CHUNK_SIZE as u64) < self.end - KEPT {
            return None;
        }
        // The ones with pages first.
        self.free.sort_unstable_by_key(|offset| Reverse(*offset));
        Some(KEPT..std::mem::replace(&mut self.touched, 0))
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
    fn pages_when_much_was_recorded_are_given_back_once_it_is_read() {
        let mut chunks = Chunks::new(KEPT as usize + 4 * CHUNK_SIZE);
        let few: Vec<u64> = (0..10).filter_map(|_| chunks.take(0)).collect();
        assert_eq!(chunks.trim(0), None);
        let many: Vec<u64> = std::iter::from_fn(|| chunks.take(0)).collect();
        let end = many.iter().max().unwrap() + CHUNK_SIZE as u64;
        assert!(end > KEPT);
        few.into_iter().chain(many).for_each(|offset| chunks.give_back(offset, 100));
        assert_eq!(chunks.trim(99), None);
        assert_eq!(chunks.trim(100), Some(KEPT..end));
        assert_eq!(chunks.trim(100), None);
        assert_eq!(chunks.take(100), Some(0));
    }

    #[test]
    fn chunk_when_never_handed_over_is_free_at_once() {
        let mut chunks = Chunks::new(CHUNK_SIZE);
        let a = chunks.take(0).unwrap();
        chunks.give_back(a, 0);
        assert_eq!(chunks.take(0), Some(a));
    }
}
