//! Raw access to C structures at runtime offsets.
//!
//! Everything here is unaligned and untyped on purpose: tables, not types, say what lies where.

/// Reads an unsigned scalar of 1, 2, 4 or 8 bytes; other sizes (no table has them) read as 0.
///
/// # Safety
/// `size` bytes at `base + off` are readable.
#[inline(always)]
pub(crate) unsafe fn load_uint(base: *const u8, off: u16, size: u8) -> u64 {
    // SAFETY: the caller vouches for `size` bytes, and each arm reads exactly that many.
    unsafe {
        let at = base.add(off.into());
        match size {
            4 => at.cast::<u32>().read_unaligned().into(),
            8 => at.cast::<u64>().read_unaligned(),
            2 => at.cast::<u16>().read_unaligned().into(),
            1 => at.read().into(),
            _ => 0,
        }
    }
}

/// Reads a `u32`.
///
/// # Safety
/// 4 bytes at `base + off` are readable.
#[inline(always)]
pub(crate) unsafe fn load_u32(base: *const u8, off: usize) -> u32 {
    // SAFETY: the caller vouches for the 4 bytes.
    unsafe { base.add(off).cast::<u32>().read_unaligned() }
}

/// Reads an `i32`.
///
/// # Safety
/// 4 bytes at `base + off` are readable.
#[inline(always)]
pub(crate) unsafe fn load_i32(base: *const u8, off: usize) -> i32 {
    // SAFETY: the caller vouches for the 4 bytes.
    unsafe { base.add(off).cast::<i32>().read_unaligned() }
}

/// Reads a pointer member, or a pointer kept in a parameter slot.
///
/// # Safety
/// 8 bytes at `base + off` are readable.
#[inline(always)]
pub(crate) unsafe fn load_ptr(base: *const u8, off: usize) -> *mut u8 {
    // SAFETY: the caller vouches for the 8 bytes.
    let p = unsafe { base.add(off).cast::<*mut u8>().read_unaligned() };
    // A slot is an integer: the pointer regains the provenance that was exposed when it was put there.
    std::ptr::with_exposed_provenance_mut(p.expose_provenance())
}

/// Writes a pointer member, or a pointer into a parameter slot.
///
/// # Safety
/// 8 bytes at `base + off` are writable.
#[inline(always)]
pub(crate) unsafe fn store_ptr(base: *mut u8, off: usize, value: *mut u8) {
    let _ = value.expose_provenance();
    // SAFETY: the caller vouches for the 8 bytes.
    unsafe { base.add(off).cast::<*mut u8>().write_unaligned(value) }
}

/// Writes a `u32`.
///
/// # Safety
/// 4 bytes at `base + off` are writable.
#[inline(always)]
pub(crate) unsafe fn store_u32(base: *mut u8, off: usize, value: u32) {
    // SAFETY: the caller vouches for the 4 bytes.
    unsafe { base.add(off).cast::<u32>().write_unaligned(value) }
}

/// Writes a `u64`.
///
/// # Safety
/// 8 bytes at `base + off` are writable.
#[inline(always)]
pub(crate) unsafe fn store_u64(base: *mut u8, off: usize, value: u64) {
    // SAFETY: the caller vouches for the 8 bytes.
    unsafe { base.add(off).cast::<u64>().write_unaligned(value) }
}

/// Length of a C string in bytes, terminator included.
///
/// # Safety
/// `s` points to a null-terminated string.
#[inline]
pub(crate) unsafe fn string_length(s: *const u8) -> usize {
    // SAFETY: the caller vouches for the string.
    unsafe { std::ffi::CStr::from_ptr(s.cast()) }.count_bytes() + 1
}
