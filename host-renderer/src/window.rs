//! The window of host-visible memory, where guest, host and device do not all see the same pages: what one has written is
//! carried to the others before they look.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use vw_transport::{Copies, Region};

/// The window of a session.
#[derive(Debug)]
pub struct Window {
    region: Arc<Region>,
    /// What the device has memory of its own for; none where it works in the window's pages.
    copies: Option<Copies>,
}

impl Window {
    /// The window of `region`; `copied`: the device does not work in its pages, or not in all.
    pub fn new(region: Arc<Region>, copied: bool) -> Self {
        let copies = copied.then(|| Copies::new(Arc::clone(&region)));
        Self { region, copies }
    }

    /// Whether what the device writes has to be carried anywhere for the program to see it.
    pub fn is_apart(&self) -> bool {
        self.copies.is_some() || self.region.mirror().is_some()
    }

    /// The program sees `length` bytes from `offset` on, from now on; `device`: where the device has them, if not there. What
    /// the device has written comes before what is said to the guest next.
    ///
    /// # Errors
    /// When there is no memory.
    ///
    /// # Safety
    /// `device` must lead to so many bytes that stay until they are [forgotten](Self::forget), and `offset` to as many in the
    /// window, which overlap nothing else that is shown.
    pub unsafe fn show(&self, offset: u64, length: u64, device: Option<NonNull<u8>>) -> io::Result<()> {
        if let (Some(device), Some(copies)) = (device, &self.copies) {
            // SAFETY: the caller's promise.
            unsafe { copies.show(offset, device, length)? };
        }
        if let Some(mirror) = self.region.mirror() {
            mirror.show(offset, length);
            mirror.settle_changes(offset, length);
        }
        Ok(())
    }

    /// The device may write there from now on.
    pub fn may_change(&self, offset: u64, length: u64) {
        if let Some(copies) = &self.copies {
            copies.may_change(offset, length);
        }
        if let Some(mirror) = self.region.mirror() {
            mirror.may_change(offset, length);
        }
    }

    /// The memory there is about to be freed.
    pub fn forget(&self, offset: u64, length: u64) {
        if let Some(copies) = &self.copies {
            copies.forget(offset, length);
        }
        if let Some(mirror) = self.region.mirror() {
            mirror.forget(offset, length);
        }
    }

    /// Before the device may read: what the program has written.
    pub fn take(&self) {
        if let Some(copies) = &self.copies {
            copies.take();
        }
    }

    /// Before a completion is published, which is what tells the guest: what the device has written.
    pub fn give(&self) {
        if let Some(copies) = &self.copies {
            copies.give();
        }
    }

    /// As [`give`](Self::give), before anything else that is said to the guest. `also`: ranges that the host has written, offsets
    /// and lengths.
    pub fn settle(&self, also: &[(u64, u64)]) {
        self.give();
        if let Some(mirror) = self.region.mirror() {
            also.iter().for_each(|(offset, bytes)| mirror.settle_range(*offset, *bytes));
            mirror.settle();
        }
    }

    /// As [`give`](Self::give), with nothing to follow.
    pub fn give_now(&self) {
        self.give();
        if let Some(mirror) = self.region.mirror() {
            mirror.settle_now();
        }
    }
}
