//! Windows of X servers: `VK_KHR_xcb_surface` and `VK_KHR_xlib_surface`.
//!
//! The program's own connection is asked about the window, by the program's own library, so that what the program has done
//! to the window before is known. Frames go over a connection of the driver's to the same server: the program's events
//! stay the program's.

mod library;
mod screen;
mod server;

use std::ffi::c_void;

use ash::vk;

use crate::instance::Instance;
use crate::physical_device::PhysicalDevice;

use super::images::Shown;
use super::screen::Screen;
use super::surface;
use super::window::{self, Abilities, Window};
use library::Library;

/// A window, and the program's connection to its server.
pub(crate) struct XWindow {
    connection: Connection,
    window: u32,
}

#[derive(Clone, Copy)]
enum Connection {
    /// `xcb_connection_t`
    Xcb(*mut c_void),
    /// `Display`
    Xlib(*mut c_void),
}

impl Connection {
    /// The library that it is of, and the connection in terms of xcb; none where there is no such library.
    fn open(self) -> Option<(&'static Library, *mut c_void)> {
        let library = Library::get()?;
        let connection = match self {
            Self::Xcb(connection) => connection,
            // SAFETY: the program's display, which lives as long as the surface.
            Self::Xlib(display) => unsafe { library.of_display(display)? },
        };
        Some((library, connection))
    }
}

impl XWindow {
    /// What can be done with the window now.
    ///
    /// # Errors
    /// `VK_ERROR_SURFACE_LOST_KHR` where it is gone.
    pub(crate) fn abilities(&self) -> Result<Abilities, vk::Result> {
        let (library, connection) = self.connection.open().ok_or(vk::Result::ERROR_SURFACE_LOST_KHR)?;
        // SAFETY: the program's connection, which lives as long as the surface.
        let geometry = unsafe { library.geometry(connection, self.window) };
        let geometry = geometry.ok_or(vk::Result::ERROR_SURFACE_LOST_KHR)?;
        use vk::CompositeAlphaFlagsKHR as Alpha;
        let alpha = if geometry.depth == 32 { Alpha::PRE_MULTIPLIED } else { Alpha::OPAQUE };
        Ok(Abilities {
            extent: Some(vk::Extent2D { width: geometry.width.into(), height: geometry.height.into() }),
            // One is shown, one is on its way there, one is drawn.
            images: 3,
            alpha: alpha | Alpha::INHERIT,
        })
    }

    /// Connects to the window's server.
    ///
    /// # Errors
    /// `VK_ERROR_SURFACE_LOST_KHR` where window or server are gone.
    pub(crate) fn open(&self, shown: Shown) -> Result<Box<dyn Screen>, vk::Result> {
        let lost = vk::Result::ERROR_SURFACE_LOST_KHR;
        let (library, connection) = self.connection.open().ok_or(lost)?;
        // SAFETY: the program's connection, which lives as long as the surface. Its answer says that the server knows the
        // window, whoever asks.
        unsafe {
            library.geometry(connection, self.window).ok_or(lost)?;
            let server = server::connect(library.descriptor(connection).ok_or(lost)?).ok_or(lost)?;
            Ok(Box::new(screen::open(server, self.window, shown).ok_or(lost)?))
        }
    }
}

/// Whether windows of a visual can be presented to: four bytes a texel, of these colours.
fn fits(connection: Connection, visual: u32) -> bool {
    let Some((library, connection)) = connection.open() else { return false };
    // SAFETY: the application's valid usage: a live connection.
    let Some(setup) = (unsafe { library.setup(connection) }) else { return false };
    let depths = setup.roots.iter().flat_map(|root| &root.allowed_depths);
    let visuals = depths.filter(|depth| matches!(depth.depth, 24 | 32)).flat_map(|depth| &depth.visuals);
    visuals.into_iter().any(|found| {
        found.visual_id == visual
            && [found.red_mask, found.green_mask, found.blue_mask] == [0xFF_0000, 0xFF00, 0xFF]
    })
}

/// `vkCreateXcbSurfaceKHR`
pub(crate) unsafe extern "system" fn vkCreateXcbSurfaceKHR(
    instance: *mut Instance,
    info: *const vk::XcbSurfaceCreateInfoKHR<'_>,
    callbacks: *const vk::AllocationCallbacks<'_>,
    surface: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let connection = Connection::Xcb((*info).connection.cast());
        let window = Window::X(XWindow { connection, window: (*info).window });
        window::create(instance, window, callbacks, surface)
    }
}

/// `vkCreateXlibSurfaceKHR`
pub(crate) unsafe extern "system" fn vkCreateXlibSurfaceKHR(
    instance: *mut Instance,
    info: *const vk::XlibSurfaceCreateInfoKHR<'_>,
    callbacks: *const vk::AllocationCallbacks<'_>,
    surface: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command. (Identifiers have 29 bits.)
    unsafe {
        let connection = Connection::Xlib((*info).dpy.cast());
        let window = Window::X(XWindow { connection, window: (*info).window as u32 });
        window::create(instance, window, callbacks, surface)
    }
}

/// `vkGetPhysicalDeviceXcbPresentationSupportKHR`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceXcbPresentationSupportKHR(
    device: *mut PhysicalDevice,
    family: u32,
    connection: *mut c_void,
    visual: u32,
) -> u32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { (surface::presents(device, family) && fits(Connection::Xcb(connection), visual)).into() }
}

/// `vkGetPhysicalDeviceXlibPresentationSupportKHR`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceXlibPresentationSupportKHR(
    device: *mut PhysicalDevice,
    family: u32,
    display: *mut c_void,
    visual: std::ffi::c_ulong,
) -> u32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { (surface::presents(device, family) && fits(Connection::Xlib(display), visual as u32)).into() }
}
