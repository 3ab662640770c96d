//! A window that pages are shown in.
//!
//! Pages that the server can map become pixmaps, which the Present extension shows in time and says of when they are
//! free. Without that extension they are put into the window (MIT-SHM); a server that cannot map them is sent their
//! contents.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Mutex;
use std::time::Instant;

use ash::vk;
use x11rb::connection::{Connection as _, RequestConnection as _};
use x11rb::errors::ReplyError;
use x11rb::protocol::present::{
    CompleteKind, ConnectionExt as _, EventMask as PresentEvents, Option as Timing,
};
use x11rb::protocol::shm::ConnectionExt as _;
use x11rb::protocol::xfixes::ConnectionExt as _;
use x11rb::protocol::xproto::{
    ChangeWindowAttributesAux, ConnectionExt as _, CreateGCAux, EventMask, ImageFormat, Rectangle,
};
use x11rb::protocol::{Event, present, shm, xfixes};
use x11rb::rust_connection::RustConnection;

use crate::session::lock;
use crate::wsi::images::Shown;
use crate::wsi::screen::{Frame, News, Screen, Showing, poll};

use super::server::Server;

/// A window and the pages that are shown in it.
pub(super) struct XScreen {
    connection: RustConnection,
    window: u32,
    depth: u8,
    gc: u32,
    way: Way,
    shown: Shown,
    progress: Mutex<Progress>,
}

/// How the server gets the pages.
enum Way {
    /// As pixmaps over the pages, one for each image, which it shows in time.
    Pixmaps(Vec<u32>),
    /// It copies from this segment.
    Segment(u32),
    /// Over the connection.
    Data,
}

#[derive(Default)]
struct Progress {
    /// The last frame that was given to the server.
    serial: u64,
    /// The refresh of the display at which the last frame was seen.
    msc: u64,
}

/// Makes a screen of a window; none where window or server are gone.
pub(super) fn open(server: Server, window: u32, shown: Shown) -> Option<XScreen> {
    let connection = &server.connection;
    let prepare = || -> Result<(u8, u32, Way), ReplyError> {
        let depth = connection.get_geometry(window)?.reply()?.depth;
        // Selected for this connection alone.
        let events = ChangeWindowAttributesAux::new().event_mask(EventMask::STRUCTURE_NOTIFY);
        connection.change_window_attributes(window, &events)?.check()?;
        let gc = id(connection)?;
        connection.create_gc(gc, window, &CreateGCAux::new().graphics_exposures(0))?.check()?;
        Ok((depth, gc, way(&server, window, depth, &shown)?))
    };
    let (depth, gc, way) = prepare().ok()?;
    let progress = Mutex::default();
    Some(XScreen { connection: server.connection, window, depth, gc, way, shown, progress })
}

fn id(connection: &RustConnection) -> Result<u32, ReplyError> {
    connection.generate_id().map_err(|_| x11rb::errors::ConnectionError::UnknownError.into())
}

/// The best way that the server knows.
fn way(server: &Server, window: u32, depth: u8, shown: &Shown) -> Result<Way, ReplyError> {
    let connection = &server.connection;
    let (Some(file), true) = (&shown.file, server.local) else { return Ok(Way::Data) };
    // The protocol has 32 bits for where an image begins.
    if u32::try_from(shown.stride * u64::from(shown.count)).is_err() {
        return Ok(Way::Data);
    }
    if connection.extension_information(shm::X11_EXTENSION_NAME)?.is_none() {
        return Ok(Way::Data);
    }
    let version = connection.shm_query_version()?.reply()?;
    let Ok(file) = file.try_clone() else { return Ok(Way::Data) };
    if (version.major_version, version.minor_version) < (1, 2) {
        return Ok(Way::Data);
    }
    let segment = id(connection)?;
    if connection.shm_attach_fd(segment, file, false)?.check().is_err() {
        return Ok(Way::Data);
    }
    let presents = connection.extension_information(present::X11_EXTENSION_NAME)?.is_some()
        && connection.extension_information(xfixes::X11_EXTENSION_NAME)?.is_some();
    if !presents || !version.shared_pixmaps || version.pixmap_format != u8::from(ImageFormat::Z_PIXMAP) {
        return Ok(Way::Segment(segment));
    }
    connection.present_query_version(1, 0)?.reply()?;
    connection.xfixes_query_version(2, 0)?.reply()?;
    let events = PresentEvents::COMPLETE_NOTIFY | PresentEvents::IDLE_NOTIFY;
    connection.present_select_input(id(connection)?, window, events)?.check()?;
    let mut pixmaps = Vec::new();
    let (width, height) = size(shown);
    for image in 0..shown.count {
        let (pixmap, offset) = (id(connection)?, shown.stride * u64::from(image));
        let made =
            connection.shm_create_pixmap(pixmap, window, width, height, depth, segment, offset as u32)?;
        if made.check().is_err() {
            return Ok(Way::Segment(segment));
        }
        pixmaps.push(pixmap);
    }
    Ok(Way::Pixmaps(pixmaps))
}

