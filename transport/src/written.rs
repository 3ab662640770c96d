//! Which pages of a mapping were written since they were last asked about.
//!
//! Linux from 6.7 on keeps that itself for a mapping that a `userfaultfd` write-protects asynchronously: the first write to a
//! page clears a bit in the kernel, without a signal or another thread, and `PAGEMAP_SCAN` collects the pages and protects them
//! anew in one step. Where it cannot be had, every page may have been written.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ptr::NonNull;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Updater, ioctl, opcode};

use crate::descriptor::Descriptor;

/// Regions that one scan gives at most.
const REGIONS: usize = 512;

/// `struct uffdio_api` (linux/userfaultfd.h).
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

/// `struct pm_scan_arg` (linux/fs.h).
#[repr(C)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

const UFFD_API: u64 = 0xaa;
const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const FEATURE_WP_ASYNC: u64 = 1 << 15;
const REGISTER_MODE_WP: u64 = 2;
const PM_SCAN_WP_MATCHING: u64 = 1;
const PM_SCAN_CHECK_WPASYNC: u64 = 2;
const PAGE_IS_WRITTEN: u64 = 1 << 1;

const UFFDIO_API: Opcode = opcode::read_write::<Api>(0xaa, 0x3f);
const UFFDIO_REGISTER: Opcode = opcode::read_write::<Register>(0xaa, 0x00);
const PAGEMAP_SCAN: Opcode = opcode::read_write::<Scan>(b'f', 16);

/// The call that returns how many regions it found.
struct Regions<'a>(&'a mut Scan);

// SAFETY: the opcode, and the structure that goes with it; the result is the number of regions.
unsafe impl Ioctl for Regions<'_> {
    type Output = usize;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        PAGEMAP_SCAN
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<usize> {
        Ok(usize::try_from(output).unwrap_or(0))
    }
}

/// The pages of a mapping that are written to.
#[derive(Debug)]
pub(crate) struct Written {
    base: NonNull<u8>,
    pagemap: Descriptor,
    /// Protects the pages as long as it is open.
    _protector: Descriptor,
    regions: Vec<PageRegion>,
}

// SAFETY: `base` is only an address.
unsafe impl Send for Written {}

impl Written {
    /// From now on the pages of `len` bytes at `base`, a shared mapping of memory, are watched.
    ///
    /// # Errors
    /// What the system says where it cannot do that, or does not allow it to this process.
    pub(crate) fn watch(base: NonNull<u8>, len: usize) -> io::Result<Self> {
        use rustix::mm::UserfaultfdFlags;
        let flags = UserfaultfdFlags::CLOEXEC
            | UserfaultfdFlags::NONBLOCK
            // UFFD_USER_MODE_ONLY: what an ordinary user may have. Nothing is ever handled in user mode.
            | UserfaultfdFlags::from_bits_retain(1);
        // SAFETY: the descriptor does nothing until pages are registered with it.
        let protector = unsafe { rustix::mm::userfaultfd(flags) }?;
        let features = FEATURE_WP_HUGETLBFS_SHMEM | FEATURE_WP_UNPOPULATED | FEATURE_WP_ASYNC;
        let mut api = Api { api: UFFD_API, features, ioctls: 0 };
        let mut register =
            Register { start: base.addr().get() as u64, len: len as u64, mode: REGISTER_MODE_WP, ioctls: 0 };
        // SAFETY: the structures are those of the calls. Asynchronous protection changes nothing about what the pages hold
        // or who may write them.
        unsafe {
            ioctl(&protector, Updater::<UFFDIO_API, _>::new(&mut api))?;
            ioctl(&protector, Updater::<UFFDIO_REGISTER, _>::new(&mut register))?;
        }
        let empty = PageRegion { start: 0, end: 0, categories: 0 };
        let mut written = Self {
            base,
            pagemap: Descriptor::new(File::open("/proc/self/pagemap")?.into()),
            _protector: Descriptor::new(protector),
            regions: vec![empty; REGIONS],
        };
        // Whether the kernel knows the scan.
        written.take(0, len as u64, |_, _| {})?;
        Ok(written)
    }

    /// Calls `found` with start and end of each part of the range from offset `start` to `end` (whole pages) that was written
    /// since it was last taken; what is written from now on counts for the next time. A part may be given that was not.
    ///
    /// # Errors
    /// When the program has closed the descriptors: then nothing is known about what was not given.
    pub(crate) fn take(&mut self, start: u64, end: u64, mut found: impl FnMut(u64, u64)) -> io::Result<()> {
        let base = self.base.addr().get() as u64;
        let mut from = base + start;
        while from < base + end {
            let mut scan = Scan {
                size: size_of::<Scan>() as u64,
                flags: PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
                start: from,
                end: base + end,
                walk_end: 0,
                vec: self.regions.as_mut_ptr() as u64,
                vec_len: self.regions.len() as u64,
                max_pages: 0,
                category_inverted: 0,
                category_mask: PAGE_IS_WRITTEN,
                category_anyof_mask: 0,
                return_mask: PAGE_IS_WRITTEN,
            };
            // SAFETY: the structure is the call's, and its vector as long as it says.
            let count = unsafe { ioctl(self.pagemap.unchecked(), Regions(&mut scan)) }?;
            for region in &self.regions[..count.min(self.regions.len())] {
                found(region.start.max(from) - base, region.end.min(base + end) - base);
            }
            if scan.walk_end <= from {
                return Err(io::ErrorKind::InvalidData.into());
            }
            from = scan.walk_end;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::pages::SharedFile;

    const PAGE: u64 = 4096;

    fn taken(written: &mut Written, start: u64, end: u64) -> Vec<u64> {
        let mut pages = Vec::new();
        written.take(start, end, |from, to| pages.extend((from..to).step_by(PAGE as usize))).unwrap();
        pages
    }

    #[test]
    fn pages_when_written_are_found_once() {
        let file = SharedFile::create(1 << 20).unwrap();
        let Ok(mut written) = Written::watch(file.base(), file.len()) else {
            println!("this kernel does not tell which pages are written");
            return;
        };
        let write = |page: u64| {
            // SAFETY: the page is the file's, and used by this thread alone.
            unsafe { file.base().add((page * PAGE) as usize).write_volatile(1) };
        };
        assert_eq!(taken(&mut written, 0, 1 << 20), []);
        for page in [3, 4, 200] {
            write(page);
        }
        assert_eq!(taken(&mut written, 4 * PAGE, 1 << 20), [4 * PAGE, 200 * PAGE]);
        assert_eq!(taken(&mut written, 0, 1 << 20), [3 * PAGE]);
        assert_eq!(taken(&mut written, 0, 1 << 20), []);
        write(4);
        assert_eq!(taken(&mut written, 0, 1 << 20), [4 * PAGE]);
        // More parts than one scan gives.
        let many = SharedFile::create(3 * REGIONS * PAGE as usize).unwrap();
        let mut written = Written::watch(many.base(), many.len()).unwrap();
        for page in (0..3 * REGIONS).step_by(2) {
            // SAFETY: as above.
            unsafe { many.base().add(page * PAGE as usize).write_volatile(1) };
        }
        assert_eq!(taken(&mut written, 0, many.len() as u64).len(), 3 * REGIONS / 2);
    }
}
