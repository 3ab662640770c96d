//! Recording without the tables: the generated entry points of the simplest `vkCmd*` write their records themselves.
//!
//! Only where no structure has a chain and there is room in the command buffer's chunk; otherwise they go the common way, by `forward::record`.

use std::ffi::c_void;

use vw_wire_protocol::record::{ALIGNMENT, HEADER_SIZE, Header};

use crate::command_buffer::CommandBuffer;

/// Bytes of the elements of an array; a null one has none.
#[inline(always)]
pub(crate) fn length(array: *const c_void, count: usize, element: usize) -> usize {
    if array.is_null() { 0 } else { count.saturating_mul(element) }
}

/// Ends a chain on the wire; here it is the whole of it.
pub(crate) const NO_CHAIN: u32 = u32::MAX;

/// Bytes that structures of `size` bytes in memory take, as `length` says of each; a null array has none. None when
/// one of them needs the tables.
///
/// # Safety
/// `array` is null or has `count` such structures.
#[inline(always)]
pub(crate) unsafe fn lengths(
    array: *const c_void,
    count: usize,
    size: usize,
    length: impl Fn(*const u8) -> Option<usize>,
) -> Option<usize> {
    let mut sum = 0usize;
    if !array.is_null() {
        for i in 0..count {
            // SAFETY: the caller's promise.
            sum = sum.saturating_add(length(unsafe { array.cast::<u8>().add(i * size) })?);
        }
    }
    Some(sum)
}

/// Whether something follows in the chain of a structure.
///
/// # Safety
/// `at` is a structure with a chain.
#[inline(always)]
pub(crate) unsafe fn has_chain(at: *const u8) -> bool {
    // SAFETY: `pNext` stands behind `sType`, aligned to 8.
    !unsafe { load::<*const c_void>(at, 8) }.is_null()
}

/// A member of a structure.
///
/// # Safety
/// There is one of this type at `off`.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(at: *const u8, off: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { at.add(off).cast::<T>().read_unaligned() }
}

/// Begins a record with `payload` bytes behind its header: the command buffer's id, which is written here, and what the
/// caller puts. None when the record must go the common way.
///
/// # Safety
/// `object` must be null or a live command buffer that no other thread uses. The caller puts exactly the rest of the
/// payload, before anything else happens to the command buffer.
#[inline(always)]
pub(crate) unsafe fn begin(object: *mut c_void, opcode: u16, payload: usize) -> Option<Straight> {
    // SAFETY: the caller's promise; command buffers are made by `command_buffer.rs`.
    let buffer = unsafe { object.cast::<CommandBuffer>().as_mut()? };
    let length = payload.checked_add(HEADER_SIZE + ALIGNMENT - 1)? & !(ALIGNMENT - 1);
    let (start, id) = buffer.straight(length)?;
    let header = Header { opcode, flags: 0, length: length as u32 };
    // SAFETY: `length` bytes at `start` are this record's, aligned to 8; a header and an id always fit. The last word
    // holds the padding, and what the caller puts is written over the rest of it.
    unsafe {
        start.add(length - ALIGNMENT).cast::<u64>().write(0);
        start.cast::<u64>().write(header.to_word().to_le());
        start.add(HEADER_SIZE).cast::<u64>().write(id.to_le());
        Some(Straight { at: start.add(HEADER_SIZE + size_of::<u64>()) })
    }
}

/// A record that is being written.
pub(crate) struct Straight {
    at: *mut u8,
}

/// All methods rely on what [`begin`] asks of its caller: there is room for all that is put.
impl Straight {
    /// A scalar or a handle. (Little endian, as the wire is: vw is for such processors alone.)
    #[inline(always)]
    pub(crate) unsafe fn put<T: Copy>(&mut self, value: T) {
        const { assert!(cfg!(target_endian = "little")) };
        // SAFETY: there is room.
        unsafe {
            self.at.cast::<T>().write_unaligned(value);
            self.at = self.at.add(size_of::<T>());
        }
    }

    /// Whether there is an array, and its `length` bytes.
    #[inline(always)]
    pub(crate) unsafe fn array(&mut self, array: *const c_void, length: usize) {
        // SAFETY: there is room; the application's array is that long.
        unsafe {
            self.put(u8::from(!array.is_null()));
            if !array.is_null() {
                self.at.copy_from_nonoverlapping(array.cast(), length);
                self.at = self.at.add(length);
            }
        }
    }

    /// `N` bytes of a structure.
    #[inline(always)]
    pub(crate) unsafe fn copy<const N: usize>(&mut self, from: *const u8) {
        // SAFETY: there is room; the application's structure has them.
        unsafe {
            self.at.copy_from_nonoverlapping(from, N);
            self.at = self.at.add(N);
        }
    }

    /// Whether there is an array, and its structures of `size` bytes in memory, as `put` writes each.
    #[inline(always)]
    pub(crate) unsafe fn structures(
        &mut self,
        array: *const c_void,
        count: usize,
        size: usize,
        put: impl Fn(&mut Self, *const u8),
    ) {
        // SAFETY: there is room; the application's array is that long.
        unsafe {
            self.put(u8::from(!array.is_null()));
            if !array.is_null() {
                (0..count).for_each(|i| put(self, array.cast::<u8>().add(i * size)));
            }
        }
    }
}
