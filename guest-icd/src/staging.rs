//! Ranges of the window that the data of one call travel through.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::session::Session;

/// A range of the window through which a call's data travel; given back when dropped.
pub(crate) struct Staging<'a> {
    session: &'a Session,
    offset: u64,
    bytes: u64,
}

impl Staging<'_> {
    /// Where it is in the window.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Where it is in this process.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.session.memories.in_window(self.offset)
    }

    /// Before a call that reads what was written there, or mapped memory.
    pub(crate) fn settle(&self) {
        if let Some(mirror) = self.session.region().mirror() {
            mirror.settle();
            mirror.settle_range(self.offset, self.bytes);
        }
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        self.session.memories.free_range(self.offset, self.bytes);
    }
}

impl Session {
    /// Takes `bytes` of the window for as long as a call lasts; none when there is no room.
    pub(crate) fn stage(&self, bytes: u64) -> Option<Staging<'_>> {
        let offset = self.memories.take_range(bytes)?;
        self.await_releases();
        Some(Staging { session: self, offset, bytes })
    }

    /// Notes that all that was sent so far may release memory.
    pub(crate) fn note_release(&self) {
        if let Ok(position) = self.with_sender(|sender| Ok(sender.position())) {
            self.memories.released.fetch_max(position, Ordering::AcqRel);
        }
    }

    /// Waits until the host has taken every release of memory so far. Whoever writes to new pages of the window before the
    /// host knows of their use has to: until then it may still punch out what they were before.
    pub(crate) fn await_releases(&self) {
        let last = self.memories.released.load(Ordering::Acquire);
        if let Some(mirror) = self.region().mirror().filter(|_| self.control().head_cursor().load() < last) {
            mirror.ask(last);
        }
        while self.control().head_cursor().load() < last && !self.lost_now() {
            self.flush();
            std::thread::sleep(Duration::from_micros(20));
        }
    }
}
