//! Where encoded bytes go.

use std::marker::PhantomData;

use super::error::EncodeError;

/// Writes into space whose size is known beforehand, or into a vector that grows up to a limit.
///
/// Overflow is latched and not reported by the single steps: the encoder runs to its end, writes nothing more
/// but goes on counting, and [`finish`](Writer::finish) tells how much space the same calls need.
#[derive(Debug)]
pub struct Writer<'a> {
    start: *mut u8,
    /// Bytes written.
    pos: usize,
    /// Bytes that may be written before [`Writer::refill`] has to be asked.
    cap: usize,
    /// Bytes that found no room.
    missed: usize,
    too_deep: Option<u8>,
    grow: Option<Growth<'a>>,
    space: PhantomData<&'a mut [u8]>,
}

#[derive(Debug)]
struct Growth<'a> {
    vec: &'a mut Vec<u8>,
    /// Most bytes that may be written.
    limit: usize,
}

impl<'a> Writer<'a> {
    /// Writes into `space`.
    pub fn new(space: &'a mut [u8]) -> Self {
        // SAFETY: a unique slice is writable for its whole length and lifetime.
        unsafe { Self::from_raw(space.as_mut_ptr(), space.len()) }
    }

    /// Writes into `len` bytes at `start`, which may be memory that another process reads.
    ///
    /// # Safety
    /// The bytes are writable and nothing else in this process touches them while the writer lives.
    pub unsafe fn from_raw(start: *mut u8, len: usize) -> Self {
        Self { start, pos: 0, cap: len, missed: 0, too_deep: None, grow: None, space: PhantomData }
    }

    /// Appends to `vec`, and overflows after `limit` bytes.
    pub fn growing(vec: &'a mut Vec<u8>, limit: usize) -> Self {
        let base = vec.len();
        let cap = (vec.capacity() - base).min(limit);
        // The vector's spare capacity is written first, so that a reused vector does not allocate.
        let start = vec.spare_capacity_mut().as_mut_ptr().cast();
        Self {
            start,
            pos: 0,
            cap,
            missed: 0,
            too_deep: None,
            grow: Some(Growth { vec, limit }),
            space: PhantomData,
        }
    }

    /// Bytes written so far.
    pub fn position(&self) -> usize {
        self.pos
    }

    /// Ends the writing: bytes written, or why the bytes are no use. A grown vector is then as long as what was
    /// written; after an error it is as it was.
    pub fn finish(self) -> Result<usize, EncodeError> {
        if let Some(depth) = self.too_deep {
            return Err(EncodeError::TooDeep(depth));
        }
        if self.missed > 0 {
            return Err(EncodeError::Overflow { needed: self.pos.saturating_add(self.missed) });
        }
        if let Some(g) = self.grow {
            let len = g.vec.len() + self.pos;
            // SAFETY: `pos` bytes were written behind the old length, within the capacity.
            unsafe { g.vec.set_len(len) };
        }
        Ok(self.pos)
    }

    /// Whether something has gone wrong that [`finish`](Writer::finish) will report.
    pub fn failed(&self) -> bool {
        self.missed > 0 || self.too_deep.is_some()
    }

    /// Writes one byte.
    #[inline(always)]
    pub fn put_u8(&mut self, v: u8) {
        self.put(&[v]);
    }

    /// Writes a `u32`, little endian.
    #[inline(always)]
    pub fn put_u32(&mut self, v: u32) {
        self.put(&v.to_le_bytes());
    }

    /// Writes a `u64`, little endian.
    #[inline(always)]
    pub fn put_u64(&mut self, v: u64) {
        self.put(&v.to_le_bytes());
    }

