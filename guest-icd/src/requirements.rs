//! Memory requirements: the same for all buffers, and all images, that are created alike. The host is asked
//! once for each kind.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use vw_wire_protocol::schema::Command;

use crate::dispatch;
use crate::forward;
use crate::session::{Session, lock};
use crate::table::Table;

/// Most kinds that are told apart; when there are more, the table starts anew.
const MAX_KINDS: usize = 8192;

/// Which buffers and images are alike.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    kinds: Mutex<Kinds>,
    /// Kind of each buffer.
    pub(crate) buffers: Table<u64>,
    /// Kind of each image.
    pub(crate) images: Table<u64>,
}

#[derive(Debug, Default)]
struct Kinds {
    /// By everything that the creation says.
    numbers: HashMap<Box<[u8]>, u64>,
    /// Number of the last kind; never used twice.
    last: u64,
}

impl Resources {
    fn kind(&self, creation: Vec<u8>) -> u64 {
        let mut kinds = lock(&self.kinds);
        let Kinds { numbers, last } = &mut *kinds;
        if let Some(number) = numbers.get(creation.as_slice()) {
            return *number;
        }
        if numbers.len() >= MAX_KINDS {
            numbers.clear();
        }
        *last += 1;
        numbers.insert(creation.into(), *last);
        *last
    }
}

/// Notes the kind of a new object in `table`.
///
/// # Safety
/// `args` must be the valid arguments of the creation `cmd`, the last of which is where the new handle is.
pub(crate) unsafe fn note(session: &Session, table: &Table<u64>, cmd: &Command, args: &[u64; 4]) {
    let [device, info, _, out] = *args;
    // SAFETY: the caller's promise. Without the pointer to the new handle the request says only what is created.
    unsafe {
        if let Ok(creation) = forward::request_bytes(cmd, &[device, info, 0, 0], Vec::new()) {
            table.insert(*(out as *const u64), Arc::new(session.objects.resources.kind(creation)));
        }
    }
}

/// Answers a query about the object of kind `kind`.
///
/// # Safety
/// `args` must be the valid arguments of the query `cmd`; `anonymous` the same with a null handle in the place of
/// the object.
pub(crate) unsafe fn query(
    device: *mut c_void,
    cmd: &Command,
    args: &[u64],
    anonymous: &[u64],
    kind: Option<Arc<u64>>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let key =
            kind.and_then(|kind| forward::request_bytes(cmd, anonymous, kind.to_le_bytes().to_vec()).ok());
        match (key, dispatch::session(device)) {
            (Some(key), Some(session)) => {
                forward::guard(device, (), || {
                    let _ = session.call_once(cmd, args, key);
                });
            }
            _ => {
                forward::call(device, cmd, args);
            }
        }
    }
}