/// The images' size as the protocol has it.
fn size(shown: &Shown) -> (u16, u16) {
    let narrow = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
    (narrow(shown.extent.width), narrow(shown.extent.height))
}

impl XScreen {
    /// What has changed, as far as it lies in the image; everything if nothing is said.
    fn rectangles(&self, damage: &[vk::Rect2D]) -> Vec<Rectangle> {
        let (width, height) = size(&self.shown);
        let whole = Rectangle { x: 0, y: 0, width, height };
        if damage.is_empty() {
            return vec![whole];
        }
        let clip = |at: i32, length: u32, most: u16| {
            let start = at.clamp(0, most.into());
            let end = i64::from(at).saturating_add(length.into()).clamp(start.into(), most.into());
            (start as i16, (end - i64::from(start)) as u16)
        };
        let clipped = damage.iter().map(|rectangle| {
            let (x, width) = clip(rectangle.offset.x, rectangle.extent.width, width);
            let (y, height) = clip(rectangle.offset.y, rectangle.extent.height, height);
            Rectangle { x, y, width, height }
        });
        clipped.filter(|rectangle| rectangle.width > 0 && rectangle.height > 0).collect()
    }

    fn present(&self, pixmap: u32, frame: &Frame<'_>) -> Result<(), ReplyError> {
        use vk::PresentModeKHR as Mode;
        let connection = &self.connection;
        let last = lock(&self.progress).msc;
        let next = if last == 0 { 0 } else { last + 1 };
        let (timing, target) = match frame.mode {
            Mode::IMMEDIATE => (Timing::ASYNC, 0),
            Mode::MAILBOX => (Timing::NONE, 0),
            // Late ones are shown at once.
            Mode::FIFO_RELAXED => (Timing::ASYNC, next),
            _ => (Timing::NONE, next),
        };
        // Of frames that may be skipped what they have changed would be lost.
        let damage = if frame.mode == Mode::MAILBOX { &[] } else { frame.damage };
        let region = if damage.is_empty() { x11rb::NONE } else { id(connection)? };
        if region != x11rb::NONE {
            connection.xfixes_create_region(region, &self.rectangles(damage))?;
        }
        let none = x11rb::NONE;
        let serial = frame.serial as u32;
        connection.present_pixmap(
            self.window,
            pixmap,
            serial,
            none,
            region,
            0,
            0,
            none,
            none,
            none,
            timing.into(),
            target,
            0,
            0,
            &[],
        )?;
        if region != none {
            connection.xfixes_destroy_region(region)?;
        }
        Ok(())
    }

    fn put(&self, segment: u32, frame: &Frame<'_>) -> Result<(), ReplyError> {
        let offset = (self.shown.stride * u64::from(frame.image)) as u32;
        let (width, height) = size(&self.shown);
        let all = self.rectangles(frame.damage);
        // Something has to be put, so that the server says that it has read it.
        let all = if all.is_empty() { self.rectangles(&[]) } else { all };
        for (i, part) in all.iter().enumerate() {
            self.connection.shm_put_image(
                self.window,
                self.gc,
                width,
                height,
                part.x as u16,
                part.y as u16,
                part.width,
                part.height,
                part.x,
                part.y,
                self.depth,
                ImageFormat::Z_PIXMAP.into(),
                i + 1 == all.len(),
                segment,
                offset,
            )?;
        }
        Ok(())
    }

