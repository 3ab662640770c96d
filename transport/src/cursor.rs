//! One end of the ring as the two sides share it.

use crate::sync::{AtomicU64, Ordering};
use crate::wait::Signal;

/// A position that one side advances, and the word on which the other side sleeps until it has moved.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    /// Bytes ever written (tail) or read (head).
    pub position: &'a AtomicU64,
    /// Signalled when `position` has moved and somebody sleeps.
    pub moved: Signal<'a>,
}

impl Cursor<'_> {
    /// The position as the other side left it, and everything that it did before.
    pub fn load(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Moves the position and wakes who sleeps for it. Returns whether somebody slept.
    pub fn advance(&self, to: u64) -> bool {
        self.position.store(to, Ordering::Release);
        self.moved.signal()
    }

    /// Moves the position; wakes a sleeper only if it is seen without a fence. The caller must come to
    /// [`Cursor::advance`] or [`Signal::signal`] before it sleeps itself, or a sleeper can be missed for good.
    pub fn advance_lazily(&self, to: u64) {
        self.position.store(to, Ordering::Release);
        if self.moved.is_slept_on() {
            self.moved.signal();
        }
    }
}
