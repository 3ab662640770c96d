//! What two memories that are kept alike had in common last.

use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Private memory, as large as what is kept alike; its pages exist from the first write on.
#[derive(Debug)]
pub(crate) struct Shadow {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping is this structure's alone.
unsafe impl Send for Shadow {}

impl Shadow {
    pub(crate) fn new(size: usize) -> io::Result<Self> {
        // A mapping of nothing is refused.
        let size = size.max(1);
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        Ok(Self { base: NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?, size })
    }

    /// `length` bytes from `offset` on, which lie in it.
    pub(crate) fn bytes(&mut self, offset: usize, length: usize) -> &mut [u8] {
        assert!(offset <= self.size && length <= self.size - offset, "{length} bytes at {offset:#x}");
        // SAFETY: the range lies in the mapping, which is this structure's alone and was zero from the start.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(offset), length) }
    }

    /// Makes whole pages zero, and gives them back to the system.
    pub(crate) fn punch(&mut self, offset: usize, length: usize) {
        let bytes = self.bytes(offset, length);
        // SAFETY: private anonymous pages of this structure, which are zero afterwards; nothing refers to them.
        let given = unsafe { rustix::mm::madvise(bytes.as_mut_ptr().cast(), length, Advice::LinuxDontNeed) };
        if given.is_err() {
            bytes.fill(0);
        }
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody refers to it any more.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.size) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
