//! Ranges of the window that the data of one call travel through.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

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
        self.await_read(self.memories.released.load(Ordering::Acquire));
    }

    /// Waits until the host has read the ring up to `last`.
    pub(crate) fn await_read(&self, last: u64) {
        let head = self.control().head_cursor();
        if head.load() >= last {
            return;
        }
        self.flush();
        if let Some(mirror) = self.region().mirror() {
            mirror.ask(last);
        }
        let read = || head.load() >= last || self.broken();
        if let Err(gone) = head.moved.wait_until(&self.reply_spin, None, &*self.peer, read) {
            self.give_up(&gone);
        }
    }
}
