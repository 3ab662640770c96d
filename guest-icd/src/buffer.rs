//! `VkBuffer`: its memory requirements are remembered, binding is not waited for.

use std::ffi::c_void;

use ash::vk;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::bind::bind;
use crate::requirements::{ResourceType, Resources};

const BUFFER: ResourceType = ResourceType {
    ty: HandleType::Buffer,
    table: Resources::buffers,
    create: &commands::VK_CREATE_BUFFER,
    destroy: &commands::VK_DESTROY_BUFFER,
    query: &commands::VK_GET_BUFFER_MEMORY_REQUIREMENTS,
    query_2: &commands::VK_GET_BUFFER_MEMORY_REQUIREMENTS_2,
};

/// `vkCreateBuffer`
pub(crate) unsafe extern "system" fn vkCreateBuffer(
    device: *mut c_void,
    info: *const c_void,
    callbacks: *const c_void,
    buffer: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { BUFFER.create(device, info, callbacks, buffer) }
}

/// `vkDestroyBuffer`
pub(crate) unsafe extern "system" fn vkDestroyBuffer(
    device: *mut c_void,
    buffer: u64,
    callbacks: *const c_void,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe { BUFFER.destroy(device, buffer, callbacks) };
}

/// `vkGetBufferMemoryRequirements`
pub(crate) unsafe extern "system" fn vkGetBufferMemoryRequirements(
    device: *mut c_void,
    buffer: u64,
    out: *mut c_void,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe { BUFFER.requirements(device, buffer, out) };
}

/// `vkGetBufferMemoryRequirements2`
pub(crate) unsafe extern "system" fn vkGetBufferMemoryRequirements2(
    device: *mut c_void,
    info: *const c_void,
    out: *mut c_void,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe { BUFFER.requirements_2(device, info, out) };
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
