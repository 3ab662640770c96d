//! A Wayland surface that pages are shown in: buffers of a `wl_shm_pool` over them.

use std::ffi::c_void;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::Instant;

use ash::vk;
use vw_transport::SharedFile;
use wayland_backend::client::{Backend, ObjectId, WaylandError};
use wayland_client::protocol::{wl_buffer, wl_callback, wl_registry, wl_shm, wl_shm_pool, wl_surface};
use wayland_client::{Connection, Dispatch, EventQueue, Proxy as _, QueueHandle, delegate_noop};

use crate::session::lock;
use crate::wsi::images::Shown;
use crate::wsi::screen::{Frame, News, Screen, Showing, poll};

/// First version of `wl_surface` that takes damage in pixels of the buffer.
const DAMAGE_BUFFER: u32 = 4;

/// A surface and the buffers that are shown in it.
pub(super) struct WaylandScreen {
    connection: Connection,
    handle: QueueHandle<Events>,
    surface: wl_surface::WlSurface,
    pool: wl_shm_pool::WlShmPool,
    /// For each image.
    buffers: Vec<wl_buffer::WlBuffer>,
    shown: Shown,
    /// Where the images' pages are in no file: what the compositor reads.
    copy: Option<SharedFile>,
    queue: Mutex<(EventQueue<Events>, Events)>,
}

/// What the compositor says.
#[derive(Default)]
struct Events {
    shm: Option<wl_shm::WlShm>,
    news: Vec<News>,
}

impl Dispatch<wl_registry::WlRegistry, ()> for Events {
    fn event(
        this: &mut Self,
        registry: &wl_registry::WlRegistry,
        event: wl_registry::Event,
        (): &(),
        _: &Connection,
        handle: &QueueHandle<Self>,
    ) {
        if let wl_registry::Event::Global { name, interface, .. } = event
            && interface == wl_shm::WlShm::interface().name
        {
            this.shm = Some(registry.bind(name, 1, handle, ()));
        }
    }
}

/// A buffer's data is its image.
impl Dispatch<wl_buffer::WlBuffer, u32> for Events {
    fn event(
        this: &mut Self,
        _: &wl_buffer::WlBuffer,
        event: wl_buffer::Event,
        image: &u32,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_buffer::Event::Release = event {
            this.news.push(News::Released(*image));
        }
    }
}

/// A callback's data is its frame.
impl Dispatch<wl_callback::WlCallback, u64> for Events {
    fn event(
        this: &mut Self,
        _: &wl_callback::WlCallback,
        _: wl_callback::Event,
        serial: &u64,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        this.news.push(News::Seen(*serial));
    }
}

delegate_noop!(Events: ignore wl_shm::WlShm);
delegate_noop!(Events: wl_shm_pool::WlShmPool);

/// Makes a screen of a surface.
///
/// # Errors
/// `VK_ERROR_SURFACE_LOST_KHR` where the compositor is gone; `VK_ERROR_OUT_OF_DEVICE_MEMORY` where the pages are more than the
/// protocol can name.
///
/// # Safety
/// `display` and `surface` must be a live `wl_display` and a `wl_surface` of it, and outlive the screen.
pub(super) unsafe fn open(
    display: *mut c_void,
    surface: *mut c_void,
    shown: Shown,
    opaque: bool,
) -> Result<WaylandScreen, vk::Result> {
    let lost = vk::Result::ERROR_SURFACE_LOST_KHR;
    let too_large = |_| vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    // SAFETY: the caller's promise.
    let (connection, surface) = unsafe {
        let connection = Connection::from_backend(Backend::from_foreign_display(display.cast()));
        let id = ObjectId::from_ptr(wl_surface::WlSurface::interface(), surface.cast());
        let surface = wl_surface::WlSurface::from_id(&connection, id.map_err(|_| lost)?).map_err(|_| lost)?;
        (connection, surface)
    };
    let (mut queue, mut events) = (connection.new_event_queue(), Events::default());
    let handle = queue.handle();
    connection.display().get_registry(&handle, ());
    queue.roundtrip(&mut events).map_err(|_| lost)?;
    let shm = events.shm.take().ok_or(lost)?;
    let bytes = i32::try_from(shown.stride * u64::from(shown.count)).map_err(too_large)?;
    let stride = i32::try_from(shown.stride).map_err(too_large)?;
    let copy = match &shown.file {
        Some(_) => None,
        None => {
            let created = SharedFile::create(bytes as usize);
            Some(created.map_err(|_| vk::Result::ERROR_OUT_OF_HOST_MEMORY)?)
        }
    };
    let file: Option<&OwnedFd> = shown.file.as_ref();
    let file = file.map(OwnedFd::as_fd).or_else(|| copy.as_ref().map(SharedFile::as_fd)).ok_or(lost)?;
    let pool = shm.create_pool(file, bytes, &handle, ());
    let format = if opaque { wl_shm::Format::Xrgb8888 } else { wl_shm::Format::Argb8888 };
    let (width, height) = (shown.extent.width as i32, shown.extent.height as i32);
    let buffer = |image: u32| {
        let offset = stride * image as i32;
        pool.create_buffer(offset, width, height, shown.row() as i32, format, &handle, image)
    };
    let buffers = (0..shown.count).map(buffer).collect();
    let queue = Mutex::new((queue, events));
    Ok(WaylandScreen { connection, handle, surface, pool, buffers, shown, copy, queue })
}

