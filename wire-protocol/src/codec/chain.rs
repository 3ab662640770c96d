//! `pNext` chains.

use super::mem::{load_i32, load_ptr};
use crate::schema::Struct;

/// Offset of `pNext` in every structure that has one.
pub(crate) const P_NEXT: usize = 8;

/// Stands on the wire where the next `sType` would.
pub(crate) const END: u32 = u32::MAX;

/// Most links of an application's chain that are walked, known or not; a chain that is a ring ends there.
const MAX_LINKS: usize = 512;

/// The place of `s_type` among the structures that may extend `parent`.
#[inline]
pub(crate) fn find(parent: &Struct, s_type: i32) -> Option<usize> {
    parent.extended_by.binary_search_by_key(&Some(s_type), |s| s.s_type).ok()
}

/// Which structure types a chain has held so far, by their place in `extended_by`.
#[derive(Debug, Default)]
pub(crate) struct Seen([u64; Self::CAPACITY / 64]);

impl Seen {
    /// Number of types that can be told apart; no structure of the registry comes near.
    pub(crate) const CAPACITY: usize = 512;

    /// Notes the type at `index`; false when it was noted before.
    #[inline]
    pub(crate) fn insert(&mut self, index: usize) -> bool {
        let Some(word) = self.0.get_mut(index / 64) else { return false };
        let bit = 1 << (index % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// Walks a chain in memory and yields the links that the tables know, each type once.
#[derive(Debug)]
pub(crate) struct Links {
    parent: &'static Struct,
    at: *mut u8,
    left: usize,
    seen: Seen,
}

impl Links {
    /// The chain of the structure `parent` at `base`.
    ///
    /// # Safety
    /// `base` has an `sType` and a chain of readable structures, which lives as long as the iteration.
    #[inline]
    pub(crate) unsafe fn new(parent: &'static Struct, base: *const u8) -> Self {
        // SAFETY: the caller vouches that there is a `pNext`.
        let at = unsafe { load_ptr(base, P_NEXT) };
        Self { parent, at, left: MAX_LINKS, seen: Seen::default() }
    }
}

impl Iterator for Links {
    type Item = (&'static Struct, *mut u8);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.at.is_null() && self.left > 0 {
            let link = self.at;
            // SAFETY: `new`'s caller vouches that each link is a structure with `sType` and `pNext`.
            let s_type = unsafe {
                self.at = load_ptr(link, P_NEXT);
                load_i32(link, 0)
            };
            self.left -= 1;
            if let Some(i) = find(self.parent, s_type)
                && self.seen.insert(i)
            {
                return Some((self.parent.extended_by[i], link));
            }
        }
        None
    }
}
