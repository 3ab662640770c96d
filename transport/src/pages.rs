//! Pages that are shared apart from the region: files of their own, and pages that take the place of a program's.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{MapFlags, MremapFlags, ProtFlags};

use crate::region::{SEALS, memfd};

/// `f_type` of the file system that memfds live in; those of huge pages, which can run out, live in another.
const TMPFS: u64 = 0x0102_1994;

/// A file of shared pages, mapped: a memfd that can neither shrink nor grow, so that no side can take pages away under
/// the other's mapping (a read past the end of a file is SIGBUS).
#[derive(Debug)]
pub struct SharedFile {
    file: OwnedFd,
    mapping: Mapping,
}

impl SharedFile {
    /// Makes a file of `len` bytes (whole pages, not 0), all 0.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(len: usize) -> io::Result<Self> {
        let file = memfd("vw-memory")?;
        rustix::fs::ftruncate(&file, len as u64)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Self::map(file, len)
    }

    /// Maps a file that another side made.
    ///
    /// # Errors
    /// `InvalidData` for a descriptor that [`create`](Self::create) of no side made, or what the system says.
    pub fn attach(file: OwnedFd) -> io::Result<Self> {
        let refused = |what: &str| {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("not a file of shared pages: {what}")))
        };
        match rustix::fs::fcntl_get_seals(&file) {
            Ok(seals) if seals.contains(SEALS) => {}
            Ok(_) | Err(Errno::INVAL) => return refused("it lacks the seals"),
            Err(error) => return Err(error.into()),
        }
        #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
        if rustix::fs::fstatfs(&file)?.f_type as u64 != TMPFS {
            return refused("its pages are not the system's");
        }
        let page = rustix::param::page_size() as u64;
        match u64::try_from(rustix::fs::fstat(&file)?.st_size) {
            Ok(size) if size > 0 && size.is_multiple_of(page) => Self::map(file, size as usize),
            _ => refused("it has no whole pages"),
        }
    }

    fn map(file: OwnedFd, len: usize) -> io::Result<Self> {
        let mapping = Mapping::new(file.as_fd(), 0, len)?;
        Ok(Self { file, mapping })
    }

    /// The descriptor and the mapping, each to be kept on its own.
    pub fn into_parts(self) -> (OwnedFd, Mapping) {
        (self.file, self.mapping)
    }

    /// Start of the mapping.
    pub fn base(&self) -> NonNull<u8> {
        self.mapping.base
    }

    /// What tells the file from all others as long as anybody has it open.
    ///
    /// # Errors
    /// What the system says.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.file)?.st_ino)
    }

    /// Size in bytes, whole pages.
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.mapping.len
    }
}

impl AsFd for SharedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A part of a file, mapped to be shared, and unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the fields are the address of a mapping that stays until drop; nothing here reads or writes the pages.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method changes the fields.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of the file from `offset` on, whole pages.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        let (read_write, shared) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::NORESERVE);
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe { rustix::mm::mmap(ptr::null_mut(), len, read_write, shared, file, offset) }?;
        Ok(Self { base: NonNull::new(base.cast()).ok_or(Errno::NOMEM)?, len })
    }

    /// Start of the mapping.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, and who uses it holds this.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// Maps shared pages a second time, in the place of whatever is mapped at `onto`.
///
/// # Errors
/// What the system says; then nothing has changed.
///
/// # Safety
/// `from` must be whole pages of a shared mapping, `len` bytes of it; what is at `onto`, whole pages too, must be the
/// caller's to replace.
pub unsafe fn alias(from: NonNull<u8>, len: usize, onto: NonNull<u8>) -> io::Result<()> {
    // An old size of 0 makes a second mapping of shared pages and leaves the first (mremap(2)).
    // SAFETY: the caller's promise.
    unsafe {
        rustix::mm::mremap_fixed(
            from.as_ptr().cast(),
            0,
            len,
            MremapFlags::MAYMOVE,
            onto.as_ptr().cast::<c_void>(),
        )
    }?;
    Ok(())
}

/// Puts private pages with the same contents in the place of what is mapped at `at`.
///
/// # Errors
/// What the system says; then nothing has changed.
///
/// # Safety
/// `at` must be `len` readable bytes, whole pages, that are the caller's to replace and that nobody writes meanwhile.
pub unsafe fn detach(at: NonNull<u8>, len: usize) -> io::Result<()> {
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing; it is as long as what is copied and
    // moved over it, by the caller's promise.
    unsafe {
        let private = rustix::mm::mmap_anonymous(
            ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )?;
        ptr::copy_nonoverlapping(at.as_ptr(), private.cast::<u8>(), len);
        rustix::mm::mremap_fixed(private, len, len, MremapFlags::MAYMOVE, at.as_ptr().cast())?;
    }
    Ok(())
}

/// Unmaps pages; `reserve`: the addresses stay taken, and what touches them faults.
///
/// # Errors
/// What the system says.
///
/// # Safety
/// `at` must be `len` bytes, whole pages, that are the caller's to take away.
pub unsafe fn clear(at: NonNull<u8>, len: usize, reserve: bool) -> io::Result<()> {
    let (at, none) = (at.as_ptr().cast(), ProtFlags::empty());
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: the caller's promise.
    unsafe {
        if reserve {
            rustix::mm::mmap_anonymous(at, len, none, flags)?;
        } else {
            rustix::mm::munmap(at, len)?;
        }
    }
    Ok(())
}

