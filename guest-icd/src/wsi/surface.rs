//! What a surface can do with a physical device.

use std::ffi::c_void;

use ash::vk;

use crate::chain;
use crate::enumerate;
use crate::physical_device::{DeviceFacts, PhysicalDevice};

use super::window::{Abilities, Surface, Window};

/// The facts behind a handle.
///
/// # Safety
/// `device` must be null or a live physical device.
unsafe fn facts<'a>(device: *mut PhysicalDevice) -> Option<&'a DeviceFacts> {
    // SAFETY: the caller's promise.
    unsafe { device.as_ref() }?.session()?.facts()
}

/// `vkDestroySurfaceKHR`
pub(crate) unsafe extern "system" fn vkDestroySurfaceKHR(
    _: *mut c_void,
    surface: vk::SurfaceKHR,
    _: *const c_void,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe { Surface::destroy(surface) };
}

/// `vkGetPhysicalDeviceSurfaceSupportKHR`: a queue that can copy can present.
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceSurfaceSupportKHR(
    device: *mut PhysicalDevice,
    family: u32,
    _: vk::SurfaceKHR,
    supported: *mut u32,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { supported.write(presents(device, family).into()) };
    vk::Result::SUCCESS.as_raw()
}

/// Whether the queues of a family can present.
///
/// # Safety
/// `device` must be null or a live physical device.
pub(crate) unsafe fn presents(device: *mut PhysicalDevice, family: u32) -> bool {
    // SAFETY: the caller's promise; the chain's root is such a structure.
    unsafe {
        let families = facts(device).map_or(&[][..], |known| &known.facts.queue_families);
        families.get(family as usize).is_some_and(|family| {
            let mut properties = vk::QueueFamilyProperties2::default();
            family.fill((&raw mut properties).cast());
            let copies = vk::QueueFlags::GRAPHICS | vk::QueueFlags::COMPUTE | vk::QueueFlags::TRANSFER;
            properties.queue_family_properties.queue_flags.intersects(copies)
        })
    }
}

/// Capabilities in terms of what the window and the device can do.
fn capabilities(known: &DeviceFacts, window: &Abilities) -> vk::SurfaceCapabilitiesKHR {
    let mut properties = vk::PhysicalDeviceProperties2::default();
    // SAFETY: a structure of the type that the chain's root is.
    unsafe { known.facts.properties.fill((&raw mut properties).cast()) };
    let most = properties.properties.limits.max_image_dimension2_d;
    let undefined = vk::Extent2D { width: u32::MAX, height: u32::MAX };
    use vk::ImageUsageFlags as Usage;
    let mut usage = Usage::TRANSFER_SRC
        | Usage::TRANSFER_DST
        | Usage::SAMPLED
        | Usage::STORAGE
        | Usage::INPUT_ATTACHMENT
        | Usage::COLOR_ATTACHMENT;
    if known.facts.has_extension("VK_EXT_attachment_feedback_loop_layout") {
        usage |= Usage::ATTACHMENT_FEEDBACK_LOOP_EXT;
    }
    vk::SurfaceCapabilitiesKHR {
        min_image_count: window.images,
        max_image_count: 0,
        current_extent: window.extent.unwrap_or(undefined),
        min_image_extent: window.extent.unwrap_or(vk::Extent2D { width: 1, height: 1 }),
        max_image_extent: window.extent.unwrap_or(vk::Extent2D { width: most, height: most }),
        max_image_array_layers: 1,
        supported_transforms: vk::SurfaceTransformFlagsKHR::IDENTITY,
        current_transform: vk::SurfaceTransformFlagsKHR::IDENTITY,
        supported_composite_alpha: window.alpha,
        supported_usage_flags: usage,
    }
}

