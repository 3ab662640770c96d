//! `VkSurfaceKHR`: the window of a program, whatever the window system.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use ash::vk;

use crate::alloc::HostAllocator;
use crate::instance::Instance;

use super::headless::Headless;
use super::images::Shown;
use super::screen::Screen;
use super::wayland::WaylandWindow;
use super::x11::XWindow;

/// What a `VkSurfaceKHR` points to.
pub(crate) struct Surface {
    /// The window.
    pub(crate) window: Window,
    /// What the host knows it by: no other surface of the process has it.
    pub(crate) number: u64,
    allocator: HostAllocator,
}

/// A window of some window system.
pub(crate) enum Window {
    /// None.
    Headless,
    /// Of an X server.
    X(XWindow),
    /// Of a Wayland compositor.
    Wayland(WaylandWindow),
}

/// What can be done with a window now.
pub(crate) struct Abilities {
    /// Its size; none where the swapchain decides.
    pub(crate) extent: Option<vk::Extent2D>,
    /// Fewest images of a swapchain.
    pub(crate) images: u32,
    /// How alpha may be taken.
    pub(crate) alpha: vk::CompositeAlphaFlagsKHR,
}

impl Window {
    /// What can be done with it now.
    ///
    /// # Errors
    /// `VK_ERROR_SURFACE_LOST_KHR` where the window is gone.
    pub(crate) fn abilities(&self) -> Result<Abilities, vk::Result> {
        match self {
            Self::X(window) => window.abilities(),
            Self::Wayland(window) => Ok(window.abilities()),
            Self::Headless => Ok(Abilities {
                extent: None,
                images: 2,
                alpha: vk::CompositeAlphaFlagsKHR::OPAQUE | vk::CompositeAlphaFlagsKHR::INHERIT,
            }),
        }
    }

    /// Formats that it can show, best first; each has four bytes a texel.
    pub(crate) fn formats(&self) -> &'static [vk::Format] {
        match self {
            Self::X(_) | Self::Wayland(_) => &[vk::Format::B8G8R8A8_SRGB, vk::Format::B8G8R8A8_UNORM],
            Self::Headless => &[
                vk::Format::B8G8R8A8_SRGB,
                vk::Format::B8G8R8A8_UNORM,
                vk::Format::R8G8B8A8_SRGB,
                vk::Format::R8G8B8A8_UNORM,
            ],
        }
    }

    /// The present modes.
    pub(crate) fn modes(&self) -> &'static [vk::PresentModeKHR] {
        if matches!(self, Self::Wayland(_)) {
            // What is presented is seen at the compositor's next refresh, never within one.
            return &[vk::PresentModeKHR::MAILBOX, vk::PresentModeKHR::FIFO];
        }
        &[
            vk::PresentModeKHR::IMMEDIATE,
            vk::PresentModeKHR::MAILBOX,
            vk::PresentModeKHR::FIFO,
            vk::PresentModeKHR::FIFO_RELAXED,
        ]
    }

    /// Opens it for a swapchain whose images are shown from these pages.
    ///
    /// # Errors
    /// `VK_ERROR_SURFACE_LOST_KHR` where the window or its server is gone, `VK_ERROR_OUT_OF_DEVICE_MEMORY` where the images are
    /// too large for it.
    pub(crate) fn open(
        &self,
        shown: Shown,
        alpha: vk::CompositeAlphaFlagsKHR,
    ) -> Result<Box<dyn Screen>, vk::Result> {
        match self {
            Self::Headless => Ok(Box::new(Headless)),
            Self::X(window) => window.open(shown),
            Self::Wayland(window) => window.open(shown, alpha),
        }
    }
}

/// How many there were.
static SURFACES: AtomicU64 = AtomicU64::new(0);

impl Surface {
    /// The surface behind a handle.
    ///
    /// # Safety
    /// `handle` must be null or a live surface, and stay so for `'a`.
    pub(crate) unsafe fn of<'a>(handle: vk::SurfaceKHR) -> Option<&'a Self> {
        // SAFETY: the caller's promise; surfaces are made by this module.
        unsafe { (vk::Handle::as_raw(handle) as *const Self).as_ref() }
    }

    /// Gives the surface's memory back.
    ///
    /// # Safety
    /// `handle` must be null or a live surface that is not used again.
    pub(crate) unsafe fn destroy(handle: vk::SurfaceKHR) {
        if let Some(surface) = NonNull::new(vk::Handle::as_raw(handle) as *mut Self) {
            // SAFETY: the caller's promise; it was placed by its allocator in `create`.
            unsafe {
                let allocator = surface.as_ref().allocator;
                allocator.remove(surface);
            }
        }
    }
}

/// Makes a surface for a window.
///
/// # Safety
/// `instance` must be null or a live instance; the others as for any creation of a surface.
pub(crate) unsafe fn create(
    instance: *mut Instance,
    window: Window,
    callbacks: *const vk::AllocationCallbacks<'_>,
    surface: *mut u64,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        let parent = instance.as_ref().map(Instance::allocator).unwrap_or_default();
        let allocator = HostAllocator::new(callbacks).or(parent);
        let number = SURFACES.fetch_add(1, Ordering::Relaxed);
        let placed =
            allocator.place(Surface { window, number, allocator }, vk::SystemAllocationScope::OBJECT);
        surface.write(placed.as_ref().map_or(0, |placed| placed.as_ptr() as u64));
        let result = if placed.is_ok() { vk::Result::SUCCESS } else { vk::Result::ERROR_OUT_OF_HOST_MEMORY };
        result.as_raw()
    }
}

/// `vkCreateHeadlessSurfaceEXT`
pub(crate) unsafe extern "system" fn vkCreateHeadlessSurfaceEXT(
    instance: *mut Instance,
    _: *const c_void,
    callbacks: *const vk::AllocationCallbacks<'_>,
    surface: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { create(instance, Window::Headless, callbacks, surface) }
}
