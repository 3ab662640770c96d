//! Records: the unit of the command ring, and the opcodes that are vw's own.
//!
//! A record is a [`Header`] followed by its payload, padded with zeros to a multiple of 8 bytes.

/// Size of a record's header in bytes.
pub const HEADER_SIZE: usize = 8;

/// Records are aligned to, and padded to, this many bytes.
pub const ALIGNMENT: usize = 8;

/// First word of every record.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which command: an index into the generated tables, or one of [`op`].
    pub opcode: u16,
    /// Flags of this opcode; zero where none are defined.
    pub flags: u16,
    /// Whole length in bytes, header and padding included; a multiple of [`ALIGNMENT`].
    pub length: u32,
}

impl Header {
    /// The header as the little-endian word that stands on the wire.
    pub const fn to_word(self) -> u64 {
        self.opcode as u64 | (self.flags as u64) << 16 | (self.length as u64) << 32
    }

    /// The header in a little-endian word.
    pub const fn from_word(word: u64) -> Self {
        Self { opcode: word as u16, flags: (word >> 16) as u16, length: (word >> 32) as u32 }
    }
}

/// A payload length rounded up to a whole record.
pub const fn record_length(payload: usize) -> usize {
    (HEADER_SIZE + payload).next_multiple_of(ALIGNMENT)
}

/// Opcodes that are not Vulkan commands.
pub mod op {
    /// First opcode that the registry's commands never take.
    pub const FIRST: u16 = 0xF000;
    /// Call: everything about the physical device, in one reply.
    pub const FACTS: u16 = 0xF000;
    /// `u64` command-buffer id, then `vkCmd*` records to replay into it.
    pub const STREAM: u16 = 0xF001;
    /// `u64` command-buffer id, `u64` offset in the arena, `u64` length, `u64` ticket of the recording: the records stand
    /// in the arena. The guest may reuse the range once the ring's head has passed this record. Of the ticket see
    /// [`abandoned_offset`](super::abandoned_offset).
    pub const ARENA_STREAM: u16 = 0xF002;
    /// A part of a record that is larger than the ring takes; the parts joined are a whole record.
    pub const FRAGMENT: u16 = 0xF003;
    /// Call: `u64` offset: the part of the last reply from that offset on.
    pub const FETCH_REPLY: u16 = 0xF004;
    /// Call: the queues that the guest numbers, then a `vkCreateDevice` request.
    pub const CREATE_DEVICE: u16 = 0xF005;
    /// `u64` offset in the memory window (or [`super::NO_OFFSET`], [`super::IN_FILE`]), then a `vkAllocateMemory` request. A
    /// call, unless the guest has taken as many bytes of the credit of their heap in the control page, and one of that of
    /// [allocations](super::ALLOCATIONS), and its pages are in the window or unseen. Behind the answer: `u64` number of the
    /// file that has the pages instead (or [`super::NO_FILE`]), `u64` offset in it, `u32` not 0 if its descriptor comes with
    /// the answer.
    pub const ALLOCATE_MEMORY: u16 = 0xF006;
    /// `u64` id of live memory, `u64` the new id that it has from now on: freed memory that is handed out again.
    pub const RENAME_MEMORY: u16 = 0xF007;
    /// Where guest and host, or host and device, share no pages: `u64` id of memory that the program maps: from now on it is kept
    /// alike. A call, unless nothing can have written to it yet: the answer is a `VkResult`, and comes after what the guest does
    /// not have of it.
    pub const SHOW_MEMORY: u16 = 0xF008;
    /// `u64` number, `u64` id of an image: its memory requirements, as `vkGetImageMemoryRequirements2` says them, become the
    /// answer to question `number` in the control page: size, alignment, and the types with
    /// [`PREFERS_DEDICATED`](super::PREFERS_DEDICATED) and [`REQUIRES_DEDICATED`](super::REQUIRES_DEDICATED). No types: the
    /// guest has to call. Numbers start with 1 and grow.
    pub const TELL_REQUIREMENTS: u16 = 0xF009;
    /// Call: `u64` number: the semaphore or fence that several processes share, whose descriptor went before the record,
    /// has this number from now on. The answer is a `VkResult`.
    pub const ATTACH_PAYLOAD: u16 = 0xF030;
    /// `u64` number: no record will use it any more.
    pub const DETACH_PAYLOAD: u16 = 0xF031;
    /// A submission of one batch, some of whose semaphores have payloads: the two lists of those waited for and of those
    /// signalled (`u32` length; of each `u64` semaphore, `u64` number of its payload, `u64` not 0 if it is a timeline
    /// semaphore), `u32` opcode of the submitting command, then its request.
    pub const SUBMIT_SHARED: u16 = 0xF032;
    /// `u64` queue, `u64` number: the fence with this payload is signalled once all that was submitted is finished.
    pub const SIGNAL_FENCE: u16 = 0xF033;
    /// `u64` queue, `u64` surface, `u64` memory, `u64` offset in it, `u32` width and `u32` height in texels, `u32` bytes from row
    /// to row, `u32` `VkFormat`: the next submission to the queue writes a frame there, which is presented when it is complete. The surface is a number that no
    /// other one of the session has.
    pub const FRAME: u16 = 0xF040;
    /// `u32` count (at most [`super::MAX_SHOWN`]), then as many `u64`: how long frames took from their being presented until they
    /// were seen, in nanoseconds.
    pub const SHOWN: u16 = 0xF041;
    /// `u64` device id, `u64` object id, `u32` `VkObjectType`, `u32` length, then the object's name. What the host does
    /// not know is nothing to name.
    pub const NAME_OBJECT: u16 = 0xF010;
    /// As [`NAME_OBJECT`], with the tag's `u64` name between its length and its bytes.
    pub const TAG_OBJECT: u16 = 0xF011;
    /// `u64` device id, then writes and copies; see [`descriptor_update`](crate::descriptor_update).
    pub const UPDATE_DESCRIPTOR_SETS: u16 = 0xF020;
}

