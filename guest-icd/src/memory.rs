//! `VkDeviceMemory`.
//!
//! Memory that the guest sees is a range of the session's window, which the host imports: mapping is a pointer
//! and nothing is ever copied.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::codec::{decode_reply, encode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{NO_OFFSET, op};

use crate::dispatch;
use crate::failure::Failure;
use crate::forward;
use crate::session::{Session, lock};
use crate::table::Table;
use crate::window::Window;

/// All memory of a session.
#[derive(Debug)]
pub(crate) struct Memories {
    /// Start of the window.
    base: NonNull<u8>,
    window: Mutex<Window>,
    /// Bytes taken from each heap.
    used: [AtomicU64; vk::MAX_MEMORY_HEAPS],
    table: Table<Memory>,
}

// SAFETY: `base` is only an address: of the mapping that the session keeps and that all threads may use.
unsafe impl Send for Memories {}
// SAFETY: as above.
unsafe impl Sync for Memories {}

/// One allocation.
#[derive(Debug)]
struct Memory {
    /// Where in the window; none if the guest does not see it.
    offset: Option<u64>,
    /// Bytes asked for.
    size: u64,
    heap: usize,
}

impl Memories {
    /// A window of `size` bytes at `base`, in pages of `page` bytes, with nothing in it.
    pub(crate) fn new(base: NonNull<u8>, size: usize, page: usize) -> Self {
        Self {
            base,
            window: Mutex::new(Window::new(size as u64, page as u64)),
            used: std::array::from_fn(|_| AtomicU64::new(0)),
            table: Table::default(),
        }
    }

    /// Writes how many bytes of each heap are in use.
    pub(crate) fn usage(&self, usage: &mut [u64; vk::MAX_MEMORY_HEAPS]) {
        for (to, from) in usage.iter_mut().zip(&self.used) {
            *to = from.load(Ordering::Relaxed);
        }
    }

    /// Takes `size` bytes of a heap, and of the window if the guest is to see them.
    fn take(&self, size: u64, heap: usize, heap_size: u64, visible: bool) -> Option<Memory> {
        let used = self.used.get(heap)?;
        let fits = |used: u64| used.checked_add(size).filter(|total| *total <= heap_size);
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        let offset = if visible { lock(&self.window).allocate(size) } else { None };
        if visible && offset.is_none() {
            used.fetch_sub(size, Ordering::Relaxed);
            return None;
        }
        Some(Memory { offset, size, heap })
    }

    fn give_back(&self, memory: &Memory) {
        if let Some(offset) = memory.offset {
            lock(&self.window).free(offset, memory.size);
        }
        if let Some(used) = self.used.get(memory.heap) {
            used.fetch_sub(memory.size, Ordering::Relaxed);
        }
    }

    /// Takes `bytes` of the window for as long as a call lasts: their offset, and where they are in this process.
    pub(crate) fn borrow(&self, bytes: u64) -> Option<(u64, *mut u8)> {
        let offset = lock(&self.window).allocate(bytes)?;
        // SAFETY: what the window allocates lies in it.
        Some((offset, unsafe { self.base.as_ptr().add(offset as usize) }))
    }

    /// Gives back what [`Memories::borrow`] returned for `bytes`.
    pub(crate) fn take_back(&self, offset: u64, bytes: u64) {
        lock(&self.window).free(offset, bytes);
    }

    /// Where `offset` of the memory is in this process.
    fn address(&self, id: u64, offset: u64) -> Option<*mut c_void> {
        let memory = self.table.get(id)?;
        let start = memory.offset?;
        if offset > memory.size {
            return None;
        }
        // SAFETY: the range lies in the window, and `offset` in the range.
        Some(unsafe { self.base.as_ptr().add((start + offset) as usize) }.cast())
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
            allocate(session, &*info, &args, memory)
        })
    }
    .as_raw()
}

