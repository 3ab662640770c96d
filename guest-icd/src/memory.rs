//! `VkDeviceMemory`.
//!
//! Memory that the guest sees is a range of the session's window, which the host imports: mapping is a pointer
//! and nothing is ever copied. What others see too is in `external_memory.rs`.

use std::ffi::c_void;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ash::vk;
use vw_transport::SharedFile;
use vw_transport::pages::{self, Mapping};
use vw_wire_protocol::codec::{DecodeError, decode_reply, encode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{IN_FILE, NO_FILE, NO_OFFSET, PROGRAM, op};

use crate::alloc::HostAllocator;
use crate::device;
use crate::dispatch;
use crate::external_memory::{self, Wish};
use crate::forward;
use crate::log;
use crate::map::{self, Placed};
use crate::memory_report::{Event, Reports};
use crate::recycled::{Kind, Recycled};
use crate::session::{Session, lock};
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

    /// Handle of the device, as an address.
    pub(crate) fn device(&self) -> usize {
        self.device
    }

    /// Which allocations it may be handed out for again once it is freed.
    pub(crate) fn recyclable(&self) -> Option<Kind> {
        self.kind.filter(|_| matches!(self.place, Place::Hidden | Place::Window(_)))
    }

    /// An event in the life of the memory with this id.
    fn event(&self, id: u64, kind: vk::DeviceMemoryReportEventTypeEXT) -> Event {
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
    fn offset(&self) -> Option<u64> {
        match self.place {
            Place::Window(offset) | Place::Program { offset, .. } => Some(offset),
            Place::Hidden | Place::File(_) | Place::Driver(_) => None,
        }
    }

    /// What stands in the record.
    fn on_wire(&self) -> u64 {
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
        }
    }

    /// Writes how many bytes of each heap are in use.
    pub(crate) fn usage(&self, usage: &mut [u64; vk::MAX_MEMORY_HEAPS]) {
        for (to, from) in usage.iter_mut().zip(&self.used) {
            *to = from.load(Ordering::Relaxed);
        }
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
            Ok(place) => Ok(Memory { place, size, heap, imported, kind, device, placed: Mutex::default() }),
            Err(result) => {
                self.leave_heap(heap, size);
                Err(result)
            }
        }
    }

    /// Replaces pages of the program with the pages of the window that `memory` has; these get the same contents. The host
    /// must have taken all [releases](Session::await_releases) of them.
    fn replace(&self, memory: &mut Memory, address: NonNull<u8>) -> Result<(), vk::Result> {
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
    fn restore(&self, memory: &Memory) -> bool {
        let Place::Program { address, .. } = memory.place else { return true };
        // SAFETY: the pages were put there by `replace`, and by valid usage of `vkFreeMemory` no device uses them.
        let restored = unsafe { pages::detach(address, memory.size as usize) };
        if let Err(error) = &restored {
            log::error!("{} bytes of the program stay shared: {error}", memory.size);
        }
        restored.is_ok()
    }

    /// The pages are the driver's: those of the window are free again.
    fn replace_window(&self, memory: &mut Memory, mapping: Mapping) {
        self.free_pages(memory);
        memory.place = Place::Driver(mapping);
    }

    /// Counts `size` bytes of a heap, given by its index and size.
    fn enter_heap(&self, (heap, heap_size): (usize, u64), size: u64) -> Result<(), vk::Result> {
        let none = vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
        let fits = |used: u64| used.checked_add(size).filter(|total| *total <= heap_size);
        let used = self.used.get(heap).ok_or(none)?;
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map(|_| ()).map_err(|_| none)
    }

    fn leave_heap(&self, heap: usize, size: u64) {
        if let Some(used) = self.used.get(heap) {
            used.fetch_sub(size, Ordering::Relaxed);
        }
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
            self.free_range(offset, memory.size);
        }
    }

    fn give_back(&self, memory: &Memory) {
        self.free_pages(memory);
        self.leave_heap(memory.heap, memory.size);
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

/// `vkAllocateMemory`
pub(crate) unsafe extern "system" fn vkAllocateMemory(
    device: *mut c_void,
    info: *const vk::MemoryAllocateInfo<'_>,
    callbacks: *const c_void,
    memory: *mut u64,
) -> i32 {
    let lost = vk::Result::ERROR_DEVICE_LOST;
    let args = [device as u64, info as u64, callbacks as u64, memory as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        forward::guard(device, lost, || {
            let Some(session) = dispatch::session(device) else { return lost };
            memory.write(0);
            let allocator = device::allocator(device, callbacks);
            let mut result = allocate(session, &*info, allocator, &args, memory);
            let refused = [vk::Result::ERROR_OUT_OF_DEVICE_MEMORY, vk::Result::ERROR_OUT_OF_HOST_MEMORY];
            if refused.contains(&result) && session.trim_memory(None) {
                result = allocate(session, &*info, allocator, &args, memory);
            }
            if let Some(reports) = device::reports(device) {
                report(reports, session, &*info, *memory, result);
            }
            result
        })
    }
    .as_raw()
}

/// Tells the program of an allocation, or that there is none.
fn report(
    reports: &Reports,
    session: &Session,
    info: &vk::MemoryAllocateInfo<'_>,
    id: u64,
    result: vk::Result,
) {
    use vk::DeviceMemoryReportEventTypeEXT as Kind;
    let event = match session.memories.get(id) {
        Some(memory) if result == vk::Result::SUCCESS => {
            memory.event(id, if memory.imported { Kind::IMPORT } else { Kind::ALLOCATE })
        }
        _ => {
            let types = session.facts().map(|known| known.memory.memory_types);
            let ty = types.and_then(|types| types.get(info.memory_type_index as usize).copied());
            let heap = ty.map_or(0, |ty| ty.heap_index);
            Event { kind: Kind::ALLOCATION_FAILED, object: 0, size: info.allocation_size, memory: 0, heap }
        }
    };
    reports.send(event);
}

/// As `vkAllocateMemory`.
unsafe fn allocate(
    session: &Session,
    info: &vk::MemoryAllocateInfo<'_>,
    allocator: HostAllocator,
    args: &[u64],
    out: *mut u64,
) -> vk::Result {
    let (no_host_memory, no_memory) =
        (vk::Result::ERROR_OUT_OF_HOST_MEMORY, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
    let Some(properties) = session.facts().map(|known| &known.memory) else { return no_host_memory };
    let types = &properties.memory_types[..properties.memory_type_count as usize];
    let Some(kind) = types.get(info.memory_type_index as usize) else { return no_memory };
    let visible = kind.property_flags.contains(vk::MemoryPropertyFlags::HOST_VISIBLE);
    let heap = kind.heap_index as usize;
    let heap = (heap, properties.memory_heaps.get(heap).map_or(0, |heap| heap.size));
    // SAFETY: the caller's promise.
    let recyclable = unsafe { Kind::of(info) }.filter(|_| session.perf.recycle);
    if let Some(kind) = recyclable
        && session.memories.enter_heap(heap, info.allocation_size).is_ok()
    {
        match session.reuse_memory(args[0] as usize, info.allocation_size, kind, allocator) {
            Ok(Some((id, memory))) => {
                // SAFETY: the caller's promise.
                unsafe { out.write(id) };
                session.memories.table.insert(id, memory);
                return vk::Result::SUCCESS;
            }
            reused => {
                session.memories.leave_heap(heap.0, info.allocation_size);
                if let Err(result) = reused {
                    return result;
                }
            }
        }
    }
    // SAFETY: the caller's promise.
    let wish = match unsafe { Wish::of(info, session.memories.page) } {
        Ok(wish) => wish,
        Err(result) => return result,
    };
    let (pointer, given) = match &wish {
        Wish::Pages => (None, None),
        Wish::Pointer(address) => (Some(*address), None),
        Wish::File(_, given) => (None, *given),
    };
    let taken =
        session.memories.take(info.allocation_size, heap, visible, wish, recyclable, args[0] as usize);
    let mut state = match taken {
        Ok(state) => state,
        Err(result) => return result,
    };
    let cmd = &commands::VK_ALLOCATE_MEMORY;
    let size = info.allocation_size;
    let give_back = |state: &Memory| {
        if session.memories.restore(state) {
            session.memories.give_back(state);
        }
    };
    if let Some(address) = pointer {
        session.await_releases();
        if let Err(result) = session.memories.replace(&mut state, address) {
            give_back(&state);
            return result;
        }
    }
    let Some(id) = session.allocate_id(HandleType::DeviceMemory, allocator) else {
        give_back(&state);
        return no_host_memory;
    };
    // SAFETY: the caller's promise.
    let called = unsafe {
        out.write(id);
        session.call_with(
            state.file().map(AsFd::as_fd),
            op::ALLOCATE_MEMORY,
            &|w| {
                w.put_u64(state.on_wire());
                encode_request(cmd, args, w);
            },
            |r| {
                let ret = decode_reply(cmd, args, r)?;
                let (file, offset, new) = (r.take_u64()?, r.take_u64()?, r.take_u32()? != 0);
                // Before another call, whose answer may bring a descriptor too.
                let mapping = (file != NO_FILE).then(|| session.map_file(file, offset, size, new));
                Ok::<_, DecodeError>((vk::Result::from_raw(ret as i32), mapping))
            },
        )
    };
    let (mut result, mapping) = called.unwrap_or_else(|failure| (failure.result(), None));
    match mapping {
        Some(Ok(mapping)) => session.memories.replace_window(&mut state, mapping),
        Some(Err(error)) => {
            log::error!("{size} bytes of the host's driver cannot be mapped: {error}");
            // SAFETY: the memory was made with this device, and is known to nobody.
            let _ = unsafe {
                session.send(commands::VK_FREE_MEMORY.opcode, &|w| {
                    encode_request(&commands::VK_FREE_MEMORY, &[args[0], id, 0], w);
                })
            };
            result = vk::Result::ERROR_OUT_OF_HOST_MEMORY;
        }
        None => {}
    }
    // SAFETY: the caller's promise.
    if result.as_raw() < 0 || unsafe { out.read() } != id {
        // SAFETY: as above.
        unsafe { out.write(0) };
        give_back(&state);
        session.free_id(HandleType::DeviceMemory, id);
        return if result.as_raw() < 0 { result } else { no_memory };
    }
    if let Some(fd) = given {
        // SAFETY: the application gave it away with a successful import ("File Descriptor External Memory").
        unsafe { external_memory::take_over(fd) };
    }
    session.memories.table.insert(id, Arc::new(state));
    result
}

/// `vkFreeMemory`
pub(crate) unsafe extern "system" fn vkFreeMemory(
    device: *mut c_void,
    memory: u64,
    callbacks: *const c_void,
) {
    let args = [device as u64, memory, callbacks as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(session) = dispatch::session(device) else { return };
        let state = session.memories.table.remove(memory);
        if let Some(state) = &state {
            // The command has no result; the log has the reason.
            let _ = map::displace(state, false);
            if let Some(reports) = device::reports(device) {
                use vk::DeviceMemoryReportEventTypeEXT as Kind;
                reports.send(state.event(memory, if state.imported { Kind::UNIMPORT } else { Kind::FREE }));
            }
        }
        if let Some(state) = state.as_ref().filter(|state| state.recyclable().is_some()) {
            session.memories.leave_heap(state.heap, state.size);
            session.free_backing(HandleType::DeviceMemory, memory);
            session.keep_memory(memory, Arc::clone(state));
            return;
        }
        let restored = state.as_ref().is_none_or(|state| session.memories.restore(state));
        forward::destroy(device, &commands::VK_FREE_MEMORY, &args, memory, HandleType::DeviceMemory);
        if let Some(state) = state {
            session.note_release();
            if restored {
                // A new allocation there comes later in the ring than the release.
                session.memories.give_back(&state);
            }
            // Freed pages go back to the system soon, even if the program sends nothing more.
            session.flush();
        }
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
