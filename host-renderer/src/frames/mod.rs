//! The frames that a guest presents, for those on the host who want to see them.
//!
//! The guest shows frames itself, from pages that the host's device copies them to. Before it submits such a copy it says
//! which pages they are; when the copy is finished the frame is here for whoever looks ([`watch`]). A picture is taken of the
//! pages themselves, by the thread of the one who looks, and is never torn: pages are announced before anything is
//! written to them again, and only who announces pages that are being looked at at that moment waits.

pub mod picture;
pub mod statistics;
pub mod surfaces;
pub mod watch;

use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vw_transport::{Mirror, Region, SharedFile};

use self::picture::{Format, Picture};
use self::statistics::{Statistics, SurfaceSummary};
use self::surfaces::{Number, Surfaces};

/// Where the pages of frames are. They stay mapped as long as this lives.
#[derive(Debug, Clone)]
pub enum Place {
    /// In the session's window.
    Window(Arc<Region>),
    /// In a file that the guest has sent.
    File(Arc<SharedFile>),
}

impl Place {
    fn base(&self) -> NonNull<u8> {
        match self {
            Self::Window(region) => region.window().0,
            Self::File(file) => file.base(),
        }
    }
}

/// A frame that a guest has submitted.
#[derive(Debug, Clone)]
pub struct Frame {
    /// What the guest calls the surface.
    pub surface: u64,
    /// The guest's id of the memory.
    pub memory: u64,
    /// Where its pages are.
    pub place: Place,
    /// Where it begins there; all of its rows lie in the memory.
    pub offset: u64,
    /// Texels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next, at least those of a row.
    pub row: u32,
    /// What its texels are.
    pub format: Format,
    /// When the host heard of it.
    pub submitted: Instant,
}

impl Frame {
    /// Bytes from its first texel to behind its last; none if that is more than any memory has.
    pub fn bytes(width: u32, height: u32, row: u32) -> Option<u64> {
        let rows = u64::from(row).checked_mul(u64::from(height.checked_sub(1)?))?;
        rows.checked_add(u64::from(width) * Format::TEXEL as u64)
    }

    /// Whether a byte of it is one of the other's.
    fn meets(&self, other: &Self) -> bool {
        let end = |frame: &Self| {
            frame.offset + Self::bytes(frame.width, frame.height, frame.row).unwrap_or(u64::MAX >> 1)
        };
        self.memory == other.memory && self.offset < end(other) && other.offset < end(self)
    }

    /// What its pages hold now, its rows one after the other.
    fn read(&self) -> Vec<u8> {
        let row = self.width as usize * Format::TEXEL;
        let mut texels = vec![0; row * self.height as usize];
        for (y, to) in texels.chunks_exact_mut(row).enumerate() {
            let from = self.offset as usize + y * self.row as usize;
            // SAFETY: all rows lie in pages that stay mapped as long as `place`. (The guest may write there meanwhile: then
            // the picture is its own fault.)
            unsafe { self.place.base().add(from).as_ptr().copy_to_nonoverlapping(to.as_mut_ptr(), row) };
        }
        texels
    }
}

/// The frames of a session.
#[derive(Debug, Default)]
pub struct Frames {
    state: Mutex<State>,
    changed: Condvar,
    /// The session's region, whose stream is counted.
    region: Option<Arc<Region>>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the last complete frame, counted from 1.
    serial: u64,
    surfaces: Surfaces,
    /// The frame that somebody takes a picture of.
    read: Option<Frame>,
    statistics: Statistics,
}

/// A frame that is complete when its submission is.
#[derive(Debug)]
pub struct Announced {
    frames: Arc<Frames>,
    frame: Frame,
}

impl Announced {
    /// The submission is complete. Called before the guest can know it.
    pub fn complete(self) {
        let Self { frames, frame } = self;
        let took = frame.submitted.elapsed();
        let mut state = frames.lock();
        state.serial += 1;
        let serial = state.serial;
        let since = state.surfaces.complete(serial, frame, took);
        state.statistics.complete(took, since);
        drop(state);
        frames.changed.notify_all();
    }
}