/// As `vkAllocateMemory`.
unsafe fn allocate(
    session: &Session,
    info: &vk::MemoryAllocateInfo<'_>,
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
    let heap_size = properties.memory_heaps.get(heap).map_or(0, |heap| heap.size);
    let Some(state) = session.memories.take(info.allocation_size, heap, heap_size, visible) else {
        return no_memory;
    };
    let Some(id) = session.allocate_id(HandleType::DeviceMemory) else {
        session.memories.give_back(&state);
        return no_host_memory;
    };
    let offset = state.offset.unwrap_or(NO_OFFSET);
    let cmd = &commands::VK_ALLOCATE_MEMORY;
    // SAFETY: the caller's promise.
    let called = unsafe {
        out.write(id);
        session.call(
            op::ALLOCATE_MEMORY,
            &|w| {
                w.put_u64(offset);
                encode_request(cmd, args, w);
            },
            |r| decode_reply(cmd, args, r),
        )
    };
    let result = called.map_or_else(Failure::result, |ret| vk::Result::from_raw(ret as i32));
    // SAFETY: the caller's promise.
    if result.as_raw() < 0 || unsafe { out.read() } != id {
        // SAFETY: as above.
        unsafe { out.write(0) };
        session.memories.give_back(&state);
        session.free_id(HandleType::DeviceMemory, id);
        return if result.as_raw() < 0 { result } else { no_memory };
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
        forward::destroy(device, &commands::VK_FREE_MEMORY, &args, memory, HandleType::DeviceMemory);
        if let Some(state) = state {
            // A new allocation there comes later in the ring than the release.
            session.memories.give_back(&state);
            // Freed pages go back to the system soon, even if the program sends nothing more.
            session.flush();
        }
    }
}

/// `vkMapMemory`
pub(crate) unsafe extern "system" fn vkMapMemory(
    device: *mut c_void,
    memory: u64,
    offset: u64,
    _size: u64,
    _flags: u32,
    data: *mut *mut c_void,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(session) = dispatch::session(device) else { return vk::Result::ERROR_DEVICE_LOST.as_raw() };
        match session.memories.address(memory, offset) {
            Some(address) => {
                data.write(address);
                vk::Result::SUCCESS
            }
            None => vk::Result::ERROR_MEMORY_MAP_FAILED,
        }
    }
    .as_raw()
}

/// `vkMapMemory2`
pub(crate) unsafe extern "system" fn vkMapMemory2(
    device: *mut c_void,
    info: *const vk::MemoryMapInfoKHR<'_>,
    data: *mut *mut c_void,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let info = &*info;
        vkMapMemory(device, info.memory.as_raw(), info.offset, info.size, info.flags.as_raw(), data)
    }
}

/// `vkUnmapMemory`: the window stays mapped.
pub(crate) unsafe extern "system" fn vkUnmapMemory(_: *mut c_void, _: u64) {}

/// `vkUnmapMemory2`: the window stays mapped.
pub(crate) unsafe extern "system" fn vkUnmapMemory2(_: *mut c_void, _: *const c_void) -> i32 {
    vk::Result::SUCCESS.as_raw()
}

/// `vkFlushMappedMemoryRanges`: host and guest see the same pages.
pub(crate) unsafe extern "system" fn vkFlushMappedMemoryRanges(
    _: *mut c_void,
    _: u32,
    _: *const c_void,
) -> i32 {
    vk::Result::SUCCESS.as_raw()
}

/// `vkInvalidateMappedMemoryRanges`: host and guest see the same pages.
pub(crate) unsafe extern "system" fn vkInvalidateMappedMemoryRanges(
    _: *mut c_void,
    _: u32,
    _: *const c_void,
) -> i32 {
    vk::Result::SUCCESS.as_raw()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn memory_when_heap_or_window_is_full_is_refused_and_comes_back() {
        let memories = Memories::new(NonNull::dangling(), 8192, 4096);
        assert!(memories.take(8193, 0, 8192, false).is_none());
        assert!(memories.take(4096, 99, 8192, false).is_none());
        let hidden = memories.take(8192, 0, 8192, false).unwrap();
        assert_eq!(hidden.offset, None);
        let seen = memories.take(8192, 1, 1 << 20, true).unwrap();
        assert_eq!(seen.offset, Some(0));
        assert!(memories.take(1, 1, 1 << 20, true).is_none(), "the window is full");
        let mut usage = [0; vk::MAX_MEMORY_HEAPS];
        memories.usage(&mut usage);
        assert_eq!(usage[..3], [8192, 8192, 0]);
        memories.give_back(&seen);
        memories.give_back(&hidden);
        memories.usage(&mut usage);
        assert_eq!(usage[..2], [0, 0]);
        assert!(memories.take(8192, 1, 1 << 20, true).is_some());
    }
}
