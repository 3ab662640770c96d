//! Recording without the tables: the generated entry points of the simplest `vkCmd*` write their records themselves.
//!
//! Only where there is room in the command buffer's chunk; otherwise they go the common way, by `forward::record`.

use std::ffi::c_void;

use vw_wire_protocol::record::{ALIGNMENT, HEADER_SIZE, Header};

use crate::command_buffer::CommandBuffer;

/// Bytes of the elements of an array; a null one has none.
#[inline(always)]
pub(crate) fn length(array: *const c_void, count: usize, element: usize) -> usize {
    if array.is_null() { 0 } else { count.saturating_mul(element) }
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

/// Both methods rely on what [`begin`] asks of its caller: there is room for all that is put.
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
}
