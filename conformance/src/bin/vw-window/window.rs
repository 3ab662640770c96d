//! What the work needs of a window, whatever the window system.

use std::ffi::c_char;

use ash::{ext, khr, vk};

use crate::Kind;
use crate::headless::HeadlessWindow;
use crate::wayland::WaylandWindow;
use crate::xwindow::XWindow;

pub(crate) trait Window {
    /// Makes a surface; the device can present to the window.
    unsafe fn surface(
        &self,
        entry: &ash::Entry,
        instance: &ash::Instance,
        physical: vk::PhysicalDevice,
    ) -> vk::SurfaceKHR;

    fn size(&self) -> vk::Extent2D;

    /// Changes the size, and waits until the server has done it.
    fn resize(&mut self, width: u32, height: u32);

    fn hide(&self);

    fn show(&self);

    /// Destroys it; under Wayland nothing may be presented to it any more.
    fn destroy(&self);

    /// Whether the window shows what was drawn: four bytes a pixel of which the last means nothing.
    fn shows(&mut self, extent: vk::Extent2D, drawn: &[u8]) -> bool;
}

/// Opens a window of this size.
pub(crate) fn open(kind: Kind, width: u16, height: u16) -> Box<dyn Window> {
    match kind {
        Kind::Xcb | Kind::Xlib => Box::new(XWindow::open(kind, width, height)),
        Kind::Wayland => Box::new(WaylandWindow::open(width, height)),
        Kind::Headless => Box::new(HeadlessWindow::open(width, height)),
    }
}

/// Extension of the surfaces of a kind.
pub(crate) fn extension(kind: Kind) -> *const c_char {
    match kind {
        Kind::Xcb => khr::xcb_surface::NAME.as_ptr(),
        Kind::Xlib => khr::xlib_surface::NAME.as_ptr(),
        Kind::Wayland => khr::wayland_surface::NAME.as_ptr(),
        Kind::Headless => ext::headless_surface::NAME.as_ptr(),
    }
}
