//! `VkBuffer`: its memory requirements are remembered, binding is not waited for.

use std::ffi::c_void;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::bind::bind;
use crate::dispatch;
use crate::forward;
use crate::requirements;

/// `vkCreateBuffer`
pub(crate) unsafe extern "system" fn vkCreateBuffer(
    device: *mut c_void,
    info: *const c_void,
    callbacks: *const c_void,
    buffer: *mut u64,
) -> i32 {
    let args = [device as u64, info as u64, callbacks as u64, buffer as u64];
    let cmd = &commands::VK_CREATE_BUFFER;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let result = forward::create(device, cmd, &args, HandleType::Buffer);
        if result == 0
            && let Some(session) = dispatch::session(device)
        {
            requirements::note(session, &session.objects.resources.buffers, cmd, &args);
        }
        result
    }
}

/// `vkDestroyBuffer`
pub(crate) unsafe extern "system" fn vkDestroyBuffer(
    device: *mut c_void,
    buffer: u64,
    callbacks: *const c_void,
) {
    let args = [device as u64, buffer, callbacks as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        if let Some(session) = dispatch::session(device) {
            session.objects.resources.buffers.remove(buffer);
        }
        forward::destroy(device, &commands::VK_DESTROY_BUFFER, &args, buffer, HandleType::Buffer);
    }
}

/// `vkGetBufferMemoryRequirements`
pub(crate) unsafe extern "system" fn vkGetBufferMemoryRequirements(
    device: *mut c_void,
    buffer: u64,
    requirements: *mut vk::MemoryRequirements,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let kind =
            dispatch::session(device).and_then(|session| session.objects.resources.buffers.get(buffer));
        let args = [device as u64, buffer, requirements as u64];
        let anonymous = [device as u64, 0, requirements as u64];
        requirements::query(device, &commands::VK_GET_BUFFER_MEMORY_REQUIREMENTS, &args, &anonymous, kind);
    }
}

/// `vkGetBufferMemoryRequirements2`
pub(crate) unsafe extern "system" fn vkGetBufferMemoryRequirements2(
    device: *mut c_void,
    info: *const vk::BufferMemoryRequirementsInfo2<'_>,
    requirements: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let buffer = (*info).buffer.as_raw();
        let kind =
            dispatch::session(device).and_then(|session| session.objects.resources.buffers.get(buffer));
        let question = vk::BufferMemoryRequirementsInfo2 { buffer: vk::Buffer::null(), ..*info };
        let args = [device as u64, info as u64, requirements as u64];
        let anonymous = [device as u64, &raw const question as u64, requirements as u64];
        requirements::query(device, &commands::VK_GET_BUFFER_MEMORY_REQUIREMENTS_2, &args, &anonymous, kind);
    }
}

/// `vkBindBufferMemory2`
pub(crate) unsafe extern "system" fn vkBindBufferMemory2(
    device: *mut c_void,
    count: u32,
    infos: *const vk::BindBufferMemoryInfo<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { bind(device, &commands::VK_BIND_BUFFER_MEMORY_2, count, infos) }
}
