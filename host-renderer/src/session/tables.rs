//! Which id names which object of the host.
//!
//! One table per handle type. The guest chooses the ids: a dense index and a generation that is higher each time
//! the index comes back. Every use is checked, so that a late or invented id is told from a live one.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use vw_wire_protocol::codec::HandleError;
use vw_wire_protocol::generated::handles::HandleType;

use super::stats::Stats;

/// Slots per page. Pages are made when an index in them is first used, so that an invented large index costs
/// no more than this.
const PAGE: usize = 256;

/// Indices are below this: a page directory of at most 512 KiB per type.
const MAX_INDEX: u32 = 1 << 24;

/// What an id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Object {
    /// The host's handle; 0 for an object whose creation failed.
    pub raw: u64,
    /// Id of the pool that it was allocated from, 0 for none.
    pub pool: u64,
    /// Number of the device (from 1) that it belongs to, 0 for none.
    pub device: u16,
    /// Its asynchronous creation failed, or the allocation of its memory.
    pub poisoned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Free,
    /// A request that is to create it has been decoded and not yet executed.
    Reserved,
    Live,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    object: Object,
    generation: u32,
    /// Some generation was used: only higher ones may follow.
    used: bool,
    state: State,
}

type Page = Box<[Slot; PAGE]>;

#[derive(Debug, Default)]
struct Table {
    pages: Vec<Option<Page>>,
    live: u32,
}

/// Why a new id is refused. Each is a violation of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NewIdError {
    /// Index 0 is `VK_NULL_HANDLE`.
    #[error("index 0 names no object")]
    Null,
    /// Beyond the table's limit.
    #[error("the index is not below {MAX_INDEX}")]
    TooLarge,
    /// The index names a live object.
    #[error("the index is in use")]
    InUse,
    /// The generation is not higher than the last one.
    #[error("the generation was used before")]
    OldGeneration,
}

/// What is known by id. Who makes its own session slow by the ids it chooses has nobody else to harm.
pub type ById<T> = FxHashMap<u64, T>;

/// The tables of a session, all types. Owned by its decode thread.
#[derive(Debug)]
pub struct Tables {
    tables: Vec<Table>,
    stats: Arc<Stats>,
}

fn split(id: u64) -> (usize, usize, u32) {
    let index = id as u32 as usize;
    (index / PAGE, index % PAGE, (id >> 32) as u32)
}

fn join(page: usize, slot: usize, generation: u32) -> u64 {
    (page * PAGE + slot) as u64 | u64::from(generation) << 32
}

impl Tables {
    /// Empty tables that count their objects in `stats`.
    pub fn new(stats: Arc<Stats>) -> Self {
        Self { tables: (0..HandleType::COUNT).map(|_| Table::default()).collect(), stats }
    }

    /// Marks the index of a new id as taken, before the request that creates the object is executed.
    ///
    /// # Errors
    /// [`NewIdError`] when the guest may not use this id now.
    pub fn reserve(&mut self, ty: HandleType, id: u64) -> Result<(), NewIdError> {
        if id as u32 == 0 {
            return Err(NewIdError::Null);
        }
        if id as u32 >= MAX_INDEX {
            return Err(NewIdError::TooLarge);
        }
        let (page, slot, generation) = split(id);
        let table = &mut self.tables[ty as usize];
        if table.pages.len() <= page {
            table.pages.resize_with(page + 1, || None);
        }
        let slot = &mut table.pages[page].get_or_insert_with(|| Box::new([Slot::default(); PAGE]))[slot];
        if slot.state != State::Free {
            return Err(NewIdError::InUse);
        }
        if slot.used && generation <= slot.generation {
            return Err(NewIdError::OldGeneration);
        }
        slot.generation = generation;
        slot.used = true;
        slot.state = State::Reserved;
        Ok(())
    }

    /// Gives a reserved id its object. Without a reservation nothing happens.
    pub fn commit(&mut self, ty: HandleType, id: u64, object: Object) {
        if let Some(slot) = self.slot_mut(ty, id, State::Reserved) {
            slot.object = object;
            slot.state = State::Live;
            self.tables[ty as usize].live += 1;
            self.stats.set_live(ty, self.tables[ty as usize].live);
        }
    }

