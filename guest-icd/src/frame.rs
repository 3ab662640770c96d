//! Whole records: header, payload and padding.

use vw_wire_protocol::codec::{EncodeError, Writer};
use vw_wire_protocol::record::{ALIGNMENT, HEADER_SIZE, Header};

/// Writes a record whose payload `payload` writes, and returns its length. The bytes behind it may be overwritten
/// too, as far as there is room.
///
/// # Errors
/// There is no room; or what the payload reports.
///
/// # Safety
/// `room` bytes at `start`, which is aligned to 8 bytes, must be writable and nobody else's.
#[inline]
pub(crate) unsafe fn write(
    start: *mut u8,
    room: usize,
    opcode: u16,
    flags: u16,
    payload: impl FnOnce(&mut Writer<'_>),
) -> Result<usize, EncodeError> {
    // Room for the padding is kept aside, so that it is one store whatever its length.
    let Some(room) = room.checked_sub(HEADER_SIZE + ALIGNMENT) else {
        return Err(EncodeError::Overflow { needed: 0 });
    };
    // SAFETY: the caller's promise; header and padding lie within the room.
    unsafe {
        let mut writer = Writer::from_raw(start.add(HEADER_SIZE), room);
        payload(&mut writer);
        let end = HEADER_SIZE + writer.finish()?;
        start.add(end).cast::<u64>().write_unaligned(0);
        let length = end.next_multiple_of(ALIGNMENT);
        let header = Header { opcode, flags, length: length as u32 };
        start.cast::<u64>().write(header.to_word().to_le());
        Ok(length)
    }
}