impl WaylandScreen {
    /// Says what has changed; everything if nothing is said. Of frames that may be skipped what they have changed would
    /// be lost.
    fn damage(&self, frame: &Frame<'_>) {
        let new = self.surface.version() >= DAMAGE_BUFFER;
        if !new || frame.damage.is_empty() || frame.mode == vk::PresentModeKHR::MAILBOX {
            let all = if new { wl_surface::WlSurface::damage_buffer } else { wl_surface::WlSurface::damage };
            all(&self.surface, 0, 0, i32::MAX, i32::MAX);
            return;
        }
        for vk::Rect2D { offset, extent } in frame.damage {
            let side = |length: u32| i32::try_from(length).unwrap_or(i32::MAX);
            self.surface.damage_buffer(offset.x, offset.y, side(extent.width), side(extent.height));
        }
    }

    /// Reads what has come, if anything, and takes the news.
    fn take(
        &self,
        wake: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> Result<Vec<News>, WaylandError> {
        let guard = {
            let mut queue = lock(&self.queue);
            let (queue, events) = &mut *queue;
            let dispatched = queue.dispatch_pending(events);
            dispatched.map_err(|_| WaylandError::Io(std::io::ErrorKind::ConnectionReset.into()))?;
            if !events.news.is_empty() {
                return Ok(std::mem::take(&mut events.news));
            }
            self.connection.flush().or_else(ignore_full)?;
            queue.prepare_read()
        };
        if let Some(guard) = guard {
            let fds: Vec<_> = [Some(guard.connection_fd()), wake].into_iter().flatten().collect();
            // Reading waits for the program's own readers, so that there has to be something.
            if poll(&fds, deadline) {
                guard.read().or_else(ignore_full)?;
            }
        }
        let mut queue = lock(&self.queue);
        let (queue, events) = &mut *queue;
        let dispatched = queue.dispatch_pending(events);
        dispatched.map_err(|_| WaylandError::Io(std::io::ErrorKind::ConnectionReset.into()))?;
        Ok(std::mem::take(&mut events.news))
    }

    fn taken(&self, wake: Option<BorrowedFd<'_>>, deadline: Option<Instant>) -> Vec<News> {
        self.take(wake, deadline).unwrap_or_else(|_| vec![News::Gone(vk::Result::ERROR_SURFACE_LOST_KHR)])
    }
}

/// A socket that is full or empty at the moment is no error.
fn ignore_full<T: Default>(error: WaylandError) -> Result<T, WaylandError> {
    match error {
        WaylandError::Io(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(T::default()),
        error => Err(error),
    }
}

impl Screen for WaylandScreen {
    fn keeps_time(&self) -> bool {
        true
    }

    fn show(&self, frame: &Frame<'_>) -> Result<Showing, vk::Result> {
        let Some(buffer) = self.buffers.get(frame.image as usize) else { return Ok(Showing::Taken) };
        if let Some(copy) = &self.copy {
            let bytes = self.shown.row() * self.shown.extent.height as usize;
            let offset = self.shown.stride as usize * frame.image as usize;
            // SAFETY: both are the pages of this image; the compositor has released its own.
            unsafe { self.shown.pages(frame.image).copy_to_nonoverlapping(copy.base().add(offset), bytes) };
        }
        self.surface.attach(Some(buffer), 0, 0);
        self.damage(frame);
        self.surface.frame(&self.handle, frame.serial);
        self.surface.commit();
        let flushed = self.connection.flush().or_else(ignore_full);
        flushed.map_err(|_| vk::Result::ERROR_SURFACE_LOST_KHR)?;
        Ok(Showing::Pending)
    }

    fn listen(&self, wake: BorrowedFd<'_>, deadline: Option<Instant>) -> Vec<News> {
        self.taken(Some(wake), deadline)
    }

    fn news(&self) -> Vec<News> {
        self.taken(None, Some(Instant::now()))
    }
}

impl Drop for WaylandScreen {
    fn drop(&mut self) {
        self.buffers.iter().for_each(wl_buffer::WlBuffer::destroy);
        self.pool.destroy();
        // A compositor that is gone needs to know nothing.
        let _ = self.connection.flush();
    }
}
