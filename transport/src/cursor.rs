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
    /// The ring is memory whose loads and stores other processors may see in another order.
    pub weak: bool,
}

/// What acquire and release are not enough for where memory is `weak`: write-combined memory of a device, whose stores linger in
/// buffers and whose loads are not repeated when they came too early.
#[inline]
pub(crate) fn order(weak: bool) {
    if weak {
        // SAFETY: a part of every x86-64 (SSE2); unlike `fence`, which may be a locked instruction, it orders loads of
        // write-combined memory too.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::x86_64::_mm_mfence();
        }
        #[cfg(not(target_arch = "x86_64"))]
        crate::sync::fence(Ordering::SeqCst);
    }
}

impl Cursor<'_> {
    /// The position as the other side left it, and everything that it did before.
    pub fn load(&self) -> u64 {
        let position = self.position.load(Ordering::Acquire);
        order(self.weak);
        position
    }

    /// Moves the position and wakes who sleeps for it. Returns whether somebody slept.
    pub fn advance(&self, to: u64) -> bool {
        order(self.weak);
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
