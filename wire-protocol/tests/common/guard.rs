//! Memory that ends where the address space has a hole: reading or writing past its end faults.

use std::ptr::{NonNull, null_mut};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

pub struct Guarded {
    map: NonNull<u8>,
    len: usize,
    size: usize,
}

impl Guarded {
    const PAGE: usize = 64 << 10;

    /// Room for records of up to `size` bytes.
    pub fn new(size: usize) -> Self {
        let len = size.next_multiple_of(Self::PAGE) + Self::PAGE;
        // SAFETY: a fresh mapping; its last page is taken away at once.
        unsafe {
            let prot = ProtFlags::READ | ProtFlags::WRITE;
            let map = mmap_anonymous(null_mut(), len, prot, MapFlags::PRIVATE).expect("mmap");
            mprotect(map.byte_add(len - Self::PAGE), Self::PAGE, MprotectFlags::empty()).expect("mprotect");
            Self { map: NonNull::new(map.cast()).expect("mapped"), len, size }
        }
    }

    /// `len` bytes that end at the hole.
    pub fn space(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.size);
        // SAFETY: the bytes before the hole are ours.
        unsafe {
            let end = self.map.as_ptr().add(self.len - Self::PAGE);
            std::slice::from_raw_parts_mut(end.sub(len), len)
        }
    }

    /// `bytes`, ending at the hole.
    pub fn put(&mut self, bytes: &[u8]) -> &[u8] {
        let space = self.space(bytes.len());
        space.copy_from_slice(bytes);
        space
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the mapping any more.
        unsafe { munmap(self.map.as_ptr().cast(), self.len).expect("munmap") };
    }
}