    /// Writes bytes.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        // SAFETY: a slice is readable.
        unsafe { self.put_raw(bytes.as_ptr(), bytes.len()) }
    }

    /// Writes zeros up to the next multiple of `align` bytes from the writer's start.
    pub fn pad_to(&mut self, align: usize) {
        let total = self.pos.saturating_add(self.missed);
        for _ in total..total.next_multiple_of(align.max(1)) {
            self.put_u8(0);
        }
    }

    /// Writes `len` bytes from `src`.
    ///
    /// # Safety
    /// They are readable and not in the writer's space.
    #[inline(always)]
    pub(crate) unsafe fn put_raw(&mut self, src: *const u8, len: usize) {
        if len > self.cap - self.pos && !self.refill(len) {
            return;
        }
        // SAFETY: `len` bytes from `pos` on are within the space; the caller vouches for the source. The short
        // lengths that most fields have need no call.
        unsafe {
            let dst = self.start.add(self.pos);
            match len {
                4 => dst.cast::<[u8; 4]>().write(src.cast::<[u8; 4]>().read()),
                8 => dst.cast::<[u8; 8]>().write(src.cast::<[u8; 8]>().read()),
                12 => dst.cast::<[u8; 12]>().write(src.cast::<[u8; 12]>().read()),
                16 => dst.cast::<[u8; 16]>().write(src.cast::<[u8; 16]>().read()),
                _ => std::ptr::copy_nonoverlapping(src, dst, len),
            }
        }
        self.pos += len;
    }

    /// Notes that the structure nests too deep to be carried.
    #[cold]
    pub(crate) fn note_too_deep(&mut self, limit: u8) {
        self.too_deep = Some(limit);
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: &[u8; N]) {
        if N > self.cap - self.pos && !self.refill(N) {
            return;
        }
        // SAFETY: `N` bytes from `pos` on are within the space.
        unsafe { self.start.add(self.pos).cast::<[u8; N]>().write(*bytes) };
        self.pos += N;
    }

    /// Makes room for `len` more bytes, or latches the overflow.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, len: usize) -> bool {
        if self.missed == 0
            && let Some(g) = &mut self.grow
            && let Some(total) = self.pos.checked_add(len)
            && total <= g.limit
        {
            let base = g.vec.len();
            // SAFETY: `pos` bytes were written behind the length, which is restored below. With it, the
            // vector keeps them when it moves.
            unsafe { g.vec.set_len(base + self.pos) };
            g.vec.reserve(len);
            g.vec.truncate(base);
            self.start = g.vec.spare_capacity_mut().as_mut_ptr().cast();
            self.cap = (g.vec.capacity() - base).min(g.limit);
            return true;
        }
        self.missed = self.missed.saturating_add(len);
        // Everything that follows comes here, so that the count is exact.
        self.cap = self.pos;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writer_when_space_is_short_tells_what_is_needed() {
        let mut space = [0u8; 10];
        let mut w = Writer::new(&mut space);
        w.put_u64(1);
        w.put_u32(2);
        w.put_u8(3);
        w.put_bytes(&[0; 100]);
        assert!(w.failed());
        assert_eq!(w.finish(), Err(EncodeError::Overflow { needed: 113 }));
        assert_eq!(&space[8..], [0, 0], "nothing is written after the overflow");
    }

    #[test]
    fn writer_when_growing_keeps_what_the_vector_held() {
        let mut v = vec![9u8, 9];
        let mut w = Writer::growing(&mut v, 1 << 20);
        for i in 0..1000u32 {
            w.put_u32(i);
        }
        w.put_u8(7);
        w.pad_to(8);
        assert_eq!(w.finish(), Ok(4008));
        assert_eq!(v.len(), 4010);
        assert_eq!(v[..2], [9, 9]);
        assert_eq!(v[2 + 4 * 999..2 + 4 * 1000], 999u32.to_le_bytes());
        assert_eq!(v[4002..], [7, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn writer_when_growing_past_its_limit_overflows_and_leaves_the_vector() {
        let mut v = vec![1u8; 3];
        v.reserve(1000);
        let mut w = Writer::growing(&mut v, 16);
        w.put_u64(0);
        w.put_u64(0);
        w.put_u8(0);
        assert_eq!(w.finish(), Err(EncodeError::Overflow { needed: 17 }));
        assert_eq!(v, [1; 3]);
    }
}
