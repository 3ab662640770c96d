//! Memory requirements: the same for all buffers, and all images, that are created alike. The host is asked
//! once for each kind.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use ash::vk;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::schema::Command;

use crate::dispatch;
use crate::forward;
use crate::session::lock;
use crate::table::Table;

/// Most kinds that are told apart; when there are more, the table starts anew.
const MAX_KINDS: usize = 8192;

/// Which buffers and images are alike.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    kinds: Mutex<Kinds>,
    /// Kind of each buffer.
    buffers: Table<u64>,
    /// Kind of each image.
    images: Table<u64>,
}

#[derive(Debug, Default)]
struct Kinds {
    /// By everything that the creation says.
    numbers: HashMap<Box<[u8]>, u64>,
    /// Number of the last kind; never used twice.
    last: u64,
}

impl Resources {
    /// Kind of each buffer.
    pub(crate) fn buffers(&self) -> &Table<u64> {
        &self.buffers
    }

    /// Kind of each image.
    pub(crate) fn images(&self) -> &Table<u64> {
        &self.images
    }

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

/// Buffers or images: the commands that differ by the type of object only.
pub(crate) struct ResourceType {
    pub(crate) ty: HandleType,
    pub(crate) table: fn(&Resources) -> &Table<u64>,
    pub(crate) create: &'static Command,
    pub(crate) destroy: &'static Command,
    /// `vkGet*MemoryRequirements`
    pub(crate) query: &'static Command,
    /// `vkGet*MemoryRequirements2`
    pub(crate) query_2: &'static Command,
}

/// `Vk*MemoryRequirementsInfo2`, alike for buffers and images.
#[repr(C)]
#[derive(Clone, Copy)]
struct Question {
    s_type: vk::StructureType,
    next: *const c_void,
    object: u64,
}

const _: () = assert!(size_of::<Question>() == size_of::<vk::BufferMemoryRequirementsInfo2<'_>>());
const _: () = assert!(size_of::<Question>() == size_of::<vk::ImageMemoryRequirementsInfo2<'_>>());

/// Callers pass on the arguments of the command that the method is named after, whose valid usage is the
/// application's.
impl ResourceType {
    pub(crate) unsafe fn create(
        &self,
        device: *mut c_void,
        info: *const c_void,
        callbacks: *const c_void,
        object: *mut u64,
    ) -> i32 {
        let args = [device as u64, info as u64, callbacks as u64, object as u64];
        // SAFETY: the caller's promise. Without the pointer to the new handle the request says only what is created.
        unsafe {
            let result = forward::create(device, self.create, &args, self.ty, callbacks);
            if result == 0
                && let Some(session) = dispatch::session(device)
                && let Ok(creation) =
                    forward::request_bytes(self.create, &[device as u64, info as u64, 0, 0], Vec::new())
            {
                let resources = &session.objects.resources;
                (self.table)(resources).insert(*object, Arc::new(resources.kind(creation)));
            }
            result
        }
    }

    pub(crate) unsafe fn destroy(&self, device: *mut c_void, object: u64, callbacks: *const c_void) {
        let args = [device as u64, object, callbacks as u64];
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(session) = dispatch::session(device) {
                (self.table)(&session.objects.resources).remove(object);
            }
            forward::destroy(device, self.destroy, &args, object, self.ty);
        }
    }

    pub(crate) unsafe fn requirements(&self, device: *mut c_void, object: u64, out: *mut c_void) {
        let args = [device as u64, object, out as u64];
        let anonymous = [device as u64, 0, out as u64];
        // SAFETY: the caller's promise.
        unsafe { self.ask(device, self.query, &args, &anonymous, object) };
    }

    pub(crate) unsafe fn requirements_2(&self, device: *mut c_void, info: *const c_void, out: *mut c_void) {
        // SAFETY: the caller's promise; the structure was checked above to look like this.
        unsafe {
            let question = *info.cast::<Question>();
            let nobody = Question { object: 0, ..question };
            let args = [device as u64, info as u64, out as u64];
            let anonymous = [device as u64, &raw const nobody as u64, out as u64];
            self.ask(device, self.query_2, &args, &anonymous, question.object);
        }
    }

    /// Asks the host about an object, unless it has answered the same question about one of the same kind.
    /// `anonymous` are the arguments with a null handle in the place of the object.
    unsafe fn ask(&self, device: *mut c_void, cmd: &Command, args: &[u64], anonymous: &[u64], object: u64) {
        // SAFETY: the promise of the methods' callers.
        unsafe {
            let Some(session) = dispatch::session(device) else { return };
            let kind = (self.table)(&session.objects.resources).get(object);
            let key = kind
                .and_then(|kind| forward::request_bytes(cmd, anonymous, kind.to_le_bytes().to_vec()).ok());
            if let Some(key) = key {
                forward::guard(device, (), || {
                    let _ = session.call_once(cmd, args, key);
                });
            } else {
                forward::call(device, cmd, args);
            }
        }
    }
}