    /// Gives up a reservation: the object was not created. The generation stays used.
    pub fn cancel(&mut self, ty: HandleType, id: u64) {
        if let Some(slot) = self.slot_mut(ty, id, State::Reserved) {
            slot.state = State::Free;
        }
    }

    /// The object that `id` names, poisoned ones included.
    pub fn object(&self, ty: HandleType, id: u64) -> Option<&Object> {
        let (page, slot, generation) = split(id);
        let slot = &self.tables[ty as usize].pages.get(page)?.as_ref()?[slot];
        (slot.state == State::Live && slot.generation == generation).then_some(&slot.object)
    }

    /// Whether `id` is of an object that is still to be created.
    pub fn is_reserved(&self, ty: HandleType, id: u64) -> bool {
        let (page, slot, generation) = split(id);
        let page = self.tables[ty as usize].pages.get(page).and_then(Option::as_ref);
        page.is_some_and(|page| page[slot].state == State::Reserved && page[slot].generation == generation)
    }

    /// The host's handle of a live object.
    ///
    /// # Errors
    /// [`HandleError::Unknown`] when the id names none, [`HandleError::Poisoned`] when its creation failed.
    pub fn live(&self, ty: HandleType, id: u64) -> Result<&Object, HandleError> {
        match self.object(ty, id) {
            Some(object) if object.poisoned => Err(HandleError::Poisoned),
            Some(object) => Ok(object),
            None => Err(HandleError::Unknown),
        }
    }

    /// Whether `id` is of an object that could not be created, or not be given memory.
    pub fn is_poisoned(&self, ty: HandleType, id: u64) -> bool {
        self.object(ty, id).is_some_and(|object| object.poisoned)
    }

