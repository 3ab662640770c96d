//! The memory window: which pages of the session's region hold which allocation.
//!
//! Host-visible `VkDeviceMemory` is a range of the window that guest and GPU both see. The guest chooses the
//! ranges; the host checks that they are whole pages inside the window and overlap no live allocation.

use std::collections::{BTreeMap, BTreeSet};

/// Best-fit allocator of page-aligned ranges. Offsets and lengths are in bytes from the window's start.
#[derive(Debug)]
pub(crate) struct Window {
    /// Free ranges, offset -> length; never two that touch.
    by_offset: BTreeMap<u64, u64>,
    /// The same ranges as (length, offset).
    by_length: BTreeSet<(u64, u64)>,
    /// Page size in bytes, a power of two.
    page: u64,
    /// Bytes in use.
    used: u64,
}

impl Window {
    /// A window of `size` bytes, all free, in pages of `page` bytes (a power of two; otherwise taken as 4096).
    pub(crate) fn new(size: u64, page: u64) -> Self {
        let page = if page.is_power_of_two() { page } else { 4096 };
        let mut window = Self { by_offset: BTreeMap::new(), by_length: BTreeSet::new(), page, used: 0 };
        let size = size & !(page - 1);
        if size > 0 {
            window.insert(0, size);
        }
        window
    }

    /// `length` bytes rounded up to whole pages; `None` on overflow.
    pub(crate) fn rounded(&self, length: u64) -> Option<u64> {
        Some(length.max(1).checked_add(self.page - 1)? & !(self.page - 1))
    }

    /// Takes a range for `length` bytes: the smallest free one that fits, the lowest of equals. `None` when
    /// there is none.
    pub(crate) fn allocate(&mut self, length: u64) -> Option<u64> {
        let length = self.rounded(length)?;
        let &(found, offset) = self.by_length.range((length, 0)..).next()?;
        self.remove(offset, found);
        if found > length {
            self.insert(offset + length, found - length);
        }
        self.used += length;
        Some(offset)
    }

    /// Gives back the range that [`Window::allocate`] returned for `length` bytes.
    pub(crate) fn free(&mut self, offset: u64, length: u64) {
        let Some(mut length) = self.rounded(length) else { return };
        self.used = self.used.saturating_sub(length);
        let mut start = offset;
        if let Some((&before, &size)) = self.by_offset.range(..offset).next_back()
            && before + size == offset
        {
            self.remove(before, size);
            (start, length) = (before, size + length);
        }
        if let Some(&size) = self.by_offset.get(&(start + length)) {
            self.remove(start + length, size);
            length += size;
        }
        self.insert(start, length);
    }

    /// Bytes in use, in whole pages.
    #[cfg(test)]
    fn used(&self) -> u64 {
        self.used
    }

    fn insert(&mut self, offset: u64, length: u64) {
        self.by_offset.insert(offset, length);
        self.by_length.insert((length, offset));
    }

    fn remove(&mut self, offset: u64, length: u64) {
        self.by_offset.remove(&offset);
        self.by_length.remove(&(length, offset));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    #[test]
    fn window_when_full_refuses() {
        let mut w = Window::new(4 * PAGE, PAGE);
        assert_eq!(w.allocate(4 * PAGE), Some(0));
        assert_eq!(w.allocate(1), None);
        assert_eq!(w.used(), 4 * PAGE);
    }

    #[test]
    fn window_when_asked_for_bytes_takes_whole_pages() {
        let mut w = Window::new(4 * PAGE, PAGE);
        assert_eq!(w.allocate(1), Some(0));
        assert_eq!(w.allocate(PAGE + 1), Some(PAGE));
        assert_eq!(w.allocate(0), Some(3 * PAGE));
        assert_eq!(w.used(), 4 * PAGE);
    }

    #[test]
    fn window_when_asked_for_too_much_refuses() {
        let mut w = Window::new(4 * PAGE, PAGE);
        assert_eq!(w.allocate(u64::MAX), None);
        assert_eq!(w.allocate(5 * PAGE), None);
        assert_eq!(Window::new(PAGE - 1, PAGE).allocate(1), None);
    }

    #[test]
    fn window_when_neighbours_are_freed_joins_them() {
        let mut w = Window::new(3 * PAGE, PAGE);
        let (a, b, c) = (w.allocate(PAGE).unwrap(), w.allocate(PAGE).unwrap(), w.allocate(PAGE).unwrap());
        w.free(a, PAGE);
        w.free(c, PAGE);
        assert_eq!(w.allocate(2 * PAGE), None);
        w.free(b, PAGE);
        assert_eq!(w.by_offset.len(), 1);
        assert_eq!(w.allocate(3 * PAGE), Some(0));
    }

    #[test]
    fn window_when_several_ranges_fit_takes_the_tightest() {
        let mut w = Window::new(16 * PAGE, PAGE);
        let big = w.allocate(5 * PAGE).unwrap();
        w.allocate(PAGE).unwrap();
        let small = w.allocate(2 * PAGE).unwrap();
        w.allocate(PAGE).unwrap();
        w.free(big, 5 * PAGE);
        w.free(small, 2 * PAGE);
        assert_eq!(w.allocate(2 * PAGE), Some(small));
    }

    #[test]
    fn window_when_churned_never_overlaps_and_comes_back_whole() {
        let mut w = Window::new(1024 * PAGE, PAGE);
        let mut live: Vec<(u64, u64)> = Vec::new();
        let mut random = 7u32;
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if random >> 31 == 0 || live.is_empty() {
                let length = u64::from(random >> 8) % (40 * PAGE) + 1;
                if let Some(offset) = w.allocate(length) {
                    let end = offset + w.rounded(length).unwrap();
                    assert!(end <= 1024 * PAGE);
                    for &(o, l) in &live {
                        assert!(end <= o || o + w.rounded(l).unwrap() <= offset);
                    }
                    live.push((offset, length));
                }
            } else {
                let (offset, length) = live.swap_remove((random >> 8) as usize % live.len());
                w.free(offset, length);
            }
        }
        for (offset, length) in live {
            w.free(offset, length);
        }
        assert_eq!(w.used(), 0);
        assert_eq!(w.allocate(1024 * PAGE), Some(0));
    }
}