impl Frames {
    /// Of a session with this region.
    pub fn new(region: Arc<Region>) -> Arc<Self> {
        Arc::new(Self { region: Some(region), ..Self::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// What is submitted next writes to the pages of this frame. Waits for a picture of them that is being taken.
    pub fn announce(self: &Arc<Self>, frame: Frame) -> Announced {
        self.take_back(|other| other.meets(&frame));
        Announced { frames: Arc::clone(self), frame }
    }

    /// Memory of this id is freed.
    pub fn forget(&self, memory: u64) {
        self.take_back(|frame| frame.memory == memory);
    }

    fn take_back(&self, is_meant: impl Fn(&Frame) -> bool) {
        let mut state = self.lock();
        state.surfaces.take_back(&is_meant);
        while state.read.as_ref().is_some_and(&is_meant) {
            state = self.wait(state);
        }
    }

    /// The guest says how long frames took until they were seen, in nanoseconds.
    pub fn shown(&self, latencies: &[u64]) {
        let mut state = self.lock();
        latencies.iter().for_each(|latency| state.statistics.shown(*latency));
    }

    /// What was measured so far.
    pub fn statistics(&self) -> statistics::Summary {
        let mirror = self.region.as_ref().and_then(|region| region.mirror());
        let stream = mirror.map(Mirror::volume).unwrap_or_default();
        let stream = (stream.0.bytes, stream.1.bytes);
        let state = self.lock();
        let surfaces = state.surfaces.all().map(|(number, surface)| SurfaceSummary {
            number,
            frames: surface.frames,
            span: u64::try_from(surface.span().as_nanos()).unwrap_or(u64::MAX),
            width: surface.width,
            height: surface.height,
        });
        statistics::Summary { stream, ..state.statistics.summary(surfaces.collect()) }
    }

    /// A picture of the last frame if its number is above `after`, or of the next one that is complete within `patience`: of
    /// a surface, with the frame's number there, or of the one that was presented to last, with its number in the session.
    pub fn picture(&self, of: Option<Number>, after: u64, patience: Duration) -> Option<Picture> {
        let end = Instant::now() + patience;
        let mut state = self.lock();
        let (surface, serial, frame, took) = loop {
            if state.read.is_none()
                && let Some((number, surface)) = state.surfaces.find(of)
                && let Some((frame, took)) = &surface.last
            {
                let serial = if of.is_some() { surface.frames } else { surface.serial };
                if serial > after {
                    break (number, serial, frame.clone(), *took);
                }
            }
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.read = Some(frame.clone());
        let shown = state.statistics.last_shown();
        drop(state);
        let texels = frame.read();
        self.lock().read = None;
        self.changed.notify_all();
        let Frame { width, height, format, .. } = frame;
        let done = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        Some(Picture { serial, surface, width, height, format, done, shown, texels })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn frame(file: &Arc<SharedFile>, offset: u64) -> Frame {
        Frame {
            surface: 1,
            memory: 7,
            place: Place::File(Arc::clone(file)),
            offset,
            width: 2,
            height: 2,
            row: 16,
            format: Format::Bgra,
            submitted: Instant::now(),
        }
    }

    /// Writes the bytes of a frame's rows, and others between them.
    fn draw(file: &SharedFile, offset: usize, byte: u8) {
        // SAFETY: the file is larger.
        unsafe {
            file.base().add(offset).write_bytes(0xEE, 24);
            file.base().add(offset).write_bytes(byte, 8);
            file.base().add(offset + 16).write_bytes(byte, 8);
        }
    }

    #[test]
    fn picture_when_a_frame_is_complete_has_its_texels_until_its_pages_are_announced_again() {
        let file = Arc::new(SharedFile::create(8192).unwrap());
        let frames = Arc::new(Frames::default());
        assert!(frames.picture(None, 0, Duration::ZERO).is_none());
        draw(&file, 64, 3);
        let announced = frames.announce(frame(&file, 64));
        assert!(frames.picture(None, 0, Duration::ZERO).is_none(), "not complete");
        announced.complete();
        let picture = frames.picture(None, 0, Duration::ZERO).unwrap();
        assert_eq!((picture.serial, picture.width, picture.texels), (1, 2, vec![3; 16]));
        assert!(frames.picture(None, 1, Duration::ZERO).is_none(), "seen already");
        let elsewhere = frames.announce(frame(&file, 4096));
        assert!(frames.picture(None, 0, Duration::ZERO).is_some(), "other pages");
        drop(frames.announce(frame(&file, 64)));
        assert!(frames.picture(None, 0, Duration::ZERO).is_none(), "it is being drawn over");
        elsewhere.complete();
        assert_eq!(frames.picture(None, 1, Duration::ZERO).unwrap().serial, 2);
        frames.forget(7);
        assert!(frames.picture(None, 0, Duration::ZERO).is_none(), "its memory is freed");
        assert_eq!(frames.statistics().frames, 2);
    }

    #[test]
    fn pictures_when_taken_while_frames_are_drawn_are_never_torn() {
        let file = Arc::new(SharedFile::create(8192).unwrap());
        let frames = Arc::new(Frames::default());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..20_000_u32 {
                    let offset = u64::from(round % 2) * 4096;
                    let announced = frames.announce(frame(&file, offset));
                    draw(&file, offset as usize, round as u8);
                    announced.complete();
                }
            });
            let mut serial = 0;
            while serial < 20_000 {
                let Some(picture) = frames.picture(None, serial, Duration::from_secs(20)) else {
                    panic!("no frame")
                };
                let byte = (picture.serial - 1) as u8;
                assert!(picture.serial > serial && picture.texels.iter().all(|other| *other == byte));
                serial = picture.serial;
            }
        });
    }

    #[test]
    fn picture_when_a_surface_is_chosen_is_of_that_one() {
        let file = Arc::new(SharedFile::create(8192).unwrap());
        let frames = Arc::new(Frames::default());
        let present = |surface, offset, byte| {
            let announced = frames.announce(Frame { surface, ..frame(&file, offset) });
            draw(&file, offset as usize, byte);
            announced.complete();
        };
        present(77, 0, 1);
        present(55, 4096, 2);
        present(55, 4096, 3);
        let seen = |number| {
            let picture = frames.picture(number, 0, Duration::ZERO)?;
            Some((picture.surface.get(), picture.serial, picture.texels[0]))
        };
        let [first, second, third] = [1, 2, 3].map(Number::new);
        assert_eq!((seen(first), seen(second)), (Some((1, 1, 1)), Some((2, 2, 3))));
        assert_eq!((seen(None), seen(third)), (Some((2, 3, 3)), None), "the last, and one that there is not");
        drop(frames.announce(Frame { surface: 55, ..frame(&file, 4096) }));
        assert_eq!((seen(None), seen(first)), (None, Some((1, 1, 1))), "one is being drawn over");
        let counts: Vec<_> = frames.statistics().surfaces.iter().map(|surface| surface.frames).collect();
        assert_eq!(counts, [1, 2]);
        (100..10_000).for_each(|surface| present(surface, 0, 0));
        assert!(frames.statistics().surfaces.len() <= 64, "those that are long gone are forgotten");
    }

    #[test]
    fn bytes_when_sizes_are_extreme_are_counted_or_refused() {
        assert_eq!(Frame::bytes(2, 2, 16), Some(24));
        assert_eq!(Frame::bytes(1, 0, 4), None);
        assert_eq!(Frame::bytes(u32::MAX, u32::MAX, u32::MAX), None);
    }
}
