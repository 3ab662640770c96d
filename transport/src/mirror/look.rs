//! Which parts of the window are to be compared with the shadow.

use std::ptr::NonNull;

use super::Side;
use crate::ranges::Ranges;
use crate::region::Region;
use crate::written::Written;

/// Where this side may have written something that the other side is to see.
#[derive(Debug)]
pub(super) struct Look {
    side: Side,
    page: u64,
    /// What the program sees.
    shown: Ranges,
    /// Host: what the device may write.
    changeable: Ranges,
    /// Host: what is in both.
    both: Vec<(u64, u64)>,
    /// Guest: which pages were written, where the kernel tells.
    written: Option<Written>,
}

impl Look {
    pub(super) fn new(side: Side, base: NonNull<u8>, size: usize, compare: bool) -> Self {
        let page = crate::layout::system_page_size();
        let wanted = side == Side::Guest && !compare && size > 0;
        // Where the kernel does not tell, everything is compared.
        let written = wanted.then(|| Written::watch(base, size).ok()).flatten();
        Self {
            side,
            page,
            shown: Ranges::default(),
            changeable: Ranges::default(),
            both: Vec::new(),
            written,
        }
    }

    pub(super) fn show(&mut self, offset: u64, length: u64) {
        self.shown.add(offset, offset.saturating_add(length));
        self.renew();
    }

    pub(super) fn hide(&mut self, offset: u64, length: u64) {
        self.shown.remove(offset, offset.saturating_add(length));
        self.renew();
    }

    pub(super) fn may_change(&mut self, offset: u64, length: u64) {
        self.changeable.add(offset, offset.saturating_add(length));
        self.renew();
    }

    pub(super) fn forget(&mut self, offset: u64, length: u64) {
        self.changeable.remove(offset, offset.saturating_add(length));
        self.hide(offset, length);
    }

    fn renew(&mut self) {
        if self.side == Side::Host {
            self.both = self.shown.intersection(&self.changeable);
        }
    }

    /// Host: what the device may write of a range.
    pub(super) fn changeable(&self, offset: u64, length: u64) -> Vec<(u64, u64)> {
        self.changeable.within(offset, offset.saturating_add(length)).collect()
    }

    /// The parts, from start to end.
    pub(super) fn parts(&mut self, region: &Region) -> Vec<(u64, u64)> {
        if self.side == Side::Host {
            return self.both.clone();
        }
        let mut parts = Vec::new();
        if let Some(written) = &mut self.written {
            let mut known = true;
            for (start, end) in self.shown.iter() {
                let (start, end) = (start / self.page * self.page, end.next_multiple_of(self.page));
                known &= written.take(start, end, |from, to| parts.push((from, to))).is_ok();
            }
            if known {
                return parts;
            }
            // The program has closed what it did not open.
            self.written = None;
        }
        self.shown.iter().flat_map(|(start, end)| region.existing(start, end)).collect()
    }
}
