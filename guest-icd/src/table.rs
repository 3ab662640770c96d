//! Guest-side state of non-dispatchable objects, found by id.

use std::sync::{PoisonError, RwLock};

use crate::ids;

/// State of the objects of one type: what is small by value, what changes behind an `Arc`.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// By id index; the id is kept to tell generations apart.
    slots: RwLock<Vec<Option<Slot<T>>>>,
}

/// A live object: its id, and its state.
type Slot<T> = (u64, T);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: RwLock::new(Vec::new()) }
    }
}

impl<T: Clone> Table<T> {
    /// Stores the state of a new object.
    pub(crate) fn insert(&self, id: u64, state: T) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let index = ids::index(id);
        if slots.len() <= index {
            slots.resize_with(index + 1, || None);
        }
        slots[index] = Some((id, state));
    }

    /// The state of a live object.
    pub(crate) fn get(&self, id: u64) -> Option<T> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        match slots.get(ids::index(id)) {
            Some(Some((found, state))) if *found == id => Some(state.clone()),
            _ => None,
        }
    }

    /// Takes out the state of an object that is being destroyed.
    pub(crate) fn remove(&self, id: u64) -> Option<T> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get_mut(ids::index(id))?;
        if slot.as_ref().is_some_and(|(found, _)| *found == id) {
            slot.take().map(|(_, state)| state)
        } else {
            None
        }
    }

    /// Takes out the state of all objects that `which` chooses, with their ids.
    pub(crate) fn remove_all(&self, which: impl Fn(&T) -> bool) -> Vec<Slot<T>> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let chosen = slots.iter_mut().filter(|slot| slot.as_ref().is_some_and(|(_, state)| which(state)));
        chosen.filter_map(Option::take).collect()
    }
}

#[cfg(test)]
mod tests {
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
    }
}
