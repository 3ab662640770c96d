//! The surfaces that a session presents to, by small numbers.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::Frame;

/// A surface's number in its session, counted from 1 in the order in which they were first presented to.
pub type Number = NonZeroU32;

/// Surfaces that are remembered; a guest has as many as it likes.
const MOST: usize = 64;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Surfaces {
    known: BTreeMap<Number, Surface>,
    /// How many there were.
    count: u32,
}

/// A surface with a frame at least.
#[derive(Debug)]
pub(super) struct Surface {
    /// What the guest calls it.
    id: u64,
    /// Its complete frames.
    pub(super) frames: u64,
    /// The number of the last one in its session.
    pub(super) serial: u64,
    /// Texels in a row of it.
    pub(super) width: u32,
    /// Its rows.
    pub(super) height: u32,
    first: Instant,
    latest: Instant,
    /// That frame and how long it took, unless something else is or will be in its pages.
    pub(super) last: Option<(Frame, Duration)>,
}

impl Surface {
    /// From the first to the last of its frames.
    pub(super) fn span(&self) -> Duration {
        self.latest - self.first
    }
}

impl Surfaces {
    /// A frame is complete, the one with this number in its session; how long after the surface's one before.
    pub(super) fn complete(&mut self, serial: u64, frame: Frame, took: Duration) -> Option<Duration> {
        let now = Instant::now();
        let Frame { surface: id, width, height, .. } = frame;
        let last = Some((frame, took));
        if let Some(known) = self.known.values_mut().find(|known| known.id == id) {
            let since = now - known.latest;
            let (frames, first) = (known.frames + 1, known.first);
            *known = Surface { id, frames, serial, width, height, first, latest: now, last };
            return Some(since);
        }
        if self.known.len() >= MOST {
            self.known.pop_first();
        }
        self.count = self.count.saturating_add(1);
        if let Some(number) = Number::new(self.count) {
            let new = Surface { id, frames: 1, serial, width, height, first: now, latest: now, last };
            self.known.insert(number, new);
        }
        None
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (Number, &Surface)> {
        self.known.iter().map(|(number, surface)| (*number, surface))
    }

    /// The one of a number, or the one that was presented to last.
    pub(super) fn find(&self, number: Option<Number>) -> Option<(Number, &Surface)> {
        match number {
            Some(number) => Some((number, self.known.get(&number)?)),
            None => self.all().max_by_key(|(_, surface)| surface.serial),
        }
    }

    /// Something else will be in the pages of these frames.
    pub(super) fn take_back(&mut self, is_meant: impl Fn(&Frame) -> bool) {
        for surface in self.known.values_mut() {
            surface.last.take_if(|(frame, _)| is_meant(frame));
        }
    }
}