/// Codes for the lost device in the control page.
pub mod lost {
    /// The driver says so.
    pub const DRIVER: u32 = 1;
    /// A submission could not be made.
    pub const REFUSED: u32 = 2;
    /// Memory was bound that the guest was granted and the driver did not have.
    pub const MEMORY: u32 = 3;

    /// What a code means, for the guest's messages.
    pub const fn words(code: u32) -> &'static str {
        match code {
            DRIVER => "the device is lost: the host's driver says so; the renderer's log has more",
            REFUSED => {
                "the device is lost: a submission could not be made on the host; the renderer's log says why"
            }
            MEMORY => {
                "the device is lost: memory that was allocated could not be had on the host; the renderer's log says why"
            }
            _ => "the device is lost; the renderer's log says why",
        }
    }
}

/// [`op::FRAGMENT`]: this is the last part.
pub const FLAG_LAST: u16 = 1;

/// A Vulkan command: the guest waits for its reply. Without it none is written, and handles whose creation fails are
/// poisoned. vw's own calls are always answered.
pub const FLAG_REPLY: u16 = 2;

/// A submission: the guest wants to know when it is complete. Of the others it learns when a later one is.
pub const FLAG_WATCH: u16 = 4;

/// The credit in the control page that counts allocations; those before it are of bytes, each of the heap with its number.
pub const ALLOCATIONS: usize = 16;

/// [`op::ALLOCATE_MEMORY`]: memory that the guest does not see.
pub const NO_OFFSET: u64 = u64::MAX;

/// [`op::ALLOCATE_MEMORY`]: the pages of a sealed memfd, whose descriptor went before the record.
pub const IN_FILE: u64 = u64::MAX - 1;

/// [`op::ALLOCATE_MEMORY`], added to an offset: the pages in the window are the program's own, and no others will do.
pub const PROGRAM: u64 = 1;

/// [`op::ALLOCATE_MEMORY`], in the answer: the pages are where the guest wants them.
pub const NO_FILE: u64 = u64::MAX;

/// [`op::UPDATE_DESCRIPTOR_SETS`]: most bytes of writes: 16 KiB.
pub const MAX_UPDATES: usize = 16 << 10;

/// Command buffers of which the guest can say that their recordings are abandoned: those with the smallest indices.
pub const ABANDONED_SLOTS: usize = 8192;

/// Where in a command arena of `size` bytes the guest says which recordings nobody will execute any more, because they
/// were reset: [`ABANDONED_SLOTS`] `u64` at the end, each with the ticket of the last such recording of the command buffer
/// with this index. Tickets grow; 0 is none. None for an arena that is too small for it.
pub const fn abandoned_offset(size: usize) -> Option<usize> {
    const TABLE: usize = ABANDONED_SLOTS * size_of::<u64>();
    if size < 4 * TABLE { None } else { Some((size - TABLE) / TABLE * TABLE) }
}

/// [`op::SHOWN`]: most frames of a record.
pub const MAX_SHOWN: usize = 64;

/// [`op::TELL_REQUIREMENTS`]: `VkMemoryDedicatedRequirements::prefersDedicatedAllocation`.
pub const PREFERS_DEDICATED: u64 = 1 << 32;

/// [`op::TELL_REQUIREMENTS`]: `VkMemoryDedicatedRequirements::requiresDedicatedAllocation`.
pub const REQUIRES_DEDICATED: u64 = 1 << 33;

/// [`op::FRAME`]: most of one submission.
pub const MAX_FRAMES: usize = 64;

/// Largest record, joined from fragments, that the host takes: 256 MiB.
pub const MAX_RECORD: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_when_packed_and_unpacked_is_the_same() {
        let h = Header { opcode: op::STREAM, flags: 3, length: 0x1234_5678 };
        assert_eq!(Header::from_word(h.to_word()), h);
        assert_eq!(record_length(0), 8);
        assert_eq!(record_length(1), 16);
    }
}
