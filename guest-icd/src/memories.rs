//! The allocations of a session, and the pages that they take.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ash::vk;
use vw_transport::mirror::Mirror;
use vw_transport::pages::{self, Mapping};
use vw_transport::{Region, SharedFile};
use vw_wire_protocol::record::{IN_FILE, NO_OFFSET, PROGRAM};

use crate::external_memory::Wish;
use crate::log;
use crate::map::Placed;
use crate::memory_report::Event;
use crate::recycled::{Kind, Recycled};
use crate::session::lock;
use crate::table::Table;
use crate::window::Window;

/// All memory of a session.
#[derive(Debug)]
pub(crate) struct Memories {
    /// Start of the window.
    base: NonNull<u8>,
    /// Page size in bytes.
    page: usize,
    window: Mutex<Window>,
    /// Bytes taken from each heap.
    used: [AtomicU64; vk::MAX_MEMORY_HEAPS],
    /// Ring position behind the last record that releases memory.
    pub(crate) released: AtomicU64,
    pub(crate) recycled: Recycled,
    table: Table<Arc<Memory>>,
    /// Where the host does not see the window: the region, which tells it.
    mirrored: Option<Arc<Region>>,
}

// SAFETY: `base` is only an address: of the mapping that the session keeps and that all threads may use.
unsafe impl Send for Memories {}
// SAFETY: as above.
unsafe impl Sync for Memories {}

/// One allocation.
#[derive(Debug)]
pub(crate) struct Memory {
    place: Place,
    /// Bytes asked for.
    size: u64,
    heap: usize,
    /// Whether the pages were there before.
    imported: bool,
    /// What it may stand for when it is freed.
    kind: Option<Kind>,
    /// Handle of the device, as an address.
    device: usize,
    /// Where the program has it mapped by its own choice.
    pub(crate) placed: Mutex<Option<Placed>>,
    /// Where the host or its device does not see the window: it knows that the program looks at this.
    pub(crate) shown: AtomicBool,
    /// There too: how often something was let go on the host before there was this memory ([`Mirror::settled`]); since then
    /// nothing can have written to it while that number is the same.
    pub(crate) fresh: u64,
    /// Ring position that the host must have read before the program writes there: behind the release of what the pages were
    /// before.
    pub(crate) after: u64,
}

/// Where the pages of an allocation are.
#[derive(Debug)]
enum Place {
    /// Where the guest does not see them.
    Hidden,
    /// In the window, from this offset on.
    Window(u64),
    /// In the window, and in the place of the program's own pages.
    Program { offset: u64, address: NonNull<u8> },
    /// In a file of their own.
    File(SharedFile),
    /// In a file of the host's driver.
    Driver(Mapping),
}

// SAFETY: the address is of pages of the program, which shares its memory between its threads itself.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Memory {
    /// Bytes asked for.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether the pages were there before.
    pub(crate) fn is_imported(&self) -> bool {
        self.imported
    }

    /// Handle of the device, as an address.
    pub(crate) fn device(&self) -> usize {
        self.device
    }

    /// Which allocations it may be handed out for again once it is freed.
    pub(crate) fn recyclable(&self) -> Option<Kind> {
        self.kind.filter(|_| matches!(self.place, Place::Hidden | Place::Window(_)))
    }

    /// An event in the life of the memory with this id.
    pub(crate) fn event(&self, id: u64, kind: vk::DeviceMemoryReportEventTypeEXT) -> Event {
        // A file is the same object in every process that imports it.
        let inode = self.file().and_then(|file| file.inode().ok());
        let object = inode.map_or(id << 1 | 1, |inode| inode << 1);
        Event { kind, object, size: self.size, memory: id, heap: self.heap as u32 }
    }

    /// The file that holds the pages, for memory that was exported or imported as one.
    pub(crate) fn file(&self) -> Option<&SharedFile> {
        match &self.place {
            Place::File(file) => Some(file),
            _ => None,
        }
    }

    /// The range of the window.
    pub(crate) fn offset(&self) -> Option<u64> {
        match self.place {
            Place::Window(offset) | Place::Program { offset, .. } => Some(offset),
            Place::Hidden | Place::File(_) | Place::Driver(_) => None,
        }
    }

    /// What stands in the record.
    pub(crate) fn on_wire(&self) -> u64 {
        match self.place {
            Place::Hidden | Place::Driver(_) => NO_OFFSET,
            Place::Window(offset) => offset,
            Place::Program { offset, .. } => offset | PROGRAM,
            Place::File(_) => IN_FILE,
        }
    }
}

