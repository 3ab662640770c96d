//! Where the parts of a region stand.

use crate::control::Page;

/// Smallest page size that may be negotiated: 4 KiB.
pub const MIN_PAGE_SIZE: u64 = 4 << 10;
/// Largest page size that may be negotiated: 64 KiB.
pub const MAX_PAGE_SIZE: u64 = 64 << 10;
/// Largest ring: 1 GiB. A record's length is a `u32`, and nothing needs more.
pub const MAX_RING_SIZE: u64 = 1 << 30;
/// Largest region: 16 TiB, well inside every 64-bit address space.
pub const MAX_REGION_SIZE: u64 = 1 << 44;

/// The sizes of a region's parts, in bytes. In a [`crate::Hello`] they are wishes, and 0 leaves the choice to the
/// host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The command ring: a power of two, at least a page, at most [`MAX_RING_SIZE`].
    pub ring_size: u64,
    /// The reply area: a multiple of the page size, not 0.
    pub reply_size: u64,
    /// The command arena: a multiple of the page size; may be 0.
    pub arena_size: u64,
    /// The window of host-visible memory: a multiple of the page size; may be 0. Its pages exist from the first
    /// touch on, so a large window costs address space only.
    pub window_size: u64,
    /// The larger of the two sides' page sizes: a power of two of [`MIN_PAGE_SIZE`] to [`MAX_PAGE_SIZE`].
    pub page_size: u64,
}

impl Limits {
    /// No wishes: every size is the host's choice.
    pub const HOST_CHOICE: Self =
        Self { ring_size: 0, reply_size: 0, arena_size: 0, window_size: 0, page_size: 0 };

    /// The same sizes, rounded up to what `page_size` asks for. A `page_size` that is no power of two changes
    /// nothing but the field, and [`Layout::new`] refuses it.
    pub fn with_page_size(self, page_size: u64) -> Self {
        if !page_size.is_power_of_two() {
            return Self { page_size, ..self };
        }
        let up = |n: u64| n.checked_next_multiple_of(page_size).unwrap_or(n);
        Self {
            ring_size: self.ring_size.max(page_size),
            reply_size: up(self.reply_size),
            arena_size: up(self.arena_size),
            window_size: up(self.window_size),
            page_size,
        }
    }

    /// These limits, none of the sizes larger than in `most`: what a host grants of a guest's wishes. The page size is
    /// kept.
    pub fn at_most(self, most: Self) -> Self {
        Self {
            ring_size: self.ring_size.min(most.ring_size),
            reply_size: self.reply_size.min(most.reply_size),
            arena_size: self.arena_size.min(most.arena_size),
            window_size: self.window_size.min(most.window_size),
            page_size: self.page_size,
        }
    }

    /// These limits with the zeros filled in from `other`.
    pub fn or(self, other: Self) -> Self {
        let pick = |a, b| if a == 0 { b } else { a };
        Self {
            ring_size: pick(self.ring_size, other.ring_size),
            reply_size: pick(self.reply_size, other.reply_size),
            arena_size: pick(self.arena_size, other.arena_size),
            window_size: pick(self.window_size, other.window_size),
            page_size: pick(self.page_size, other.page_size),
        }
    }
}

impl Default for Limits {
    /// 4 MiB of ring, 1 MiB of replies, 64 MiB of arena, 2 GiB of window, this machine's page size.
    fn default() -> Self {
        Self {
            ring_size: 4 << 20,
            reply_size: 1 << 20,
            arena_size: 64 << 20,
            window_size: 2 << 30,
            page_size: system_page_size(),
        }
    }
}

/// The page size of this machine in bytes.
pub fn system_page_size() -> u64 {
    rustix::param::page_size() as u64
}

/// Sizes from which no region can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The page size is not one that vw works with.
    #[error("page size {0} of the region: must be a power of two from 4096 to 65536")]
    PageSize(u64),
    /// The ring's size does not fit.
    #[error("ring size {size}: must be a power of two, at least {page_size} and at most 1 GiB")]
    Ring {
        /// The size asked for.
        size: u64,
        /// The region's page size, or what its device maps at least.
        page_size: u64,
    },
    /// A part is not whole pages.
    #[error("{part} size {size}: must be a multiple of the page size ({page_size}){}", if *.size == 0 { " and not 0" } else { "" })]
    Part {
        /// Which part.
        part: &'static str,
        /// The size asked for.
        size: u64,
        /// The region's page size.
        page_size: u64,
    },
    /// The parts together are too large.
    #[error(
        "the parts of the region add up to more than {MAX_REGION_SIZE} bytes (or this machine's address space): ask for a smaller window"
    )]
    TooLarge,
}