/// Whether all of the range is memory of this process's own: private, of no file, readable and writable, and no stack
/// that grows.
///
/// # Errors
/// When the system does not tell.
pub fn are_private(at: NonNull<u8>, len: usize) -> io::Result<bool> {
    let (mut start, Some(end)) = (at.addr().get(), at.addr().get().checked_add(len)) else {
        return Ok(false);
    };
    for line in lines()? {
        if line.end <= start {
            continue;
        }
        if line.start > start || !line.is_own() {
            return Ok(false);
        }
        start = line.end;
        if start >= end {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Pages of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePages {
    /// Device and inode.
    pub identity: (u64, u64),
    /// Offset in the file, in bytes.
    pub offset: u64,
}

/// The file whose pages are mapped, to be shared, at `at` and for the `len` bytes from there on; none if they are not of
/// one mapping of whole pages of a file.
///
/// # Errors
/// When the system does not tell.
pub fn file_at(at: *const u8, len: usize) -> io::Result<Option<FilePages>> {
    let Some(end) = at.addr().checked_add(len) else { return Ok(None) };
    let found = lines()?.find(|line| (line.start..line.end).contains(&at.addr()) && end <= line.end);
    Ok(found.filter(|line| line.flags == *b"rw-s" && line.inode != 0).map(|line| FilePages {
        identity: (line.device, line.inode),
        offset: line.offset + (at.addr() - line.start) as u64,
    }))
}

/// A line of `/proc/self/maps`.
struct Line {
    start: usize,
    end: usize,
    flags: [u8; 4],
    offset: u64,
    device: u64,
    inode: u64,
    anonymous: bool,
}

/// The lines of `/proc/self/maps`, by address.
fn lines() -> io::Result<impl Iterator<Item = Line>> {
    let lines = BufReader::new(File::open("/proc/self/maps")?).lines();
    Ok(lines.map_while(Result::ok).filter_map(|line| Line::parse(&line)))
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let flags = fields.next()?.as_bytes().try_into().ok()?;
        let offset = hex(fields.next()?)?;
        let (major, minor) = fields.next()?.split_once(':')?;
        let device = rustix::fs::makedev(hex(major)? as u32, hex(minor)? as u32);
        let inode = fields.next()?.parse().ok()?;
        let name = fields.next().unwrap_or_default();
        let anonymous = name.is_empty() || name == "[heap]" || name.starts_with("[anon:");
        Some(Self {
            start: hex(start)? as usize,
            end: hex(end)? as usize,
            flags,
            offset,
            device,
            inode,
            anonymous,
        })
    }

    /// Memory of this process's own.
    fn is_own(&self) -> bool {
        self.flags.starts_with(b"rw") && self.flags[3] == b'p' && self.inode == 0 && self.anonymous
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn page() -> usize {
        rustix::param::page_size()
    }

    /// Private pages that stay until the process ends.
    fn private(len: usize) -> NonNull<u8> {
        // SAFETY: a new mapping replaces nothing.
        let at = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        NonNull::new(at.unwrap().cast()).unwrap()
    }

    #[test]
    fn file_when_attached_shares_its_pages() {
        let made = SharedFile::create(2 * page()).unwrap();
        let attached = SharedFile::attach(made.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!((attached.len(), made.base() == attached.base()), (2 * page(), false));
        // SAFETY: both mappings are 2 pages and used by this thread alone.
        unsafe {
            made.base().as_ptr().add(page()).write(7);
            assert_eq!(attached.base().as_ptr().add(page()).read(), 7);
        }
        assert!(rustix::fs::ftruncate(&made, 0).is_err());
    }

    #[test]
    fn file_when_it_could_shrink_or_is_something_else_is_not_attached() {
        let unsealed = memfd("test").unwrap();
        rustix::fs::ftruncate(&unsealed, page() as u64).unwrap();
        let empty = memfd("test").unwrap();
        rustix::fs::fcntl_add_seals(&empty, SEALS).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        for fd in [unsealed, empty, null.into()] {
            assert_eq!(SharedFile::attach(fd).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn pages_when_aliased_and_detached_keep_their_contents_and_share_meanwhile() {
        let len = 3 * page();
        let file = SharedFile::create(2 * len).unwrap();
        let at = private(len);
        // SAFETY: all ranges are `len` bytes of mappings made here, used by this thread alone.
        unsafe {
            let from = NonNull::new(file.base().as_ptr().add(page())).unwrap();
            at.as_ptr().write_bytes(1, len);
            ptr::copy_nonoverlapping(at.as_ptr(), from.as_ptr(), len);
            assert!(are_private(at, len).unwrap());
            alias(from, len, at).unwrap();
            assert!(!are_private(at, len).unwrap());
            from.as_ptr().add(len - 1).write(2);
            assert_eq!((at.as_ptr().read(), at.as_ptr().add(len - 1).read()), (1, 2));
            at.as_ptr().write(3);
            assert_eq!(from.as_ptr().read(), 3);
            detach(at, len).unwrap();
            assert!(are_private(at, len).unwrap());
            from.as_ptr().write(4);
            assert_eq!((at.as_ptr().read(), at.as_ptr().add(len - 1).read()), (3, 2));
        }
    }

    #[test]
    fn memory_when_of_a_file_or_not_there_is_not_private() {
        let at = private(2 * page());
        // SAFETY: the second page is unmapped and not used again.
        unsafe { rustix::mm::munmap(at.as_ptr().add(page()).cast(), page()) }.unwrap();
        assert!(are_private(at, page()).unwrap());
        assert!(!are_private(at, 2 * page()).unwrap() || cfg!(miri));
        let code = NonNull::new(are_private as *const () as *mut u8).unwrap();
        assert!(!are_private(code, 1).unwrap());
        let here = NonNull::from(&mut 0u8);
        assert!(!are_private(here, usize::MAX).unwrap());
    }
}
