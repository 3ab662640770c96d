//! Dispatchable handles: pointers to objects that begin with a [`Head`].

use std::ffi::c_void;
use std::sync::Arc;

use crate::session::Session;

/// What the loader expects to find in a dispatchable object before it writes its own pointer there
/// (`ICD_LOADER_MAGIC` of `vk_icd.h`).
const LOADER_MAGIC: usize = 0x01CD_C0DE;

/// Id of the one instance and the one physical device of a session.
pub(crate) const SOLE_ID: u64 = 1;

/// The beginning of every dispatchable object.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Head {
    /// Belongs to the loader once the handle has been given out.
    loader: usize,
    /// Id on the wire. The codec reads it at this offset.
    id: u64,
    /// The session that the object belongs to; none in an instance.
    session: Option<Arc<Session>>,
}

const _: () = assert!(std::mem::offset_of!(Head, id) == 8);

impl Head {
    /// The head of an instance.
    pub(crate) fn of_instance() -> Self {
        Self { loader: LOADER_MAGIC, id: SOLE_ID, session: None }
    }

    /// The head of any other object.
    pub(crate) fn new(id: u64, session: Arc<Session>) -> Self {
        Self { loader: LOADER_MAGIC, id, session: Some(session) }
    }

    /// Id on the wire.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The session.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        self.session.as_ref()
    }
}

/// The id of a dispatchable object on the wire, 0 for null.
///
/// # Safety
/// As [`session`].
pub(crate) unsafe fn id(object: *const c_void) -> u64 {
    // SAFETY: as in `session`.
    unsafe { object.cast::<Head>().as_ref() }.map_or(0, Head::id)
}

/// The session of a dispatchable object.
///
/// # Safety
/// `object` must be null or a live dispatchable handle of this driver, and stay so for `'a`.
pub(crate) unsafe fn session<'a>(object: *const c_void) -> Option<&'a Arc<Session>> {
    // SAFETY: every dispatchable object begins with a `Head`, whose first word alone the loader changes.
    unsafe { object.cast::<Head>().as_ref() }.and_then(Head::session)
}
