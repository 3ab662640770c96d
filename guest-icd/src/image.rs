//! `VkImage`: its memory requirements are remembered, binding is not waited for.

use std::ffi::c_void;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::bind::bind;
use crate::dispatch;
use crate::host_image_copy;
use crate::requirements::{ResourceType, Resources};
use crate::wsi;

const IMAGE: ResourceType = ResourceType {
    ty: HandleType::Image,
    table: Resources::images,
    create: &commands::VK_CREATE_IMAGE,
    destroy: &commands::VK_DESTROY_IMAGE,
    query: &commands::VK_GET_IMAGE_MEMORY_REQUIREMENTS,
    query_2: &commands::VK_GET_IMAGE_MEMORY_REQUIREMENTS_2,
};

/// `vkCreateImage`
pub(crate) unsafe extern "system" fn vkCreateImage(
    device: *mut c_void,
    info: *const vk::ImageCreateInfo<'_>,
    callbacks: *const c_void,
    image: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let mut sent = *info;
        if wsi::aliased(&sent) {
            // As the swapchain's own.
            sent.usage |= vk::ImageUsageFlags::TRANSFER_SRC;
            sent.flags |= vk::ImageCreateFlags::ALIAS;
        }
        let result = IMAGE.create(device, (&raw const sent).cast(), callbacks, image);
        if result == 0
            && let Some(session) = dispatch::session(device)
        {
            host_image_copy::remember(session, *image, &*info);
        }
        result
    }
}

/// `vkDestroyImage`
pub(crate) unsafe extern "system" fn vkDestroyImage(
    device: *mut c_void,
    image: u64,
    callbacks: *const c_void,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        if let Some(session) = dispatch::session(device) {
            session.objects.host_images.remove(image);
        }
        IMAGE.destroy(device, image, callbacks);
    }
}

/// `vkGetImageMemoryRequirements`
pub(crate) unsafe extern "system" fn vkGetImageMemoryRequirements(
    device: *mut c_void,
    image: u64,
    out: *mut c_void,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe { IMAGE.requirements(device, image, out) };
}

/// `vkGetImageMemoryRequirements2`
pub(crate) unsafe extern "system" fn vkGetImageMemoryRequirements2(
    device: *mut c_void,
    info: *const c_void,
    out: *mut c_void,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe { IMAGE.requirements_2(device, info, out) };
}

/// `vkBindImageMemory2`
pub(crate) unsafe extern "system" fn vkBindImageMemory2(
    device: *mut c_void,
    count: u32,
    infos: *const vk::BindImageMemoryInfo<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let mut sent: Vec<vk::BindImageMemoryInfo<'_>> = (0..count as usize).map(|i| *infos.add(i)).collect();
        if let Some(session) = dispatch::session(device) {
            for info in &mut sent {
                if let Some((memory, offset)) = wsi::bound(session, info) {
                    info.memory = vk::DeviceMemory::from_raw(memory);
                    info.memory_offset = offset;
                }
            }
        }
        bind(device, &commands::VK_BIND_IMAGE_MEMORY_2, count, sent.as_ptr())
    }
}
