//! Surfaces of Wayland compositors: `VK_KHR_wayland_surface`.

mod screen;

use std::ffi::c_void;

use ash::vk;

use crate::instance::Instance;
use crate::physical_device::PhysicalDevice;

use super::images::Shown;
use super::screen::Screen;
use super::surface;
use super::window::{self, Abilities, Window};

/// A surface, and the program's connection to its compositor.
pub(crate) struct WaylandWindow {
    /// `wl_display`
    display: *mut c_void,
    /// `wl_surface`
    surface: *mut c_void,
}

impl WaylandWindow {
    /// What can be done with the surface.
    pub(crate) fn abilities(&self) -> Abilities {
        use vk::CompositeAlphaFlagsKHR as Alpha;
        // One is shown, one is on its way there, one is drawn. The size is what is presented.
        Abilities { extent: None, images: 3, alpha: Alpha::OPAQUE | Alpha::PRE_MULTIPLIED }
    }

    /// Makes the pages known to the compositor.
    ///
    /// # Errors
    /// As [`screen::open`].
    pub(crate) fn open(
        &self,
        shown: Shown,
        alpha: vk::CompositeAlphaFlagsKHR,
    ) -> Result<Box<dyn Screen>, vk::Result> {
        let opaque = alpha == vk::CompositeAlphaFlagsKHR::OPAQUE;
        // SAFETY: the application's valid usage: display and surface live as long as the Vulkan surface, and that as long
        // as its swapchains.
        Ok(Box::new(unsafe { screen::open(self.display, self.surface, shown, opaque)? }))
    }
}

/// `vkCreateWaylandSurfaceKHR`
pub(crate) unsafe extern "system" fn vkCreateWaylandSurfaceKHR(
    instance: *mut Instance,
    info: *const vk::WaylandSurfaceCreateInfoKHR<'_>,
    callbacks: *const vk::AllocationCallbacks<'_>,
    surface: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let window = WaylandWindow { display: (*info).display.cast(), surface: (*info).surface.cast() };
        window::create(instance, Window::Wayland(window), callbacks, surface)
    }
}

/// `vkGetPhysicalDeviceWaylandPresentationSupportKHR`: every compositor takes shared memory.
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceWaylandPresentationSupportKHR(
    device: *mut PhysicalDevice,
    family: u32,
    _: *mut c_void,
) -> u32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { surface::presents(device, family).into() }
}
