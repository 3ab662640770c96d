//! Pools and what was allocated from them.

use std::collections::HashMap;

use vw_wire_protocol::generated::handles::HandleType;

use crate::session::tables::Tables;

/// Which objects came from which pool: command buffers and descriptor sets go when their pool does.
#[derive(Debug, Default)]
pub struct Pools {
    /// By (type of the children, id of the pool).
    children: HashMap<(HandleType, u64), Children>,
}

/// Ids allocated from one pool, among them some that are gone. Freeing one does not look for it here; the list is
/// tidied when most of it is stale.
#[derive(Debug, Default)]
struct Children {
    ids: Vec<u64>,
    tidy_at: usize,
}

/// Shortest list that is tidied.
const MIN_TIDY: usize = 64;

impl Pools {
    /// `id` of type `ty` was allocated from `pool`.
    pub fn add(&mut self, tables: &Tables, ty: HandleType, pool: u64, id: u64) {
        let children = self.children.entry((ty, pool)).or_default();
        if children.ids.len() >= children.tidy_at.max(MIN_TIDY) {
            children.ids.retain(|id| lives(tables, ty, pool, *id));
            children.tidy_at = 2 * children.ids.len();
        }
        children.ids.push(id);
    }

    /// What was allocated from `pool` and still lives.
    pub fn children(&self, tables: &Tables, ty: HandleType, pool: u64) -> Vec<u64> {
        let ids = self.children.get(&(ty, pool)).map(|children| children.ids.as_slice()).unwrap_or_default();
        ids.iter().copied().filter(|id| lives(tables, ty, pool, *id)).collect()
    }

    /// As [`children`](Self::children), and forgets them.
    pub fn take(&mut self, tables: &Tables, ty: HandleType, pool: u64) -> Vec<u64> {
        let ids = self.children.remove(&(ty, pool)).map(|children| children.ids).unwrap_or_default();
        ids.into_iter().filter(|id| lives(tables, ty, pool, *id)).collect()
    }
}

fn lives(tables: &Tables, ty: HandleType, pool: u64, id: u64) -> bool {
    tables.object(ty, id).is_some_and(|object| object.pool == pool)
}

/// Type of what is allocated from pools of type `ty`.
pub fn child_type(ty: HandleType) -> Option<HandleType> {
    match ty {
        HandleType::CommandPool => Some(HandleType::CommandBuffer),
        HandleType::DescriptorPool => Some(HandleType::DescriptorSet),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::session::stats::Stats;
    use crate::session::tables::Object;

    const TY: HandleType = HandleType::DescriptorSet;

    fn add(tables: &mut Tables, pools: &mut Pools, pool: u64, id: u64) {
        tables.reserve(TY, id).unwrap();
        tables.commit(TY, id, Object { raw: id, pool, ..Object::default() });
        pools.add(tables, TY, pool, id);
    }

    #[test]
    fn children_when_some_were_freed_are_those_that_live() {
        let mut tables = Tables::new(Arc::new(Stats::default()));
        let mut pools = Pools::default();
        for id in 1..=4 {
            add(&mut tables, &mut pools, 9, id);
        }
        add(&mut tables, &mut pools, 8, 5);
        tables.remove(TY, 2);
        // The index comes back in another pool.
        add(&mut tables, &mut pools, 8, 2 | 1 << 32);
        assert_eq!(pools.take(&tables, TY, 9), [1, 3, 4]);
        assert_eq!(pools.take(&tables, TY, 9), []);
        assert_eq!(pools.children(&tables, TY, 8), [5, 2 | 1 << 32]);
    }

    #[test]
    fn list_when_sets_are_allocated_and_freed_for_ever_stays_short() {
        let mut tables = Tables::new(Arc::new(Stats::default()));
        let mut pools = Pools::default();
        for round in 0..10_000_u64 {
            let id = 1 | round << 32;
            add(&mut tables, &mut pools, 9, id);
            tables.remove(TY, id);
        }
        assert!(pools.children[&(TY, 9)].ids.len() <= MIN_TIDY + 1);
    }
}