impl Memories {
    /// A window of `size` bytes at `base`, in pages of `page` bytes, with nothing in it.
    pub(crate) fn new(base: NonNull<u8>, size: usize, page: usize) -> Self {
        Self {
            base,
            page,
            window: Mutex::new(Window::new(size as u64, page as u64)),
            used: std::array::from_fn(|_| AtomicU64::new(0)),
            released: AtomicU64::new(0),
            recycled: Recycled::default(),
            table: Table::default(),
            mirrored: None,
        }
    }

    /// The host sees other pages than the program; `region` has the window.
    pub(crate) fn mirror(&mut self, region: &Arc<Region>) {
        self.mirrored = region.mirror().is_some().then(|| Arc::clone(region));
    }

    /// What keeps the window alike on both sides, where they share no pages.
    fn in_mirror(&self) -> Option<&Mirror> {
        self.mirrored.as_ref()?.mirror()
    }

    /// Writes how many bytes of each heap are in use.
    pub(crate) fn usage(&self, usage: &mut [u64; vk::MAX_MEMORY_HEAPS]) {
        for (to, from) in usage.iter_mut().zip(&self.used) {
            *to = from.load(Ordering::Relaxed);
        }
    }

    /// A new allocation has this id.
    pub(crate) fn insert(&self, id: u64, memory: Arc<Memory>) {
        self.table.insert(id, memory);
    }

    /// Takes out the allocation with this id.
    pub(crate) fn remove(&self, id: u64) -> Option<Arc<Memory>> {
        self.table.remove(id)
    }

    /// Size of a page in bytes.
    pub(crate) fn page(&self) -> usize {
        self.page
    }

