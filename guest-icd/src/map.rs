//! Mapping of `VkDeviceMemory`: the pages are there all the time. Where the program wants them at an address of its own
//! (`VK_EXT_map_memory_placed`) they are mapped a second time.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use ash::vk;
use ash::vk::Handle as _;
use vw_transport::mirror::Mirror;
use vw_transport::pages;
use vw_wire_protocol::record::op;

use crate::chain;
use crate::dispatch;
use crate::failure::Failure;
use crate::log;
use crate::memories::Memory;
use crate::session::{Session, lock};

/// Pages at an address that the program has chosen.
#[derive(Debug)]
pub(crate) struct Placed {
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: only an address; what is there the program shares between its threads itself.
unsafe impl Send for Placed {}

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
        let known = session.memories.get(memory);
        let known = known.filter(|known| {
            session.await_read(known.after);
            session.show(memory, known).is_ok()
        });
        match known.and_then(|known| session.memories.address(&known, offset)) {
            Some(address) => {
                data.write(address.as_ptr().cast());
                vk::Result::SUCCESS
            }
            None => vk::Result::ERROR_MEMORY_MAP_FAILED,
        }
    }
    .as_raw()
}

impl Session {
    /// Before the program looks at memory: where the host, or its device, sees other pages, has them kept alike from now on.
    pub(crate) fn show(&self, id: u64, memory: &Memory) -> Result<(), vk::Result> {
        let Some(offset) = memory.offset().filter(|_| self.copied || self.region().mirror().is_some()) else {
            return Ok(());
        };
        if memory.shown.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        if let Some(mirror) = self.region().mirror() {
            mirror.show(offset, memory.size());
            if !self.copied && self.show_fresh(id, memory, mirror).map_err(Failure::result)? {
                return Ok(());
            }
        }
        let result = self.call(op::SHOW_MEMORY, &|w| w.put_u64(id), |reader| {
            reader.take_u32().map(|result| vk::Result::from_raw(result.cast_signed()))
        });
        match result.map_err(Failure::result)? {
            vk::Result::SUCCESS => Ok(()),
            error => {
                memory.shown.store(false, Ordering::Release);
                Err(error)
            }
        }
    }

    /// Does so without a call, if nothing can have written to the memory yet.
    fn show_fresh(&self, id: u64, memory: &Memory, mirror: &Mirror) -> Result<bool, Failure> {
        self.with_sender(|sender| {
            // What others submit comes behind the record while the sender is held.
            let fresh = mirror.settled() == memory.fresh;
            if fresh {
                sender.push(op::SHOW_MEMORY, &|w| w.put_u64(id))?;
            }
            Ok(fresh)
        })
    }
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
        if !info.flags.contains(vk::MemoryMapFlags::PLACED_EXT) {
            return vkMapMemory(device, info.memory.as_raw(), info.offset, info.size, 0, data);
        }
        let Some(session) = dispatch::session(device) else { return vk::Result::ERROR_DEVICE_LOST.as_raw() };
        match place(session, info) {
            Some(address) => {
                data.write(address.as_ptr().cast());
                vk::Result::SUCCESS
            }
            None => vk::Result::ERROR_MEMORY_MAP_FAILED,
        }
    }
    .as_raw()
}

/// Maps memory where the program wants it.
///
/// # Safety
/// `info` must be valid for `vkMapMemory2`.
unsafe fn place(session: &Session, info: &vk::MemoryMapInfoKHR<'_>) -> Option<NonNull<u8>> {
    // SAFETY: the caller's promise.
    let wish = unsafe { chain::find::<vk::MemoryMapPlacedInfoEXT<'_>>(info.p_next).as_ref() }?;
    let onto = NonNull::new(wish.p_placed_address.cast::<u8>())?;
    let memory = session.memories.get(info.memory.as_raw())?;
    session.await_read(memory.after);
    let from = session.memories.address(&memory, info.offset)?;
    let rest = session.memories.rest(&memory, info.offset);
    let len = usize::try_from(if info.size == vk::WHOLE_SIZE { rest } else { info.size.min(rest) }).ok()?;
    // SAFETY: whole pages of the memory, by valid usage ("Placed Memory Mapping"): offset and size are multiples of the
    // alignment, which is a page, and what is at the address is the program's to replace.
    if let Err(error) = unsafe { pages::alias(from, len, onto) } {
        log::error!("{len} bytes of memory cannot be mapped at {onto:?}: {error}");
        return None;
    }
    *lock(&memory.placed) = Some(Placed { address: onto, len });
    Some(onto)
}

/// Takes away what [`place`] has mapped; `reserve`: nothing else is mapped there by accident.
///
/// # Safety
/// The program must not use the mapping any more.
pub(crate) unsafe fn displace(memory: &Memory, reserve: bool) -> vk::Result {
    let Some(Placed { address, len }) = lock(&memory.placed).take() else { return vk::Result::SUCCESS };
    // SAFETY: the caller's promise.
    match unsafe { pages::clear(address, len, reserve) } {
        Ok(()) => vk::Result::SUCCESS,
        Err(error) => {
            log::error!("{len} bytes of memory stay mapped at {address:?}: {error}");
            vk::Result::ERROR_MEMORY_MAP_FAILED
        }
    }
}

/// `vkUnmapMemory`: only what the program has placed goes.
pub(crate) unsafe extern "system" fn vkUnmapMemory(device: *mut c_void, memory: u64) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        if let Some(memory) = dispatch::session(device).and_then(|session| session.memories.get(memory)) {
            // The command has no result; the log has the reason.
            let _ = displace(&memory, false);
        }
    }
}

/// `vkUnmapMemory2`: as `vkUnmapMemory`.
pub(crate) unsafe extern "system" fn vkUnmapMemory2(
    device: *mut c_void,
    info: *const vk::MemoryUnmapInfoKHR<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let info = &*info;
        let reserve = info.flags.contains(vk::MemoryUnmapFlagsKHR::RESERVE_EXT);
        let session = dispatch::session(device);
        let memory = session.and_then(|session| session.memories.get(info.memory.as_raw()));
        memory.map_or(vk::Result::SUCCESS, |memory| displace(&memory, reserve))
    }
    .as_raw()
}

/// `vkFlushMappedMemoryRanges`: host and guest see the same pages, or those of coherent memory that are kept alike.
pub(crate) unsafe extern "system" fn vkFlushMappedMemoryRanges(
    _: *mut c_void,
    _: u32,
    _: *const c_void,
) -> i32 {
    vk::Result::SUCCESS.as_raw()
}

/// `vkInvalidateMappedMemoryRanges`: as `vkFlushMappedMemoryRanges`.
pub(crate) unsafe extern "system" fn vkInvalidateMappedMemoryRanges(
    _: *mut c_void,
    _: u32,
    _: *const c_void,
) -> i32 {
    vk::Result::SUCCESS.as_raw()
}
