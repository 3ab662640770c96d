//! `VkImage`: its memory requirements are remembered, binding is not waited for.

use std::ffi::c_void;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::bind::bind;
use crate::dispatch;
use crate::forward;
use crate::requirements;

/// `vkCreateImage`
pub(crate) unsafe extern "system" fn vkCreateImage(
    device: *mut c_void,
    info: *const c_void,
    callbacks: *const c_void,
    image: *mut u64,
) -> i32 {
    let args = [device as u64, info as u64, callbacks as u64, image as u64];
    let cmd = &commands::VK_CREATE_IMAGE;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let result = forward::create(device, cmd, &args, HandleType::Image);
        if result == 0
            && let Some(session) = dispatch::session(device)
        {
            requirements::note(session, &session.objects.resources.images, cmd, &args);
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
    let args = [device as u64, image, callbacks as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        if let Some(session) = dispatch::session(device) {
            session.objects.resources.images.remove(image);
        }
        forward::destroy(device, &commands::VK_DESTROY_IMAGE, &args, image, HandleType::Image);
    }
}

/// `vkGetImageMemoryRequirements`
pub(crate) unsafe extern "system" fn vkGetImageMemoryRequirements(
    device: *mut c_void,
    image: u64,
    requirements: *mut vk::MemoryRequirements,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let kind = dispatch::session(device).and_then(|session| session.objects.resources.images.get(image));
        let args = [device as u64, image, requirements as u64];
        let anonymous = [device as u64, 0, requirements as u64];
        requirements::query(device, &commands::VK_GET_IMAGE_MEMORY_REQUIREMENTS, &args, &anonymous, kind);
    }
}

/// `vkGetImageMemoryRequirements2`
pub(crate) unsafe extern "system" fn vkGetImageMemoryRequirements2(
    device: *mut c_void,
    info: *const vk::ImageMemoryRequirementsInfo2<'_>,
    requirements: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let image = (*info).image.as_raw();
        let kind = dispatch::session(device).and_then(|session| session.objects.resources.images.get(image));
        let question = vk::ImageMemoryRequirementsInfo2 { image: vk::Image::null(), ..*info };
        let args = [device as u64, info as u64, requirements as u64];
        let anonymous = [device as u64, &raw const question as u64, requirements as u64];
        requirements::query(device, &commands::VK_GET_IMAGE_MEMORY_REQUIREMENTS_2, &args, &anonymous, kind);
    }
}

/// `vkBindImageMemory2`
pub(crate) unsafe extern "system" fn vkBindImageMemory2(
    device: *mut c_void,
    count: u32,
    infos: *const vk::BindImageMemoryInfo<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { bind(device, &commands::VK_BIND_IMAGE_MEMORY_2, count, infos) }
}
