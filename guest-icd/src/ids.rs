//! Object ids: the guest names every object that it asks the host to make.
//!
//! An id is `index | generation << 32`. Indices are dense and start at 1, so that the host can keep a plain
//! vector per type; id 0 is `VK_NULL_HANDLE`. An index comes back with a higher generation, so that a late use of
//! a destroyed object is told from a use of its successor.

use std::collections::HashMap;

use vw_wire_protocol::generated::handles::HandleType;

use crate::alloc::Backing;

/// The free and used ids of one handle type.
#[derive(Debug)]
pub(crate) struct Ids {
    /// Ids ready to be handed out again, generation already raised. Last in, first out: keeps the host's
    /// tables dense and warm.
    free: Vec<u64>,
    /// Lowest index never handed out.
    next: u32,
    /// The application's memory behind objects, where it gave callbacks.
    backings: HashMap<u64, Backing>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { free: Vec::new(), next: 1, backings: HashMap::new() }
    }
}

impl Ids {
    /// A new id, never 0. `None` when all 2^32 - 1 indices are in use.
    pub(crate) fn allocate(&mut self) -> Option<u64> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        let index = self.next;
        self.next = index.checked_add(1)?;
        Some(u64::from(index))
    }

    /// Keeps the memory behind an object.
    pub(crate) fn back(&mut self, id: u64, backing: Backing) {
        self.backings.insert(id, backing);
    }

    /// Takes out the memory behind an object, for the caller to release.
    pub(crate) fn unback(&mut self, id: u64) -> Option<Backing> {
        if self.backings.is_empty() { None } else { self.backings.remove(&id) }
    }

    /// Gives an id back. An index whose generations are used up is retired.
    pub(crate) fn free(&mut self, id: u64) {
        self.free.extend(successor(id));
    }
}

/// What an id that is given back is handed out as; none when its generations are used up.
pub(crate) fn successor(id: u64) -> Option<u64> {
    id.checked_add(1 << 32).filter(|_| id != 0)
}

/// Ids that were given back a moment ago, for who creates one and destroys one in turn: kept where records are written, so
/// that one lock does for both.
#[derive(Debug)]
pub(crate) struct Spare([Vec<u64>; HandleType::COUNT]);

impl Spare {
    /// Most of a type.
    const MOST: usize = 8;

    /// The one that was kept last, to be used now.
    pub(crate) fn take(&mut self, ty: HandleType) -> Option<u64> {
        self.0[ty as usize].pop()
    }

    /// Keeps an id that is given back; false: it goes where they all are.
    pub(crate) fn keep(&mut self, ty: HandleType, id: u64) -> bool {
        let kept = &mut self.0[ty as usize];
        match successor(id) {
            Some(next) if kept.len() < Self::MOST => {
                kept.push(next);
                true
            }
            _ => false,
        }
    }
}

impl Default for Spare {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Vec::new()))
    }
}

/// The index part of an id.
pub(crate) fn index(id: u64) -> usize {
    (id & 0xFFFF_FFFF) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_when_allocated_are_dense_from_one() {
        let mut ids = Ids::default();
        assert_eq!((1..=4).map(|_| ids.allocate()).collect::<Vec<_>>(), [1, 2, 3, 4].map(Some));
    }

    #[test]
    fn id_when_freed_comes_back_with_a_higher_generation() {
        let mut ids = Ids::default();
        let first = ids.allocate().unwrap();
        ids.free(first);
        let second = ids.allocate().unwrap();
        assert_eq!(index(first), index(second));
        assert_eq!(second >> 32, (first >> 32) + 1);
    }

    #[test]
    fn null_id_when_freed_is_ignored() {
        let mut ids = Ids::default();
        ids.free(0);
        assert_eq!(ids.allocate(), Some(1));
    }

    #[test]
    fn index_when_generations_are_used_up_is_retired() {
        let mut ids = Ids::default();
        ids.allocate();
        ids.free(1 | u64::from(u32::MAX) << 32);
        assert_eq!(ids.allocate(), Some(2));
    }

    #[test]
    fn spare_id_when_taken_has_a_higher_generation_and_few_are_kept() {
        let (mut spare, ty) = (Spare::default(), HandleType::Sampler);
        assert!(spare.keep(ty, 7) && spare.keep(ty, 8));
        assert_eq!(
            (spare.take(ty), spare.take(ty), spare.take(ty)),
            (Some(8 | 1 << 32), Some(7 | 1 << 32), None)
        );
        assert_eq!((1..100).filter(|id| spare.keep(ty, *id)).count(), Spare::MOST);
        assert!(!Spare::default().keep(ty, 1 | u64::from(u32::MAX) << 32));
    }

    #[test]
    fn ids_when_indices_are_used_up_is_none() {
        let mut ids = Ids { next: u32::MAX, ..Ids::default() };
        assert_eq!(ids.allocate(), None);
    }

    #[test]
    fn ids_when_churned_never_repeat() {
        let mut ids = Ids::default();
        let (mut seen, mut live) = (HashSet::new(), Vec::new());
        let mut random = 1u32;
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if random >> 31 == 0 || live.is_empty() {
                let id = ids.allocate().unwrap();
                assert!(seen.insert(id), "{id:#x} was handed out twice");
                live.push(id);
            } else {
                let id = live.swap_remove((random >> 8) as usize % live.len());
                ids.free(id);
            }
        }
    }
}
