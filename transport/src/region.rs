//! The region: memory that both sides map once and keep.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, SeekFrom};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::attached::{Half, Slice, random};
use crate::control::{Control, REGION_MAGIC};
use crate::descriptor::Descriptor;
use crate::layout::{Layout, LayoutError, Limits, system_page_size};
use crate::mirror::Mirror;

/// What keeps the other side from taking pages away under the mapping (a read past the end of a file is SIGBUS) and
/// from lifting that guard again.
pub(crate) const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// A region that could not be made or attached.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// The sizes asked for do not make a region.
    #[error("the sizes of the shared region do not fit: {0}")]
    Layout(#[from] LayoutError),
    /// The pages of this machine are larger than what was negotiated.
    #[error(
        "the shared region has pages of {region} bytes and this machine pages of {system}: \
         the page size must be negotiated in the handshake"
    )]
    PageSize {
        /// Page size in the layout.
        region: usize,
        /// Page size of this machine.
        system: u64,
    },
    /// The descriptor lacks the seals: the other side could shrink the file and crash this process.
    #[error("the descriptor of the shared region lacks seals (has {found:?}, needs {SEALS:?}): not mapped")]
    NotSealed {
        /// The seals it has.
        found: SealFlags,
    },
    /// The file is not as large as the layout says.
    #[error("the shared region is a file of {found} bytes where the layout says {expected}: not mapped")]
    Size {
        /// Size of the file.
        found: u64,
        /// Size by the layout.
        expected: u64,
    },
    /// The file does not start as a region does.
    #[error("the descriptor is not a shared region (its first word is {0:#018x}): not used")]
    Magic(u64),
    /// The operating system refused a step.
    #[error(
        "could not {step} for the shared region ({size} bytes): {source}; check limits on memory and address space (ulimit -v, cgroup)"
    )]
    Os {
        /// What was tried.
        step: &'static str,
        /// Bytes concerned.
        size: usize,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl From<RegionError> for io::Error {
    fn from(error: RegionError) -> Self {
        let kind = match &error {
            RegionError::Os { source, .. } => source.kind(),
            RegionError::Layout(_) | RegionError::PageSize { .. } => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// A mapped region. Unmapped when the last user lets go, so parts of it are handed out as raw pointers whose user
/// keeps the `Arc<Region>`.
///
/// Nothing here reads or writes shared memory except through atomics; who follows the raw pointers must copy what
/// it reads (raw reads, each byte once) and must never form a reference to it.
#[derive(Debug)]
pub struct Region {
    /// Start of all that is reserved, and how much: what drop unmaps.
    reserved: NonNull<u8>,
    reserved_len: usize,
    /// Start of the region inside, aligned to the region's page size.
    base: NonNull<u8>,
    layout: Layout,
    control: Control,
    /// The side that made the region keeps the file, to punch pages out.
    file: Option<Descriptor>,
    /// Where the region starts in it, in bytes.
    file_offset: u64,
    /// It is mapped from a device.
    on_device: bool,
    /// Keeps it like the other side's region, where they share no pages.
    mirror: OnceLock<Arc<Mirror>>,
}

// SAFETY: the fields are plain addresses of a mapping that stays until drop and a descriptor; the only memory that
// safe methods touch is `Control`, which consists of atomics.
unsafe impl Send for Region {}
// SAFETY: as for Send; no method changes the fields.
unsafe impl Sync for Region {}

impl Region {
    /// Makes a region: a memfd that can neither shrink nor grow, mapped. Returns also the descriptor for the other
    /// side. All bytes are 0 but the magic.
    ///
    /// # Errors
    /// [`RegionError`]: the sizes do not fit, or the system has no memory or descriptors left.
    pub fn create(limits: &Limits) -> Result<(Self, OwnedFd), RegionError> {
        let layout = Layout::new(limits)?;
        let size = layout.total_size();
        let os = |step| move |e: Errno| RegionError::Os { step, size, source: e.into() };
        let file = memfd("vw-region").map_err(os("create a memfd"))?;
        rustix::fs::ftruncate(&file, size as u64).map_err(os("set the size of the memfd"))?;
        rustix::fs::fcntl_add_seals(&file, SEALS).map_err(os("seal the memfd"))?;
        let for_peer = rustix::io::fcntl_dupfd_cloexec(&file, 3).map_err(os("duplicate the descriptor"))?;
        let mut region = Self::map(file.as_fd(), 0, &layout, false)?;
        region.control.page().magic.store(REGION_MAGIC, Ordering::Release);
        region.file = Some(Descriptor::new(file));
        Ok((region, for_peer))
    }

    /// Maps the region that the other side made. The descriptor is closed: the mapping suffices.
    ///
    /// # Errors
    /// [`RegionError`]: the file lacks the seals, has another size than `layout` says, or cannot be mapped.
    pub fn attach(fd: OwnedFd, layout: &Layout) -> Result<Self, RegionError> {
        let size = layout.total_size();
        let os = |step| move |e: Errno| RegionError::Os { step, size, source: e.into() };
        let found = match rustix::fs::fcntl_get_seals(&fd) {
            // Not a memfd at all.
            Err(Errno::INVAL) => SealFlags::empty(),
            other => other.map_err(os("read the seals"))?,
        };
        if !found.contains(SEALS) {
            return Err(RegionError::NotSealed { found });
        }
        let stat = rustix::fs::fstat(&fd).map_err(os("read the size"))?;
        // No `try_from` trouble: a file's size is never negative.
        if stat.st_size as u64 != size as u64 {
            return Err(RegionError::Size { found: stat.st_size as u64, expected: size as u64 });
        }
        let region = Self::map(fd.as_fd(), 0, layout, false)?;
        // A descriptor less in a process that is not ours.
        drop(fd);
        match region.control.page().magic.load(Ordering::Acquire) {
            REGION_MAGIC => Ok(region),
            other => Err(RegionError::Magic(other)),
        }
    }

    /// Maps a slice of a device's memory, which is all 0, and writes the proof that it is this one.
    ///
    /// # Errors
    /// [`RegionError`]: the slice is smaller than the region, or cannot be mapped.
    pub fn of_slice(slice: Slice, layout: &Layout) -> Result<(Self, (Half, Half)), RegionError> {
        let size = layout.total_size();
        if slice.length < size as u64 {
            return Err(RegionError::Size { found: slice.length, expected: size as u64 });
        }
        let words = random::<32>().map_err(|e| RegionError::Os {
            step: "get random numbers",
            size: 32,
            source: e.into(),
        })?;
        let mut region = Self::map(slice.file.as_fd(), slice.offset, layout, false)?;
        region.file = Some(Descriptor::new(slice.file));
        region.file_offset = slice.offset;
        let page = region.control.page();
        for (to, word) in page.proof.iter().zip(bytemuck::cast::<_, [u64; 4]>(words)) {
            to.store(word, Ordering::Relaxed);
        }
        page.magic.store(REGION_MAGIC, Ordering::Release);
        let proof = region.proof();
        Ok((region, proof))
    }

    /// Maps the part of a device from `offset` on. `weak`: what is written to it may be seen in another order. Nothing is
    /// written here.
    ///
    /// # Errors
    /// [`RegionError`] when it cannot be mapped.
    pub(crate) fn in_device(
        device: BorrowedFd<'_>,
        offset: u64,
        layout: &Layout,
        weak: bool,
    ) -> Result<Self, RegionError> {
        let mut region = Self::map(device, offset, layout, weak)?;
        region.on_device = true;
        Ok(region)
    }

    /// What stands where the host writes its proof.
    pub(crate) fn proof(&self) -> (Half, Half) {
        let words: [u64; 4] = std::array::from_fn(|i| self.control.page().proof[i].load(Ordering::Relaxed));
        ([words[0], words[1]].into(), [words[2], words[3]].into())
    }

    /// Reserves address space and maps the parts of `fd` from `file_offset` on into it: control and ring, the ring again, the
    /// rest.
    fn map(fd: BorrowedFd<'_>, file_offset: u64, layout: &Layout, weak: bool) -> Result<Self, RegionError> {
        let system = system_page_size();
        let page = layout.page_size();
        if !(page as u64).is_multiple_of(system) {
            return Err(RegionError::PageSize { region: page, system });
        }
        // More than needed, so that the base can be aligned to pages larger than this machine's.
        let granule = layout.granule();
        let reserved_len = layout.mapped_size() + granule;
        let os = |step, size| move |e: Errno| RegionError::Os { step, size, source: e.into() };
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let reserved = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                reserved_len,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }
        .map_err(os("reserve address space", reserved_len))?;
        let reserved = NonNull::new(reserved.cast::<u8>())
            .ok_or_else(|| os("reserve address space", reserved_len)(Errno::NOMEM))?;
        let skip = reserved.as_ptr().align_offset(granule);
        // SAFETY: `align_offset` of a power of two on bytes is below `granule`, and that much was reserved beyond what
        // is mapped.
        let base = unsafe { reserved.add(skip) };
        // From here on drop unmaps what was reserved, whatever fails.
        // SAFETY: the region starts with a control page, page-aligned, which is mapped below or never used.
        let control = unsafe { Control::new(base, weak) };
        let region = Self {
            reserved,
            reserved_len,
            base,
            layout: *layout,
            control,
            file: None,
            file_offset,
            on_device: false,
            mirror: OnceLock::new(),
        };

        let ring_end = layout.reply_offset();
        let parts = [
            ("map the control page and the ring", 0, 0, ring_end),
            ("map the ring a second time", ring_end, layout.ring_offset(), layout.ring_size()),
            (
                "map replies, arena and window",
                ring_end + layout.ring_size(),
                ring_end,
                layout.total_size() - ring_end,
            ),
        ];
        for (step, at, offset, len) in parts {
            // SAFETY: `at + len` lies within the reserved range by the layout's arithmetic, so that MAP_FIXED
            // replaces only pages reserved above, which nobody uses yet.
            unsafe {
                rustix::mm::mmap(
                    base.as_ptr().add(at).cast(),
                    len,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED | MapFlags::FIXED | MapFlags::NORESERVE,
                    fd,
                    file_offset + offset as u64,
                )
            }
            .map_err(os(step, len))?;
        }
        Ok(region)
    }

    /// Whether pages of it can be mapped a second time ([`pages::alias`](crate::pages::alias)): a device maps as it likes, and
    /// a mirror does not notice what is written elsewhere.
    pub fn can_alias(&self) -> bool {
        !self.on_device && self.mirror().is_none()
    }

    /// Where the parts stand.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The control page.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The ring: its start and size; the same bytes follow once more.
    pub fn ring(&self) -> (NonNull<u8>, usize) {
        (self.at(self.layout.ring_offset()), self.layout.ring_size())
    }

    /// The reply area.
    pub fn reply(&self) -> (NonNull<u8>, usize) {
        (self.at(self.layout.ring_size() + self.layout.reply_offset()), self.layout.reply_size())
    }

    /// The command arena.
    pub fn arena(&self) -> (NonNull<u8>, usize) {
        (self.at(self.layout.ring_size() + self.layout.arena_offset()), self.layout.arena_size())
    }

    /// The window of host-visible memory, aligned to the region's page size.
    pub fn window(&self) -> (NonNull<u8>, usize) {
        (self.at(self.layout.ring_size() + self.layout.window_offset()), self.layout.window_size())
    }

    /// A place in the mapping, at most at its end.
    fn at(&self, mapped_offset: usize) -> NonNull<u8> {
        debug_assert!(mapped_offset <= self.layout.mapped_size());
        // SAFETY: the callers' offsets are sums of the layout's parts, so they are at most the mapped size.
        unsafe { self.base.add(mapped_offset) }
    }

    /// Gives the pages of a part of the window back to the system; they read as 0 afterwards. `offset` (from the
    /// start of the window) and `len` are multiples of the region's page size. Only the side that made the region can.
    ///
    /// # Errors
    /// `InvalidInput` for a range that is not whole pages of the window, `Unsupported` on the attached side, or what
    /// the system says.
    pub fn punch(&self, offset: usize, len: usize) -> io::Result<()> {
        self.punch_here(offset, len)?;
        if let Some(mirror) = self.mirror() {
            mirror.punched(offset, len);
        }
        Ok(())
    }

    /// As [`punch`](Self::punch), without a word to the other side.
    pub(crate) fn punch_here(&self, offset: usize, len: usize) -> io::Result<()> {
        let page = self.layout.page_size();
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.layout.window_size());
        if !fits || !offset.is_multiple_of(page) || !len.is_multiple_of(page) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "cannot free {len} bytes at {offset} of the memory window: not whole pages of {page} inside {} bytes",
                    self.layout.window_size()
                ),
            ));
        }
        let Some(file) = self.file() else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "cannot free pages of the memory window: only the side that made the region has its file",
            ));
        };
        if len == 0 {
            return Ok(());
        }
        let at = self.file_offset + (self.layout.window_offset() + offset) as u64;
        rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, len as u64)?;
        Ok(())
    }

    /// What keeps this region like the other side's; none where both have the same pages.
    pub fn mirror(&self) -> Option<&Mirror> {
        self.mirror.get().map(|mirror| &**mirror)
    }

    /// The other side has a region of its own, which `mirror` keeps alike. To be called once, before anything is used.
    pub(crate) fn set_mirror(&self, mirror: Arc<Mirror>) {
        self.control.set_bell(mirror.clone());
        let _ = self.mirror.set(mirror);
    }

    /// The region's file, on the side that made it (to import its pages by descriptor); none where the program has closed it.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref()?.get()
    }

    /// The region's file and the place of the window in it, on the side that made the region.
    pub fn window_in_file(&self) -> Option<(BorrowedFd<'_>, u64)> {
        Some((self.file()?, self.file_offset + self.layout.window_offset() as u64))
    }

    /// The parts of a range of the window, from start to end, that have pages: others were never written. Where that is not
    /// known, all of it.
    pub(crate) fn existing(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let Some((file, window)) = self.window_in_file() else { return vec![(start, end)] };
        let mut parts = Vec::new();
        let mut at = start;
        while at < end {
            let Ok(data) = rustix::fs::seek(file, SeekFrom::Data(window + at)) else {
                // There are none behind it.
                return parts;
            };
            let from = (data - window).max(at);
            if from >= end {
                break;
            }
            let hole = rustix::fs::seek(file, SeekFrom::Hole(data)).map_or(end, |hole| hole - window);
            parts.push((from, hole.min(end)));
            at = hole;
        }
        parts
    }

    /// Bytes of the file that have pages now, on the side that made the region: what the session really holds.
    ///
    /// # Errors
    /// `Unsupported` on the attached side, or what the system says.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        let file = self.file().ok_or(io::ErrorKind::Unsupported)?;
        let blocks = rustix::fs::fstat(file)?.st_blocks;
        Ok(u64::try_from(blocks).unwrap_or(0) * 512)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the range is what `map` reserved, it is unmapped once, and who holds pointers into it holds the
        // region too (see the type's documentation).
        let unmapped = unsafe { rustix::mm::munmap(self.reserved.as_ptr().cast(), self.reserved_len) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// A memfd that can be sealed and never be run.
pub(crate) fn memfd(name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know the flag.
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
