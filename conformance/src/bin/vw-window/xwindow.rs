//! A window of an X server.

use std::ffi::{CString, c_char, c_void};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::ptr;

use ash::{khr, vk};
use x11rb::connection::Connection as _;
use x11rb::protocol::res::ConnectionExt as _;
use x11rb::protocol::xproto::{
    ConfigureWindowAux, ConnectionExt as _, CreateWindowAux, ImageFormat, WindowClass,
};
use x11rb::wrapper::ConnectionExt as _;
use x11rb::xcb_ffi::XCBConnection;

use crate::Kind;
use crate::window::Window;

/// A window, mapped at the server's top left corner.
pub(crate) struct XWindow {
    connection: XCBConnection,
    id: u32,
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
        Self { connection, id, xlib }
    }
}

impl Window for XWindow {
    unsafe fn surface(
        &self,
        entry: &ash::Entry,
        instance: &ash::Instance,
        physical: vk::PhysicalDevice,
    ) -> vk::SurfaceKHR {
        let visual = self.connection.setup().roots[0].root_visual;
        let display = self.xlib.as_ref().map_or(ptr::null_mut(), |(_, display)| *display);
        if display.is_null() {
            let functions = khr::xcb_surface::Instance::new(entry, instance);
            let connection: *mut c_void = self.connection.get_raw_xcb_connection().cast();
            let server = &mut *connection.cast();
            assert!(functions.get_physical_device_xcb_presentation_support(physical, 0, server, visual));
            let info = vk::XcbSurfaceCreateInfoKHR::default().connection(connection.cast()).window(self.id);
            functions.create_xcb_surface(&info, None).unwrap()
        } else {
            let functions = khr::xlib_surface::Instance::new(entry, instance);
            let server = &mut *display.cast();
            assert!(functions.get_physical_device_xlib_presentation_support(physical, 0, server, visual));
            let info = vk::XlibSurfaceCreateInfoKHR::default().dpy(display.cast()).window(self.id.into());
            functions.create_xlib_surface(&info, None).unwrap()
        }
    }

    fn size(&self) -> vk::Extent2D {
        let now = self.connection.get_geometry(self.id).unwrap().reply().unwrap();
        vk::Extent2D { width: now.width.into(), height: now.height.into() }
    }

    fn resize(&mut self, width: u32, height: u32) {
        let size = ConfigureWindowAux::new().width(width).height(height);
        self.connection.configure_window(self.id, &size).unwrap();
        self.connection.sync().unwrap();
    }

    fn hide(&self) {
        self.connection.unmap_window(self.id).unwrap();
        self.connection.sync().unwrap();
    }

    fn show(&self) {
        self.connection.map_window(self.id).unwrap();
        self.connection.sync().unwrap();
    }

    fn destroy(&self) {
        self.connection.destroy_window(self.id).unwrap();
        self.connection.sync().unwrap();
    }

    fn shows(&mut self, extent: vk::Extent2D, drawn: &[u8]) -> bool {
        let (width, height) = (extent.width as u16, extent.height as u16);
        let image =
            self.connection.get_image(ImageFormat::Z_PIXMAP, self.id, 0, 0, width, height, !0).unwrap();
        let shown = image.reply().unwrap().data;
        shown.chunks_exact(4).zip(drawn.chunks_exact(4)).all(|(a, b)| a[..3] == b[..3])
    }
}

/// Writes what the screen shows.
pub(crate) fn screenshot(path: &Path) {
    let (connection, screen) = XCBConnection::connect(None).expect("an X server");
    let root = &connection.setup().roots[screen];
    let (width, height) = (root.width_in_pixels, root.height_in_pixels);
    let image = connection.get_image(ImageFormat::Z_PIXMAP, root.root, 0, 0, width, height, !0).unwrap();
    let texels = image.reply().unwrap().data;
    let pixels: Vec<u8> = texels.chunks_exact(4).flat_map(|texel| [texel[2], texel[1], texel[0]]).collect();
    let file = BufWriter::new(File::create(path).unwrap());
    let mut encoder = png::Encoder::new(file, width.into(), height.into());
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

/// How many resources the X server has for all of its clients but this one, whose number does not change either.
pub(crate) fn resources() -> u32 {
    let (connection, _) = XCBConnection::connect(None).expect("an X server");
    let clients = connection.res_query_clients().unwrap().reply().expect("the extension X-Resource").clients;
    let counts = clients.iter().map(|client| {
        let types =
            connection.res_query_client_resources(client.resource_base).unwrap().reply().unwrap().types;
        types.iter().map(|ty| ty.count).sum::<u32>()
    });
    counts.sum()
}