    /// A live object must not be used any more.
    pub fn poison(&mut self, ty: HandleType, id: u64) {
        if let Some(slot) = self.slot_mut(ty, id, State::Live) {
            slot.object.poisoned = true;
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, ty: HandleType, id: u64) -> Option<Object> {
        let slot = self.slot_mut(ty, id, State::Live)?;
        let object = std::mem::take(&mut slot.object);
        slot.state = State::Free;
        self.tables[ty as usize].live -= 1;
        self.stats.set_live(ty, self.tables[ty as usize].live);
        Some(object)
    }

    /// Ids of all live objects of a type for which `f` holds.
    pub fn ids(&self, ty: HandleType, mut f: impl FnMut(&Object) -> bool) -> Vec<u64> {
        let mut ids = Vec::new();
        for (number, page) in self.tables[ty as usize].pages.iter().enumerate() {
            let Some(page) = page else { continue };
            for (index, slot) in page.iter().enumerate() {
                if slot.state == State::Live && f(&slot.object) {
                    ids.push(join(number, index, slot.generation));
                }
            }
        }
        ids
    }

    /// Number of live objects of a type.
    pub fn count(&self, ty: HandleType) -> u32 {
        self.tables[ty as usize].live
    }

    fn slot_mut(&mut self, ty: HandleType, id: u64, state: State) -> Option<&mut Slot> {
        let (page, slot, generation) = split(id);
        let slot = &mut self.tables[ty as usize].pages.get_mut(page)?.as_mut()?[slot];
        (slot.state == state && slot.generation == generation).then_some(slot)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const TY: HandleType = HandleType::Buffer;

    fn tables() -> Tables {
        Tables::new(Arc::new(Stats::default()))
    }

    fn add(tables: &mut Tables, id: u64, raw: u64) -> Result<(), NewIdError> {
        tables.reserve(TY, id)?;
        tables.commit(TY, id, Object { raw, ..Object::default() });
        Ok(())
    }

    #[test]
    fn id_when_reused_needs_a_higher_generation() {
        let mut t = tables();
        add(&mut t, 7, 1).unwrap();
        assert_eq!(t.reserve(TY, 7 | 1 << 32), Err(NewIdError::InUse));
        t.remove(TY, 7).unwrap();
        assert_eq!(t.reserve(TY, 7), Err(NewIdError::OldGeneration));
        add(&mut t, 7 | 3 << 32, 2).unwrap();
        assert_eq!(t.live(TY, 7), Err(HandleError::Unknown));
        assert_eq!(t.live(TY, 7 | 3 << 32).unwrap().raw, 2);
        assert_eq!(t.live(HandleType::Image, 7 | 3 << 32), Err(HandleError::Unknown));
    }

    #[test]
    fn id_when_reserved_is_not_live_and_not_free() {
        let mut t = tables();
        t.reserve(TY, 5).unwrap();
        assert_eq!(t.live(TY, 5), Err(HandleError::Unknown));
        assert_eq!(t.reserve(TY, 5 | 1 << 32), Err(NewIdError::InUse));
        t.cancel(TY, 5);
        assert_eq!(t.reserve(TY, 5), Err(NewIdError::OldGeneration));
        t.reserve(TY, 5 | 1 << 32).unwrap();
    }

    #[test]
    fn id_when_null_or_huge_is_refused() {
        let mut t = tables();
        assert_eq!(t.reserve(TY, 0), Err(NewIdError::Null));
        assert_eq!(t.reserve(TY, 9 << 32), Err(NewIdError::Null));
        assert_eq!(t.reserve(TY, u64::from(MAX_INDEX)), Err(NewIdError::TooLarge));
        t.reserve(TY, u64::from(MAX_INDEX - 1)).unwrap();
        assert_eq!(t.live(TY, u64::MAX), Err(HandleError::Unknown));
    }

    #[test]
    fn object_when_poisoned_is_told_from_unknown() {
        let mut t = tables();
        t.reserve(TY, 1).unwrap();
        t.commit(TY, 1, Object { poisoned: true, ..Object::default() });
        assert_eq!(t.live(TY, 1), Err(HandleError::Poisoned));
        assert!(t.remove(TY, 1).is_some_and(|object| object.poisoned));
        assert_eq!(t.count(TY), 0);
    }

    proptest! {
        #[test]
        fn tables_when_driven_at_random_agree_with_a_map(
            steps in prop::collection::vec((0..4_u8, 0..40_u32, 0..4_u32), 1..400)
        ) {
            let mut t = tables();
            let mut model: HashMap<u32, (u32, Option<u64>)> = HashMap::new();
            for (number, (kind, index, generation)) in steps.into_iter().enumerate() {
                // Indices on both sides of a page's end.
                let index = if index % 2 == 0 { index } else { index + 240 };
                let id = u64::from(index) | u64::from(generation) << 32;
                let raw = number as u64 + 1;
                let slot = model.get(&index).copied();
                match kind {
                    0 | 1 => {
                        let expected = match slot {
                            _ if index == 0 => Err(NewIdError::Null),
                            Some((_, Some(_))) => Err(NewIdError::InUse),
                            Some((last, None)) if generation <= last => Err(NewIdError::OldGeneration),
                            _ => Ok(()),
                        };
                        prop_assert_eq!(add(&mut t, id, raw), expected);
                        if expected.is_ok() {
                            model.insert(index, (generation, Some(raw)));
                        }
                    }
                    2 => {
                        let expected = slot.and_then(|(last, raw)| raw.filter(|_| last == generation));
                        prop_assert_eq!(t.remove(TY, id).map(|object| object.raw), expected);
                        if expected.is_some() {
                            model.insert(index, (generation, None));
                        }
                    }
                    _ => {
                        let expected = slot.and_then(|(last, raw)| raw.filter(|_| last == generation));
                        prop_assert_eq!(t.live(TY, id).ok().map(|object| object.raw), expected);
                    }
                }
                let live = model.values().filter(|(_, raw)| raw.is_some()).count();
                prop_assert_eq!(t.count(TY) as usize, live);
                prop_assert_eq!(t.ids(TY, |_| true).len(), live);
            }
        }
    }
}
