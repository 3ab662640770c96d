//! Guest-side state of non-dispatchable objects, found by id without a lock.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::ids;
use crate::session::lock;

/// Slots of the first page; each page has twice as many as the one before.
const FIRST: usize = 64;

/// Pages for all indices of 32 bits.
const PAGES: usize = 27;

/// State of the objects of one type: what is small by value, what changes behind an `Arc`.
///
/// An object is not used while it is destroyed: the specification wants its destruction to be externally synchronised.
/// Everything else may happen in several threads at once.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// First slots of the pages, which are made when an index in them is first used, and stay where they are.
    pages: [AtomicPtr<Slot<T>>; PAGES],
    /// Held while states are taken out: who looks at all of them looks at objects that another thread may destroy.
    removal: Mutex<()>,
    owned: PhantomData<T>,
}

/// A slot without an object has id 0.
#[derive(Debug)]
struct Slot<T> {
    /// The live object, to tell generations apart.
    id: AtomicU64,
    /// Its state, there when the id is.
    state: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a state is written before its id is stored and taken out after that was taken away, each by one thread; in
// between it is only looked at.
unsafe impl<T: Send + Sync> Sync for Slot<T> {}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { pages: Default::default(), removal: Mutex::default(), owned: PhantomData }
    }
}

/// Page of an index, and the index in it.
#[inline]
fn place(index: usize) -> (usize, usize) {
    let page = ((index + FIRST) / FIRST).ilog2() as usize;
    (page, index + FIRST - length(page))
}

/// Number of a page's slots.
#[inline]
fn length(page: usize) -> usize {
    FIRST << page
}

impl<T> Table<T> {
    /// Stores the state of a new object.
    pub(crate) fn insert(&self, id: u64, state: T) {
        let (page, _) = place(ids::index(id));
        if let Some(page_at) = self.pages.get(page)
            && page_at.load(Ordering::Acquire).is_null()
        {
            let new = allocate(page);
            if page_at.compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: another thread was faster; these slots are nobody's.
                unsafe { free(new, page) };
            }
        }
        if let Some(slot) = self.slot(id) {
            drop(take(slot, slot.id.load(Ordering::Acquire)));
            // SAFETY: nobody looks at a state without an id.
            unsafe { slot.state.get().write(MaybeUninit::new(state)) };
            slot.id.store(id, Ordering::Release);
        }
    }

    /// The state of a live object.
    pub(crate) fn get(&self, id: u64) -> Option<T>
    where
        T: Clone,
    {
        self.with(id, T::clone)
    }

    /// What `f` says about the state of a live object.
    #[inline]
    pub(crate) fn with<R>(&self, id: u64, f: impl FnOnce(&T) -> R) -> Option<R> {
        let slot = self.slot(id).filter(|slot| slot.id.load(Ordering::Acquire) == id)?;
        // SAFETY: the state is there, and the object is not being destroyed.
        Some(f(unsafe { (*slot.state.get()).assume_init_ref() }))
    }

    /// Takes out the state of an object that is being destroyed.
    pub(crate) fn remove(&self, id: u64) -> Option<T> {
        let slot = self.slot(id)?;
        let _removal = lock(&self.removal);
        take(slot, id)
    }

    /// Takes out the state of all objects that `which` chooses, with their ids.
    pub(crate) fn remove_all(&self, which: impl Fn(&T) -> bool) -> Vec<(u64, T)> {
        let _removal = lock(&self.removal);
        let ids = self.slots().map(|slot| (slot, slot.id.load(Ordering::Acquire)));
        ids.filter(|(_, id)| self.with(*id, &which) == Some(true))
            .filter_map(|(slot, id)| Some((id, take(slot, id)?)))
            .collect()
    }

    #[inline]
    fn slot(&self, id: u64) -> Option<&Slot<T>> {
        // Id 0 is no object's, and that of an empty slot.
        let index = Some(ids::index(id)).filter(|index| *index != 0)?;
        let (page, at) = place(index);
        let slots = self.pages.get(page)?.load(Ordering::Acquire);
        // SAFETY: the page has so many slots, and stays as long as the table.
        (!slots.is_null()).then(|| unsafe { &*slots.add(at) })
    }

    /// The slots of all pages that there are.
    fn slots(&self) -> impl Iterator<Item = &Slot<T>> {
        let pages = self.pages.iter().map(|page| page.load(Ordering::Acquire)).enumerate();
        pages.filter(|(_, slots)| !slots.is_null()).flat_map(|(page, slots)| {
            // SAFETY: as in `slot`.
            unsafe { std::slice::from_raw_parts(slots, length(page)) }
        })
    }
}