/// What the parts of a region that are mapped apart are multiples of where it is part of a device: devices map whole large
/// pages only.
pub const DEVICE_GRANULE: u64 = 2 << 20;

/// The parts of a region: offsets and sizes in bytes, checked. Made by the same rule on both sides, so only the
/// [`Limits`] travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    limits: Limits,
    granule: usize,
    control_size: usize,
    ring_size: usize,
    reply_size: usize,
    arena_size: usize,
    window_size: usize,
}

impl Layout {
    /// Lays out a region that is a file of its own.
    ///
    /// # Errors
    /// [`LayoutError`] names the size that does not fit, and the rule.
    pub fn new(limits: &Limits) -> Result<Self, LayoutError> {
        Self::with_granule(limits, limits.page_size)
    }

    /// Lays out a region that is part of a device: the ring has to be whole [`DEVICE_GRANULE`]s.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn in_device(limits: &Limits) -> Result<Self, LayoutError> {
        Self::with_granule(limits, DEVICE_GRANULE)
    }

    fn with_granule(limits: &Limits, granule: u64) -> Result<Self, LayoutError> {
        let Limits { ring_size, reply_size, arena_size, window_size, page_size } = *limits;
        if !page_size.is_power_of_two() || !(MIN_PAGE_SIZE..=MAX_PAGE_SIZE).contains(&page_size) {
            return Err(LayoutError::PageSize(page_size));
        }
        if !ring_size.is_power_of_two() || !(granule..=MAX_RING_SIZE).contains(&ring_size) {
            return Err(LayoutError::Ring { size: ring_size, page_size: granule });
        }
        let parts =
            [("reply area", reply_size), ("command arena", arena_size), ("memory window", window_size)];
        for (part, size) in parts {
            if size % page_size != 0 || (part == "reply area" && size == 0) {
                return Err(LayoutError::Part { part, size, page_size });
            }
        }
        let control_size = (size_of::<Page>() as u64).next_multiple_of(granule);
        // Twice the ring, because it is mapped twice, and a granule each to round up the size and to align the mapping.
        let mapped =
            [control_size, ring_size, ring_size, reply_size, arena_size, window_size, granule, granule]
                .into_iter()
                .try_fold(0u64, u64::checked_add)
                .filter(|&n| {
                    n <= MAX_REGION_SIZE && usize::try_from(n).is_ok_and(|n| isize::try_from(n).is_ok())
                });
        if mapped.is_none() {
            return Err(LayoutError::TooLarge);
        }
        // The sum fits `usize`, so each part does.
        Ok(Self {
            limits: *limits,
            granule: granule as usize,
            control_size: control_size as usize,
            ring_size: ring_size as usize,
            reply_size: reply_size as usize,
            arena_size: arena_size as usize,
            window_size: window_size as usize,
        })
    }

    /// The sizes that this layout was made from.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The region's page size.
    pub fn page_size(&self) -> usize {
        self.limits.page_size as usize
    }

    /// What offset and length of each mapping of the region's file or device are multiples of.
    pub fn granule(&self) -> usize {
        self.granule
    }

    /// Offset of the ring; the control page stands at 0.
    pub fn ring_offset(&self) -> usize {
        self.control_size
    }

    /// Size of the ring.
    pub fn ring_size(&self) -> usize {
        self.ring_size
    }

    /// Offset of the reply area.
    pub fn reply_offset(&self) -> usize {
        self.ring_offset() + self.ring_size
    }

    /// Size of the reply area.
    pub fn reply_size(&self) -> usize {
        self.reply_size
    }

    /// Offset of the command arena.
    pub fn arena_offset(&self) -> usize {
        self.reply_offset() + self.reply_size
    }

    /// Size of the command arena.
    pub fn arena_size(&self) -> usize {
        self.arena_size
    }

    /// Offset of the window of host-visible memory.
    pub fn window_offset(&self) -> usize {
        self.arena_offset() + self.arena_size
    }

    /// Size of the window of host-visible memory.
    pub fn window_size(&self) -> usize {
        self.window_size
    }

    /// Size of the whole region, as a file or part of a device.
    pub fn total_size(&self) -> usize {
        (self.window_offset() + self.window_size).next_multiple_of(self.granule)
    }

    /// Size of the whole region, as address space: the ring counts twice.
    pub fn mapped_size(&self) -> usize {
        self.total_size() + self.ring_size
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn small() -> Limits {
        Limits {
            ring_size: 64 << 10,
            reply_size: 4096,
            arena_size: 8192,
            window_size: 1 << 20,
            page_size: 4096,
        }
    }

    #[test]
    fn layout_when_sizes_fit_has_parts_that_do_not_overlap() {
        let l = Layout::new(&small()).unwrap();
        assert_eq!(l.ring_offset(), 4096);
        assert_eq!(l.reply_offset(), 4096 + (64 << 10));
        assert_eq!(l.arena_offset(), l.reply_offset() + 4096);
        assert_eq!(l.window_offset(), l.arena_offset() + 8192);
        assert_eq!(l.total_size(), l.window_offset() + (1 << 20));
        assert_eq!(l.mapped_size(), l.total_size() + (64 << 10));
    }

    #[test]
    fn layout_when_in_a_device_is_mapped_in_large_pages() {
        let limits = Limits { ring_size: 2 << 20, ..small() };
        let l = Layout::in_device(&limits).unwrap();
        assert_eq!((l.ring_offset(), l.reply_offset()), (2 << 20, 4 << 20));
        assert_eq!((l.window_offset(), l.total_size()), ((4 << 20) + 4096 + 8192, 6 << 20));
        assert!(matches!(Layout::in_device(&small()), Err(LayoutError::Ring { .. })));
    }

    #[test]
    fn layout_when_a_size_does_not_fit_is_refused_with_the_rule() {
        let with = |f: &dyn Fn(&mut Limits)| {
            let mut l = small();
            f(&mut l);
            Layout::new(&l).unwrap_err()
        };
        assert_eq!(with(&|l| l.page_size = 5000), LayoutError::PageSize(5000));
        assert_eq!(with(&|l| l.page_size = 1 << 20), LayoutError::PageSize(1 << 20));
        assert!(matches!(with(&|l| l.ring_size = 12288), LayoutError::Ring { size: 12288, .. }));
        assert!(matches!(with(&|l| l.ring_size = 2048), LayoutError::Ring { .. }));
        assert!(matches!(with(&|l| l.ring_size = 1 << 31), LayoutError::Ring { .. }));
        assert!(matches!(with(&|l| l.reply_size = 0), LayoutError::Part { part: "reply area", .. }));
        assert!(with(&|l| l.window_size = 100).to_string().contains("memory window size 100"));
        assert_eq!(with(&|l| l.window_size = !4095), LayoutError::TooLarge);
    }

    #[test]
    fn limits_when_the_page_size_grows_are_rounded_up() {
        let l = small().with_page_size(64 << 10);
        assert_eq!((l.reply_size, l.arena_size, l.window_size), (64 << 10, 64 << 10, 1 << 20));
        assert!(Layout::new(&l).is_ok());
        assert!(Layout::new(&small().with_page_size(3)).is_err());
    }

    #[test]
    fn limits_when_wishes_meet_a_host_are_filled_in_and_capped() {
        let wishes = Limits { window_size: 1 << 40, reply_size: 4096, ..Limits::HOST_CHOICE };
        let granted = wishes.or(small()).at_most(Limits { reply_size: 64 << 10, ..small() });
        assert_eq!(granted, Limits { reply_size: 4096, ..small() });
        assert!(Layout::new(&granted).is_ok());
    }

    proptest! {
        #[test]
        fn layout_when_limits_are_anything_never_panics(a: u64, b: u64, c: u64, d: u64, e in 0u64..200_000) {
            let limits = Limits { ring_size: a, reply_size: b, arena_size: c, window_size: d, page_size: e };
            let _ = Layout::new(&limits);
            let _ = Layout::in_device(&limits);
            let _ = Layout::new(&limits.with_page_size(e));
        }
    }
}