/// The capabilities of a surface.
///
/// # Safety
/// The handles must be live.
unsafe fn capabilities_of(
    device: *mut PhysicalDevice,
    surface: vk::SurfaceKHR,
) -> Result<vk::SurfaceCapabilitiesKHR, vk::Result> {
    // SAFETY: the caller's promise.
    unsafe {
        let surface = Surface::of(surface).ok_or(vk::Result::ERROR_SURFACE_LOST_KHR)?;
        let known = facts(device).ok_or(vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
        Ok(capabilities(known, &surface.window.abilities()?))
    }
}

/// `vkGetPhysicalDeviceSurfaceCapabilitiesKHR`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceSurfaceCapabilitiesKHR(
    device: *mut PhysicalDevice,
    surface: vk::SurfaceKHR,
    out: *mut vk::SurfaceCapabilitiesKHR,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    let result = unsafe { capabilities_of(device, surface).map(|found| out.write(found)) };
    result.err().unwrap_or(vk::Result::SUCCESS).as_raw()
}

/// `vkGetPhysicalDeviceSurfaceCapabilities2KHR`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceSurfaceCapabilities2KHR(
    device: *mut PhysicalDevice,
    info: *const vk::PhysicalDeviceSurfaceInfo2KHR<'_>,
    out: *mut vk::SurfaceCapabilities2KHR<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let found = match capabilities_of(device, (*info).surface) {
            Ok(found) => found,
            Err(result) => return result.as_raw(),
        };
        let mode = chain::find::<vk::SurfacePresentModeEXT<'_>>((*info).p_next).as_ref();
        if let Some(scaling) =
            chain::find::<vk::SurfacePresentScalingCapabilitiesEXT<'_>>((*out).p_next).as_mut()
        {
            // Images are shown as they are.
            scaling.supported_present_scaling = vk::PresentScalingFlagsEXT::empty();
            scaling.supported_present_gravity_x = vk::PresentGravityFlagsEXT::empty();
            scaling.supported_present_gravity_y = vk::PresentGravityFlagsEXT::empty();
            scaling.min_scaled_image_extent = found.min_image_extent;
            scaling.max_scaled_image_extent = found.max_image_extent;
        }
        if let Some(compatible) =
            chain::find::<vk::SurfacePresentModeCompatibilityEXT<'_>>((*out).p_next).as_mut()
            && let Some(surface) = Surface::of((*info).surface)
        {
            // Each frame is shown by its own mode. The one that was asked about stands first, so that it is also in an
            // answer that is cut off.
            let asked = mode.map(|mode| mode.present_mode);
            let others = surface.window.modes().iter().copied().filter(|other| Some(*other) != asked);
            let listed: Vec<_> = asked.into_iter().chain(others).collect();
            let (count, modes) = (&raw mut compatible.present_mode_count, compatible.p_present_modes);
            let _ = enumerate::copy(&listed, count, modes);
        }
        if let Some(protected) =
            chain::find::<vk::SurfaceProtectedCapabilitiesKHR<'_>>((*out).p_next).as_mut()
        {
            protected.supports_protected = vk::FALSE;
        }
        (*out).surface_capabilities = found;
    }
    vk::Result::SUCCESS.as_raw()
}

/// The formats that a window can show and the device can render to.
fn formats(known: &DeviceFacts, window: &Window) -> Vec<vk::SurfaceFormatKHR> {
    let rendered = |format: vk::Format| {
        let [_, optimal, _] = known.facts.format(format.as_raw()).map_or([0; 3], |fact| fact.features);
        let needed = vk::FormatFeatureFlags::COLOR_ATTACHMENT | vk::FormatFeatureFlags::TRANSFER_SRC;
        vk::FormatFeatureFlags::from_raw(optimal).contains(needed)
    };
    let all = window.formats().iter().copied().filter(|format| rendered(*format));
    all.map(|format| vk::SurfaceFormatKHR { format, color_space: vk::ColorSpaceKHR::SRGB_NONLINEAR })
        .collect()
}

/// As [`formats`].
///
/// # Safety
/// The handles must be live.
unsafe fn formats_of(device: *mut PhysicalDevice, surface: vk::SurfaceKHR) -> Vec<vk::SurfaceFormatKHR> {
    // SAFETY: the caller's promise.
    unsafe {
        match (facts(device), Surface::of(surface)) {
            (Some(known), Some(surface)) => formats(known, &surface.window),
            _ => Vec::new(),
        }
    }
}