/// Takes the state of the object with this id out of a slot.
fn take<T>(slot: &Slot<T>, id: u64) -> Option<T> {
    if id == 0 || slot.id.compare_exchange(id, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return None;
    }
    // SAFETY: the state was there, and without the id nobody else looks at it or takes it out.
    Some(unsafe { (*slot.state.get()).assume_init_read() })
}

fn layout<T>(page: usize) -> Layout {
    Layout::array::<Slot<T>>(length(page)).unwrap_or_else(|_| handle_alloc_error(Layout::new::<T>()))
}

/// Slots for a page, without objects. Those that are never used cost no memory.
fn allocate<T>(page: usize) -> *mut Slot<T> {
    let layout = layout::<T>(page);
    // SAFETY: a page has slots, and a slot has an id: the size is not 0. Zeros are a slot without an object.
    let slots = unsafe { alloc_zeroed(layout) };
    if slots.is_null() {
        handle_alloc_error(layout);
    }
    slots.cast()
}

/// Frees the slots of a page, whose states have been taken out.
///
/// # Safety
/// They were made by `allocate` for this page, and nobody uses them any more.
unsafe fn free<T>(slots: *mut Slot<T>, page: usize) {
    // SAFETY: the caller's promise.
    unsafe { dealloc(slots.cast(), layout::<T>(page)) };
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        self.slots().for_each(|slot| drop(take(slot, slot.id.load(Ordering::Acquire))));
        for (page, slots) in self.pages.iter_mut().enumerate() {
            let slots = *slots.get_mut();
            if !slots.is_null() {
                // SAFETY: made by `insert`; the table goes.
                unsafe { free(slots, page) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn state_when_removed_is_gone_and_of_another_generation_is_never_found() {
        let table = Table::default();
        table.insert(3, "a");
        assert_eq!(table.get(3), Some("a"));
        assert_eq!(table.get(3 | 1 << 32), None);
        assert_eq!(table.remove(3 | 1 << 32), None);
        assert_eq!(table.remove(3), Some("a"));
        assert_eq!(table.get(3), None);
        assert_eq!(table.get(0), None);
        assert_eq!(table.get(77), None);
        assert_eq!(table.with(1 << 31, |_| ()), None);
    }

    #[test]
    fn index_when_placed_has_a_slot_of_its_own_in_a_page() {
        let mut expected = (0..4).flat_map(|page| (0..length(page)).map(move |at| (page, at)));
        assert!((0..FIRST * 15).all(|index| Some(place(index)) == expected.next()));
        let (page, at) = place(u32::MAX as usize);
        assert!(page < PAGES && at < length(page));
    }

    #[test]
    fn states_when_the_table_goes_go_with_it_and_those_replaced_before() {
        let state = Arc::new(7);
        let table = Table::default();
        (1..=3000).for_each(|id| table.insert(id, Arc::clone(&state)));
        table.insert(5 | 1 << 32, Arc::clone(&state));
        assert_eq!(Arc::strong_count(&state), 3001);
        assert_eq!(table.with(2999, |n| **n), Some(7));
        assert_eq!(table.remove_all(|_| true).len(), 3000);
        table.insert(9, Arc::clone(&state));
        drop(table);
        assert_eq!(Arc::strong_count(&state), 1);
    }

    #[test]
    fn table_when_several_threads_use_it_has_each_ones_objects() {
        let table = Table::default();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let table = &table;
                scope.spawn(move || {
                    for id in (0..4000).map(|i| 4 * i + thread + 1) {
                        table.insert(id, Box::new(id));
                        assert_eq!(table.with(id, |state| **state), Some(id));
                        if id % 3 == 0 {
                            assert_eq!(table.remove(id).as_deref(), Some(&id));
                        }
                    }
                });
            }
        });
        assert_eq!(table.remove_all(|id| **id % 3 == 0).len(), 0);
        assert_eq!(table.remove_all(|_| true).len(), 16_000 - 5333);
    }

    #[test]
    fn states_when_removed_one_by_one_and_all_at_once_are_taken_out_once() {
        for _ in 0..50 {
            let table = Table::default();
            for id in 1..=500 {
                table.insert(id, std::sync::Arc::new(id));
            }
            let (one_by_one, at_once) = std::thread::scope(|scope| {
                let one_by_one = scope.spawn(|| (1..=500).filter(|id| table.remove(*id).is_some()).count());
                let at_once = table.remove_all(|id| **id % 2 == 0).len();
                (one_by_one.join().expect("no panic"), at_once)
            });
            assert_eq!(one_by_one + at_once, 500);
        }
    }
}
