//! `VkDeviceMemory`.
//!
//! Memory that the guest sees is a range of the session's window, which the host imports: mapping is a pointer
//! and nothing is ever copied. What others see too is in `external_memory.rs`.

use std::ffi::c_void;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ash::vk;
use vw_wire_protocol::codec::{DecodeError, decode_reply, encode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{NO_FILE, op};

use crate::alloc::HostAllocator;
use crate::credits;
use crate::device;
use crate::dispatch;
use crate::external_memory::{self, Wish};
use crate::forward;
use crate::log;
use crate::map;
use crate::memories::Memory;
use crate::memory_report::{Event, Reports};
use crate::recycled::Kind;
use crate::session::Session;

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
            memory.event(id, if memory.is_imported() { Kind::IMPORT } else { Kind::ALLOCATE })
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
                session.memories.insert(id, memory);
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
    let wish = match unsafe { Wish::of(info, session.memories.page()) } {
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
    let granted = pointer.is_none() && state.file().is_none() && unsafe { credits::is_plain(info) };
    if granted && session.take_credit(heap.0, size) {
        // SAFETY: as above.
        let sent = unsafe {
            out.write(id);
            session.send(op::ALLOCATE_MEMORY, &|w| {
                w.put_u64(state.on_wire());
                encode_request(cmd, args, w);
            })
        };
        if let Err(failure) = sent {
            // SAFETY: as above.
            unsafe { out.write(0) };
            give_back(&state);
            session.free_id(HandleType::DeviceMemory, id);
            return failure.result();
        }
        state.after = session.memories.released.load(Ordering::Acquire);
        session.memories.insert(id, Arc::new(state));
        return vk::Result::SUCCESS;
    }
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
    session.memories.insert(id, Arc::new(state));
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
        let state = session.memories.remove(memory);
        if let Some(state) = &state {
            // The command has no result; the log has the reason.
            let _ = map::displace(state, false);
            if let Some(reports) = device::reports(device) {
                use vk::DeviceMemoryReportEventTypeEXT as Kind;
                reports
                    .send(state.event(memory, if state.is_imported() { Kind::UNIMPORT } else { Kind::FREE }));
            }
        }
        if let Some(state) = state.as_ref().filter(|state| state.recyclable().is_some()) {
            session.memories.leave_heap_of(state);
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
