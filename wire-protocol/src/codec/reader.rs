//! Where bytes to decode come from.

use std::marker::PhantomData;

use super::error::DecodeError;

/// Reads bytes that another process may be changing.
///
/// Each byte is read once, by a volatile load or a raw copy, and never through a reference: what was checked is
/// what is used, whatever the peer writes meanwhile.
#[derive(Debug)]
pub struct Reader<'a> {
    at: *const u8,
    left: usize,
    space: PhantomData<&'a [u8]>,
}

/// A scalar at any address. The wrapper makes the volatile load of it a single unaligned one.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Unaligned<T: Copy>(T);

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        // SAFETY: a slice is readable for its whole length and lifetime.
        unsafe { Self::from_raw(bytes.as_ptr(), bytes.len()) }
    }

    /// Reads `len` bytes at `start`.
    ///
    /// # Safety
    /// They stay mapped and readable for `'a`. Their contents may change at any time.
    pub unsafe fn from_raw(start: *const u8, len: usize) -> Self {
        Self { at: start, left: len, space: PhantomData }
    }

    /// Bytes left.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Ends a record: nothing but its padding (fewer than 8 zero bytes) may be left.
    pub fn finish(mut self) -> Result<(), DecodeError> {
        if self.left >= crate::record::ALIGNMENT {
            return Err(DecodeError::Trailing(self.left as u64));
        }
        while self.left > 0 {
            if self.take_u8()? != 0 {
                return Err(DecodeError::Trailing(self.left as u64 + 1));
            }
        }
        Ok(())
    }

    /// Reads one byte.
    #[inline(always)]
    pub fn take_u8(&mut self) -> Result<u8, DecodeError> {
        self.take()
    }

    /// Reads a `u32`, little endian.
    #[inline(always)]
    pub fn take_u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_le)
    }

    /// Reads a `u64`, little endian.
    #[inline(always)]
    pub fn take_u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_le)
    }

    /// Fills `dst`.
    pub fn take_bytes(&mut self, dst: &mut [u8]) -> Result<(), DecodeError> {
        // SAFETY: a unique slice is writable and lies outside of the bytes read.
        unsafe { self.take_raw(dst.as_mut_ptr(), dst.len()) }
    }

    /// Passes over `len` bytes.
    pub fn skip(&mut self, len: usize) -> Result<(), DecodeError> {
        self.require(len as u64)?;
        // SAFETY: at least `len` bytes are left.
        self.at = unsafe { self.at.add(len) };
        self.left -= len;
        Ok(())
    }

    /// A presence byte.
    #[inline(always)]
    pub(crate) fn take_presence(&mut self) -> Result<bool, DecodeError> {
        match self.take_u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Presence(other)),
        }
    }

    /// Checks that `len` bytes are left.
    #[inline(always)]
    pub(crate) fn require(&self, len: u64) -> Result<(), DecodeError> {
        if len > self.left as u64 { Err(self.truncated(len)) } else { Ok(()) }
    }

    /// Copies `len` bytes to `dst`.
    ///
    /// # Safety
    /// `dst` is writable for `len` bytes, which do not overlap the bytes read.
    #[inline(always)]
    pub(crate) unsafe fn take_raw(&mut self, dst: *mut u8, len: usize) -> Result<(), DecodeError> {
        self.require(len as u64)?;
        // SAFETY: `len` bytes are left; the caller vouches for the destination.
        unsafe {
            match len {
                4 => dst.cast::<[u8; 4]>().write(self.at.cast::<[u8; 4]>().read()),
                8 => dst.cast::<[u8; 8]>().write(self.at.cast::<[u8; 8]>().read()),
                12 => dst.cast::<[u8; 12]>().write(self.at.cast::<[u8; 12]>().read()),
                16 => dst.cast::<[u8; 16]>().write(self.at.cast::<[u8; 16]>().read()),
                _ => std::ptr::copy_nonoverlapping(self.at, dst, len),
            }
            self.at = self.at.add(len);
        }
        self.left -= len;
        Ok(())
    }

    #[inline(always)]
    fn take<T: Copy>(&mut self) -> Result<T, DecodeError> {
        const { assert!(size_of::<T>() <= 8) };
        self.require(size_of::<T>() as u64)?;
        // SAFETY: the bytes are left, the wrapper has no alignment, and `T` is an integer (the callers above).
        let v = unsafe { self.at.cast::<Unaligned<T>>().read_volatile() }.0;
        // SAFETY: the bytes are left.
        self.at = unsafe { self.at.add(size_of::<T>()) };
        self.left -= size_of::<T>();
        Ok(v)
    }

    #[cold]
    fn truncated(&self, needed: u64) -> DecodeError {
        DecodeError::Truncated { needed, left: self.left as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_when_bytes_run_out_says_how_many_were_needed() {
        let mut r = Reader::new(&[1, 2, 0, 0, 0, 9]);
        assert_eq!(r.take_u8(), Ok(1));
        assert_eq!(r.take_u32(), Ok(2));
        assert_eq!(r.take_u32(), Err(DecodeError::Truncated { needed: 4, left: 1 }));
        assert_eq!(r.take_presence(), Err(DecodeError::Presence(9)));
        assert_eq!(r.left(), 0);
    }

    #[test]
    fn reader_when_more_than_padding_is_left_refuses_the_record() {
        assert_eq!(Reader::new(&[0; 7]).finish(), Ok(()));
        assert_eq!(Reader::new(&[0; 8]).finish(), Err(DecodeError::Trailing(8)));
        assert_eq!(Reader::new(&[0, 1, 0]).finish(), Err(DecodeError::Trailing(2)));
    }
}