    fn send(&self, frame: &Frame<'_>) -> Result<(), ReplyError> {
        let row = self.shown.row();
        let room = self.connection.maximum_request_bytes().saturating_sub(64);
        let rows_at_once = (room / row.max(1)).clamp(1, u16::MAX.into()) as u16;
        let width = size(&self.shown).0;
        let rectangles = self.rectangles(frame.damage);
        let top = rectangles.iter().map(|part| part.y as u16).min().unwrap_or(0);
        let bottom = rectangles.iter().map(|part| part.y as u16 + part.height).max().unwrap_or(0);
        let mut strip = Vec::new();
        for y in (top..bottom).step_by(rows_at_once.into()) {
            let rows = rows_at_once.min(bottom - y);
            let bytes = row * usize::from(rows);
            strip.resize(bytes, 0);
            // SAFETY: the rows lie in the image's pages. (Another process may write there; then the frame is spoilt.)
            unsafe {
                let from = self.shown.pages(frame.image).add(row * usize::from(y));
                from.copy_to_nonoverlapping(std::ptr::NonNull::from(strip.as_mut_slice()).cast(), bytes);
            }
            let format = ImageFormat::Z_PIXMAP;
            let (window, gc) = (self.window, self.gc);
            self.connection.put_image(format, window, gc, width, rows, 0, y as i16, 0, self.depth, &strip)?;
        }
        Ok(())
    }

    /// What an event says, if anything.
    fn tell(&self, event: &Event, news: &mut Vec<News>) {
        match event {
            Event::PresentCompleteNotify(done) if done.kind == CompleteKind::PIXMAP => {
                let mut progress = lock(&self.progress);
                progress.msc = done.msc;
                // The protocol carries the lower half.
                let behind = (progress.serial as u32).wrapping_sub(done.serial);
                news.push(News::Seen(progress.serial.saturating_sub(behind.into())));
            }
            Event::PresentIdleNotify(idle) => {
                if let Way::Pixmaps(pixmaps) = &self.way
                    && let Some(image) = pixmaps.iter().position(|pixmap| *pixmap == idle.pixmap)
                {
                    news.push(News::Released(image as u32));
                }
            }
            Event::ShmCompletion(done) => {
                news.push(News::Released((u64::from(done.offset) / self.shown.stride) as u32));
                news.push(News::Seen(lock(&self.progress).serial));
            }
            Event::ConfigureNotify(now) if now.window == self.window => {
                news.push(News::Resized((now.width, now.height) != size(&self.shown)));
            }
            Event::DestroyNotify(gone) if gone.window == self.window => {
                news.push(News::Gone(vk::Result::ERROR_SURFACE_LOST_KHR));
            }
            // Requests that have no answer fail when the window is gone.
            Event::Error(_) => news.push(News::Gone(vk::Result::ERROR_SURFACE_LOST_KHR)),
            _ => {}
        }
    }
}

impl Screen for XScreen {
    fn keeps_time(&self) -> bool {
        matches!(self.way, Way::Pixmaps(_))
    }

    fn show(&self, frame: &Frame<'_>) -> Result<Showing, vk::Result> {
        lock(&self.progress).serial = frame.serial;
        let sent = match &self.way {
            Way::Pixmaps(pixmaps) => match pixmaps.get(frame.image as usize) {
                Some(pixmap) => self.present(*pixmap, frame),
                None => return Ok(Showing::Taken),
            },
            Way::Segment(segment) => self.put(*segment, frame),
            Way::Data => self.send(frame),
        };
        let sent = sent.and_then(|()| Ok(self.connection.flush()?));
        sent.map_err(|_| vk::Result::ERROR_SURFACE_LOST_KHR)?;
        Ok(if matches!(self.way, Way::Data) { Showing::Taken } else { Showing::Pending })
    }

    fn listen(&self, wake: BorrowedFd<'_>, deadline: Option<Instant>) -> Vec<News> {
        let news = self.news();
        if !news.is_empty() {
            return news;
        }
        poll(&[wake, self.connection.stream().as_fd()], deadline);
        self.news()
    }

    fn news(&self) -> Vec<News> {
        let mut news = Vec::new();
        loop {
            match self.connection.poll_for_event() {
                Ok(Some(event)) => self.tell(&event, &mut news),
                Ok(None) => return news,
                Err(_) => {
                    news.push(News::Gone(vk::Result::ERROR_SURFACE_LOST_KHR));
                    return news;
                }
            }
        }
    }
}