    /// A live allocation.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Memory>> {
        self.table.get(id)
    }

    /// Takes `size` bytes of a heap, and pages for them if the guest is to see them.
    pub(crate) fn take(
        &self,
        size: u64,
        heap: (usize, u64),
        visible: bool,
        wish: Wish,
        kind: Option<Kind>,
        device: usize,
    ) -> Result<Memory, vk::Result> {
        let none = vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
        self.enter_heap(heap, size)?;
        let heap = heap.0;
        let imported = matches!(wish, Wish::Pointer(_) | Wish::File(_, Some(_)));
        let place = match wish {
            Wish::Pages if !visible => Ok(Place::Hidden),
            Wish::Pointer(_) | Wish::File(..) if !visible => Err(none),
            Wish::Pages | Wish::Pointer(_) => self.take_range(size).map(Place::Window).ok_or(none),
            Wish::File(file, _) => Ok(Place::File(file)),
        };
        match place {
            Ok(place) => Ok(Memory {
                place,
                size,
                heap,
                imported,
                kind,
                device,
                placed: Mutex::default(),
                shown: AtomicBool::new(false),
                fresh: self.in_mirror().map_or(0, Mirror::settled),
                after: 0,
            }),
            Err(result) => {
                self.leave_heap(heap, size);
                Err(result)
            }
        }
    }

    /// Replaces pages of the program with the pages of the window that `memory` has; these get the same contents. The host
    /// must have taken all [releases](Session::await_releases) of them.
    pub(crate) fn replace(&self, memory: &mut Memory, address: NonNull<u8>) -> Result<(), vk::Result> {
        // Of two threads with the same pages one finds that they are shared already.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _one = lock(&ONE_AT_A_TIME);
        let invalid = vk::Result::ERROR_INVALID_EXTERNAL_HANDLE;
        let (Ok(length), Some(offset)) = (usize::try_from(memory.size), memory.offset()) else {
            return Err(invalid);
        };
        let aligned = address.addr().get().is_multiple_of(self.page);
        let whole = aligned && length > 0 && length.is_multiple_of(self.page);
        if !whole || !pages::are_private(address, length).unwrap_or(false) {
            return Err(invalid);
        }
        // SAFETY: the range is the memory's. The program's pages are readable, private, and by valid usage
        // (vkAllocateMemory, "Host External Memory") the driver's to share until the memory is freed.
        let replaced = unsafe {
            let window = self.base.add(offset as usize);
            window.copy_from_nonoverlapping(address, length);
            pages::alias(window, length, address)
        };
        if let Err(error) = replaced {
            log::error!("{length} bytes of the program cannot be shared: {error}");
            return Err(invalid);
        }
        memory.place = Place::Program { offset, address };
        Ok(())
    }

    /// Gives the program its own pages back; before the host is told that the memory is free. False if that fails: then
    /// the pages of the window stay in use.
    pub(crate) fn restore(&self, memory: &Memory) -> bool {
        let Place::Program { address, .. } = memory.place else { return true };
        // SAFETY: the pages were put there by `replace`, and by valid usage of `vkFreeMemory` no device uses them.
        let restored = unsafe { pages::detach(address, memory.size as usize) };
        if let Err(error) = &restored {
            log::error!("{} bytes of the program stay shared: {error}", memory.size);
        }
        restored.is_ok()
    }

    /// The pages are the driver's: those of the window are free again.
    pub(crate) fn replace_window(&self, memory: &mut Memory, mapping: Mapping) {
        self.free_pages(memory);
        memory.place = Place::Driver(mapping);
    }

    /// Counts `size` bytes of a heap, given by its index and size.
    pub(crate) fn enter_heap(&self, (heap, heap_size): (usize, u64), size: u64) -> Result<(), vk::Result> {
        let none = vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
        let fits = |used: u64| used.checked_add(size).filter(|total| *total <= heap_size);
        let used = self.used.get(heap).ok_or(none)?;
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map(|_| ()).map_err(|_| none)
    }

    /// Undoes [`Memories::enter_heap`].
    pub(crate) fn leave_heap(&self, heap: usize, size: u64) {
        if let Some(used) = self.used.get(heap) {
            used.fetch_sub(size, Ordering::Relaxed);
        }
    }

    /// A freed allocation is kept: the program has it no more.
    pub(crate) fn leave_heap_of(&self, memory: &Memory) {
        self.leave_heap(memory.heap, memory.size);
    }

    /// Takes `bytes` of the window.
    pub(crate) fn take_range(&self, bytes: u64) -> Option<u64> {
        lock(&self.window).allocate(bytes)
    }

    /// Gives back what [`Memories::take_range`] returned for `bytes`.
    pub(crate) fn free_range(&self, offset: u64, bytes: u64) {
        lock(&self.window).free(offset, bytes);
    }

    /// Where what the window allocates at this offset is in this process.
    pub(crate) fn in_window(&self, offset: u64) -> NonNull<u8> {
        // SAFETY: what the window allocates lies in it.
        unsafe { self.base.add(offset as usize) }
    }

    /// The pages of an allocation are free.
    pub(crate) fn free_pages(&self, memory: &Memory) {
        if let Some(offset) = memory.offset() {
            if let Some(mirror) = self.in_mirror() {
                mirror.hide(offset, memory.size);
            }
            self.free_range(offset, memory.size);
        }
    }

    /// Undoes [`Memories::take`].
    pub(crate) fn give_back(&self, memory: &Memory) {
        self.free_pages(memory);
        self.leave_heap_of(memory);
    }

    /// Takes out what a device leaves behind that is being destroyed: ids, and what is to be given
    /// [back](Self::forget) once the host knows of the destruction.
    pub(crate) fn orphans(&self, device: usize) -> Vec<(u64, Arc<Memory>)> {
        let mut orphans = self.table.remove_all(|memory| memory.device == device);
        orphans.retain(|(_, memory)| self.restore(memory));
        orphans
    }

    /// Gives back what [`Memories::orphans`] took out.
    pub(crate) fn forget(&self, orphans: &[(u64, Arc<Memory>)]) {
        for (_, memory) in orphans {
            self.give_back(memory);
        }
    }

    /// Where `offset` of the memory is in this process.
    pub(crate) fn address(&self, memory: &Memory, offset: u64) -> Option<NonNull<u8>> {
        if offset > memory.size {
            return None;
        }
        let start = match &memory.place {
            Place::Hidden => return None,
            Place::Window(offset) => self.in_window(*offset),
            Place::Program { address, .. } => *address,
            Place::File(file) => file.base(),
            Place::Driver(mapping) => mapping.base(),
        };
        // SAFETY: `offset` is at most the allocation's size.
        Some(unsafe { start.add(offset as usize) })
    }

    /// How many bytes follow `offset` up to the end of the last page.
    pub(crate) fn rest(&self, memory: &Memory, offset: u64) -> u64 {
        memory.size.next_multiple_of(self.page as u64).saturating_sub(offset)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn memory_when_heap_or_window_is_full_is_refused_and_comes_back() {
        let memories = Memories::new(NonNull::dangling(), 8192, 4096);
        let take = |size, heap, heap_size, visible| {
            memories.take(size, (heap, heap_size), visible, Wish::Pages, None, 1).ok()
        };
        assert!(take(8193, 0, 8192, false).is_none());
        assert!(take(4096, 99, 8192, false).is_none());
        let hidden = take(8192, 0, 8192, false).unwrap();
        assert_eq!(hidden.offset(), None);
        let seen = take(8192, 1, 1 << 20, true).unwrap();
        assert_eq!(seen.offset(), Some(0));
        assert!(take(1, 1, 1 << 20, true).is_none(), "the window is full");
        let mut usage = [0; vk::MAX_MEMORY_HEAPS];
        memories.usage(&mut usage);
        assert_eq!(usage[..3], [8192, 8192, 0]);
        memories.give_back(&seen);
        memories.give_back(&hidden);
        memories.usage(&mut usage);
        assert_eq!(usage[..2], [0, 0]);
        assert!(take(8192, 1, 1 << 20, true).is_some());
    }

    #[test]
    fn memory_when_its_device_goes_comes_back() {
        let memories = Memories::new(NonNull::dangling(), 8192, 4096);
        for (id, device) in [(1, 7), (2, 8)] {
            let memory = memories.take(4096, (0, 8192), true, Wish::Pages, None, device).unwrap();
            memories.table.insert(id, Arc::new(memory));
        }
        let orphans = memories.orphans(7);
        assert_eq!(orphans.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1]);
        assert!(memories.take(4096, (0, 8192), true, Wish::Pages, None, 8).is_err());
        memories.forget(&orphans);
        assert!(memories.take(4096, (0, 8192), true, Wish::Pages, None, 8).is_ok());
        assert!(memories.get(1).is_none() && memories.get(2).is_some());
    }

    #[test]
    fn program_pages_when_imported_twice_or_not_whole_are_refused() {
        let file = SharedFile::create(1 << 16).unwrap();
        let memories = Memories::new(file.base(), 1 << 16, 4096);
        let mut own = vec![5u8; 4 * 4096];
        let start = own.as_ptr().align_offset(4096);
        let address = NonNull::from(&mut own[start]);
        let take = |size| {
            let mut memory = memories.take(size, (0, 1 << 20), true, Wish::Pointer(address), None, 1)?;
            let replaced = memories.replace(&mut memory, address);
            replaced.inspect_err(|_| memories.give_back(&memory)).map(|()| memory)
        };
        let memory = take(8192).unwrap();
        // SAFETY: the page is shared, and used by this thread alone.
        unsafe {
            assert_eq!(file.base().read(), 5);
            address.write(6);
            assert_eq!(file.base().read(), 6);
        }
        for size in [0, 4095, 4096] {
            assert_eq!(take(size).unwrap_err(), vk::Result::ERROR_INVALID_EXTERNAL_HANDLE, "{size}");
        }
        assert!(memories.restore(&memory));
        memories.give_back(&memory);
        // SAFETY: as above.
        unsafe {
            file.base().write(7);
            assert_eq!(address.read(), 6);
        }
        assert!(memories.restore(&take(4096).unwrap()));
    }
}
