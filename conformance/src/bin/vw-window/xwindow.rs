//! A window of an X server.

use std::ffi::{CString, c_char, c_void};
use std::ptr;

use ash::{khr, vk};
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{
    ConfigureWindowAux, ConnectionExt as _, CreateWindowAux, ImageFormat, WindowClass,
};
use x11rb::wrapper::ConnectionExt as _;
use x11rb::xcb_ffi::XCBConnection;

use crate::Kind;

/// A window, mapped at the server's top left corner.
pub(crate) struct XWindow {
    connection: XCBConnection,
    pub(crate) id: u32,
    kind: Kind,
    /// Keeps Xlib open as long as the window.
    xlib: Option<(libloading::Library, *mut c_void)>,
}

impl XWindow {
    pub(crate) fn open(kind: Kind, width: u16, height: u16) -> Self {
        let (connection, screen) = XCBConnection::connect(None).expect("an X server");
        let id = connection.generate_id().unwrap();
        let root = &connection.setup().roots[screen];
        let look = CreateWindowAux::new().override_redirect(1);
        let (depth, class) = (root.root_depth, WindowClass::INPUT_OUTPUT);
        let (parent, visual) = (root.root, root.root_visual);
        connection.create_window(depth, id, parent, 0, 0, width, height, 0, class, visual, &look).unwrap();
        connection.map_window(id).unwrap();
        // Not flushed: the driver has to see to it that the server knows the window.
        // SAFETY: the library and its signatures are the system's.
        let xlib = matches!(kind, Kind::Xlib).then(|| unsafe {
            connection.flush().unwrap();
            let library = libloading::Library::new("libX11.so.6").expect("libX11");
            let open: libloading::Symbol<'_, unsafe extern "C" fn(*const c_char) -> *mut c_void> =
                library.get(b"XOpenDisplay\0").unwrap();
            let name = CString::new(std::env::var("DISPLAY").unwrap()).unwrap();
            let display = open(name.as_ptr());
            assert!(!display.is_null());
            (library, display)
        });
        if xlib.is_some() {
            connection.sync().unwrap();
        }
        Self { connection, id, kind, xlib }
    }

    /// Extension of its surfaces.
    pub(crate) fn extension(kind: Kind) -> *const c_char {
        match kind {
            Kind::Xcb => khr::xcb_surface::NAME.as_ptr(),
            Kind::Xlib => khr::xlib_surface::NAME.as_ptr(),
        }
    }

    /// Makes a surface, if the device can present to the window.
    pub(crate) unsafe fn surface(
        &self,
        entry: &ash::Entry,
        instance: &ash::Instance,
        physical: vk::PhysicalDevice,
    ) -> vk::SurfaceKHR {
        let visual = self.connection.setup().roots[0].root_visual;
        let display = self.xlib.as_ref().map_or(ptr::null_mut(), |(_, display)| *display);
        match self.kind {
            Kind::Xcb => {
                let functions = khr::xcb_surface::Instance::new(entry, instance);
                let connection: *mut c_void = self.connection.get_raw_xcb_connection().cast();
                let supported = functions.get_physical_device_xcb_presentation_support(
                    physical,
                    0,
                    &mut *connection.cast(),
                    visual,
                );
                assert!(supported);
                let info =
                    vk::XcbSurfaceCreateInfoKHR::default().connection(connection.cast()).window(self.id);
                functions.create_xcb_surface(&info, None).unwrap()
            }
            Kind::Xlib => {
                let functions = khr::xlib_surface::Instance::new(entry, instance);
                let supported = functions.get_physical_device_xlib_presentation_support(
                    physical,
                    0,
                    &mut *display.cast(),
                    visual,
                );
                assert!(supported);
                let info = vk::XlibSurfaceCreateInfoKHR::default().dpy(display.cast()).window(self.id.into());
                functions.create_xlib_surface(&info, None).unwrap()
            }
        }
    }

    /// Changes the size, and waits until the server has done it.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let size = ConfigureWindowAux::new().width(width).height(height);
        self.connection.configure_window(self.id, &size).unwrap();
        self.connection.sync().unwrap();
    }

    pub(crate) fn hide(&self) {
        self.connection.unmap_window(self.id).unwrap();
        self.connection.sync().unwrap();
    }

    pub(crate) fn show(&self) {
        self.connection.map_window(self.id).unwrap();
        self.connection.sync().unwrap();
    }

    pub(crate) fn destroy(&self) {
        self.connection.destroy_window(self.id).unwrap();
        self.connection.sync().unwrap();
    }

    /// What the window shows, four bytes a pixel of which the last means nothing.
    pub(crate) fn contents(&self, width: u16, height: u16) -> Vec<u8> {
        let image =
            self.connection.get_image(ImageFormat::Z_PIXMAP, self.id, 0, 0, width, height, !0).unwrap();
        image.reply().unwrap().data
    }
}
