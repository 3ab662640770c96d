//! The program's own libxcb, opened when a program first has a window of an X server.

use std::ffi::{c_int, c_void};
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;

use x11rb::protocol::xproto::Setup;
use x11rb::x11_utils::TryParse as _;

/// Functions of libxcb and libX11-xcb.
pub(super) struct Library {
    get_file_descriptor: unsafe extern "C" fn(*mut c_void) -> c_int,
    get_setup: unsafe extern "C" fn(*mut c_void) -> *const u8,
    get_geometry: unsafe extern "C" fn(*mut c_void, u32) -> Cookie,
    get_geometry_reply: unsafe extern "C" fn(*mut c_void, Cookie, *mut *mut c_void) -> *mut GeometryReply,
    /// There where a program uses Xlib.
    get_xcb_connection: Option<unsafe extern "C" fn(*mut c_void) -> *mut c_void>,
    /// What the functions are in.
    _opened: (libloading::Library, Option<libloading::Library>),
}

/// `xcb_get_geometry_cookie_t`
#[repr(C)]
#[derive(Clone, Copy)]
struct Cookie {
    sequence: u32,
}

/// The beginning of `xcb_get_geometry_reply_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct GeometryReply {
    response_type: u8,
    depth: u8,
    sequence: u16,
    length: u32,
    root: u32,
    position: [i16; 2],
    width: u16,
    height: u16,
}

/// Size and depth of a window.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    pub(super) depth: u8,
    pub(super) width: u16,
    pub(super) height: u16,
}

unsafe extern "C" {
    fn free(memory: *mut c_void);
}

impl Library {
    /// The library; none where it cannot be opened.
    pub(super) fn get() -> Option<&'static Self> {
        static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
        // SAFETY: libraries that the program uses too, if it has a connection; their initialisers do nothing unusual.
        LIBRARY.get_or_init(|| unsafe { Self::open() }).as_ref()
    }

    unsafe fn open() -> Option<Self> {
        // SAFETY: the caller's promise; the functions have the signatures of xcb/xcb.h and X11/Xlib-xcb.h.
        unsafe {
            let xcb = libloading::Library::new("libxcb.so.1").ok()?;
            let xlib = libloading::Library::new("libX11-xcb.so.1").ok();
            Some(Self {
                get_file_descriptor: *xcb.get(b"xcb_get_file_descriptor\0").ok()?,
                get_setup: *xcb.get(b"xcb_get_setup\0").ok()?,
                get_geometry: *xcb.get(b"xcb_get_geometry\0").ok()?,
                get_geometry_reply: *xcb.get(b"xcb_get_geometry_reply\0").ok()?,
                get_xcb_connection: xlib
                    .as_ref()
                    .and_then(|xlib| Some(*xlib.get(b"XGetXCBConnection\0").ok()?)),
                _opened: (xcb, xlib),
            })
        }
    }

    /// The connection behind a `Display`.
    ///
    /// # Safety
    /// `display` must be live.
    pub(super) unsafe fn of_display(&self, display: *mut c_void) -> Option<*mut c_void> {
        // SAFETY: the caller's promise.
        Some(unsafe { (self.get_xcb_connection?)(display) }).filter(|connection| !connection.is_null())
    }

    /// The socket of a connection.
    ///
    /// # Safety
    /// `connection` must be live as long as the socket is used.
    pub(super) unsafe fn descriptor<'a>(&self, connection: *mut c_void) -> Option<BorrowedFd<'a>> {
        // SAFETY: the caller's promise; the connection keeps the socket open.
        unsafe {
            let fd = (self.get_file_descriptor)(connection);
            (fd >= 0).then(|| BorrowedFd::borrow_raw(fd))
        }
    }

    /// What the server has said of itself.
    ///
    /// # Safety
    /// `connection` must be live.
    pub(super) unsafe fn setup(&self, connection: *mut c_void) -> Option<Setup> {
        // SAFETY: the caller's promise. What is returned is the server's message: its length in words of four bytes,
        // behind the first eight bytes, is at the seventh.
        unsafe {
            let setup = (self.get_setup)(connection);
            if setup.is_null() {
                return None;
            }
            let length = 8 + 4 * usize::from(setup.add(6).cast::<u16>().read_unaligned());
            Some(Setup::try_parse(std::slice::from_raw_parts(setup, length)).ok()?.0)
        }
    }

    /// Size and depth of a window; none if it or the server is gone. The server has come to all that was sent to it
    /// before.
    ///
    /// # Safety
    /// `connection` must be live.
    pub(super) unsafe fn geometry(&self, connection: *mut c_void, window: u32) -> Option<Geometry> {
        // SAFETY: the caller's promise; reply and error are the caller's to free.
        unsafe {
            let mut error = null_mut();
            let cookie = (self.get_geometry)(connection, window);
            let reply = NonNull::new((self.get_geometry_reply)(connection, cookie, &raw mut error));
            free(error);
            let reply = reply?;
            let GeometryReply { depth, width, height, .. } = reply.read();
            free(reply.as_ptr().cast());
            Some(Geometry { depth, width, height })
        }
    }
}
