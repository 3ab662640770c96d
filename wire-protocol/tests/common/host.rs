//! A "host" whose handles are the guest's again, so that what was decoded can be encoded once more.

use std::collections::HashMap;

use vw_wire_protocol::codec::{DISPATCHABLE_ID, HandleError, Request, Resolve};
use vw_wire_protocol::generated::handles::HandleType;

use super::mem::{Pool, put};

/// Objects that dispatchable handles point to, by id.
#[derive(Default)]
pub struct Objects {
    pool: Pool,
    by_id: HashMap<(u8, u64), *mut u8>,
}

impl Objects {
    /// The handle of the dispatchable object with this id.
    pub fn dispatchable(&mut self, ty: HandleType, id: u64) -> *mut u8 {
        let pool = &mut self.pool;
        *self.by_id.entry((ty as u8, id)).or_insert_with(|| {
            let p = pool.alloc(32);
            // SAFETY: the object has room for its id.
            unsafe { put(p, DISPATCHABLE_ID, 8, id) };
            p
        })
    }

    /// A handle as it stands in memory.
    pub fn handle(&mut self, ty: HandleType, id: u64) -> u64 {
        match id {
            0 => 0,
            _ if ty.dispatchable() => self.dispatchable(ty, id).expose_provenance() as u64,
            _ => id,
        }
    }
}

/// Ids with these low bits are unknown to the host.
pub const UNKNOWN: u64 = 0xBAD;

impl Resolve for Objects {
    fn resolve(&mut self, ty: HandleType, id: u64) -> Result<u64, HandleError> {
        if id & 0xFFF == UNKNOWN {
            return Err(HandleError::Unknown);
        }
        Ok(self.handle(ty, id))
    }
}

/// Puts the guest's handles where the call would store the host's.
pub fn store_ids(req: &Request<'_>, objects: &mut Objects) {
    for new in req.new.iter() {
        for (i, id) in new.ids.iter().enumerate() {
            // SAFETY: there is room for as many handles as ids.
            unsafe { new.raw.add(i).write(objects.handle(new.ty, *id)) };
        }
    }
}