/// `vkGetPhysicalDeviceSurfaceFormatsKHR`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceSurfaceFormatsKHR(
    device: *mut PhysicalDevice,
    surface: vk::SurfaceKHR,
    count: *mut u32,
    out: *mut vk::SurfaceFormatKHR,
) -> i32 {
    // SAFETY: the application's valid usage of this command: room for `count` structures, or null.
    unsafe { enumerate::copy(&formats_of(device, surface), count, out) }.as_raw()
}

/// `vkGetPhysicalDeviceSurfaceFormats2KHR`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceSurfaceFormats2KHR(
    device: *mut PhysicalDevice,
    info: *const vk::PhysicalDeviceSurfaceInfo2KHR<'_>,
    count: *mut u32,
    out: *mut vk::SurfaceFormat2KHR<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command: room for `count` structures, or null.
    unsafe {
        let list = formats_of(device, (*info).surface);
        if out.is_null() {
            count.write(list.len() as u32);
            return vk::Result::SUCCESS.as_raw();
        }
        let room = (*count as usize).min(list.len());
        for (i, format) in list.iter().take(room).enumerate() {
            (*out.add(i)).surface_format = *format;
        }
        count.write(room as u32);
        if room < list.len() { vk::Result::INCOMPLETE } else { vk::Result::SUCCESS }.as_raw()
    }
}

/// `vkGetPhysicalDeviceSurfacePresentModesKHR`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceSurfacePresentModesKHR(
    _: *mut PhysicalDevice,
    surface: vk::SurfaceKHR,
    count: *mut u32,
    out: *mut vk::PresentModeKHR,
) -> i32 {
    // SAFETY: the application's valid usage of this command: room for `count` modes, or null.
    unsafe {
        let modes = Surface::of(surface).map_or(&[][..], |surface| surface.window.modes());
        enumerate::copy(modes, count, out).as_raw()
    }
}

/// `vkGetPhysicalDevicePresentRectanglesKHR`: the whole window.
pub(crate) unsafe extern "system" fn vkGetPhysicalDevicePresentRectanglesKHR(
    _: *mut PhysicalDevice,
    surface: vk::SurfaceKHR,
    count: *mut u32,
    out: *mut vk::Rect2D,
) -> i32 {
    // SAFETY: the application's valid usage of this command: room for `count` rectangles, or null.
    unsafe {
        let abilities = Surface::of(surface).ok_or(vk::Result::ERROR_SURFACE_LOST_KHR);
        let abilities = match abilities.and_then(|surface| surface.window.abilities()) {
            Ok(abilities) => abilities,
            // The command has no other error for a window that is gone.
            Err(_) => return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw(),
        };
        let undefined = vk::Extent2D { width: u32::MAX, height: u32::MAX };
        let whole =
            vk::Rect2D { offset: vk::Offset2D::default(), extent: abilities.extent.unwrap_or(undefined) };
        enumerate::copy(&[whole], count, out).as_raw()
    }
}

/// `vkGetDeviceGroupPresentCapabilitiesKHR`: the one device presents its own images.
pub(crate) unsafe extern "system" fn vkGetDeviceGroupPresentCapabilitiesKHR(
    _: *mut c_void,
    out: *mut vk::DeviceGroupPresentCapabilitiesKHR<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        (*out).present_mask = [0; vk::MAX_DEVICE_GROUP_SIZE];
        (*out).present_mask[0] = 1;
        (*out).modes = vk::DeviceGroupPresentModeFlagsKHR::LOCAL;
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkGetDeviceGroupSurfacePresentModesKHR`
pub(crate) unsafe extern "system" fn vkGetDeviceGroupSurfacePresentModesKHR(
    _: *mut c_void,
    _: vk::SurfaceKHR,
    modes: *mut vk::DeviceGroupPresentModeFlagsKHR,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { modes.write(vk::DeviceGroupPresentModeFlagsKHR::LOCAL) };
    vk::Result::SUCCESS.as_raw()
}
