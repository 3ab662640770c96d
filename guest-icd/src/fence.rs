//! `VkFence`: lives in the guest, and, where other processes share it, in a payload.

use std::ffi::c_void;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ash::vk;
use vw_transport::payload::Kind;
use vw_wire_protocol::generated::handles::HandleType;

use crate::chain;
use crate::completion::{Awaited, Point, Waited};
use crate::device;
use crate::dispatch;
use crate::forward;
use crate::payload::{self, Payloads, Shared};
use crate::session::Session;

/// Not signalled and not submitted.
const UNSIGNALED: u64 = 0;

/// Signalled whatever the queues do.
const SIGNALED: u64 = u64::MAX;

/// The payload says it.
const SHARED: u64 = u64::MAX - 1;

/// The handle type of payloads.
const FILE: vk::ExternalFenceHandleTypeFlags = vk::ExternalFenceHandleTypeFlags::OPAQUE_FD;

/// Bits of the submission's number in a fence's state; the slot plus 1 is above them.
const SEQ_BITS: u32 = 56;

/// Guest-side state of a fence.
#[derive(Debug)]
pub(crate) struct Fence {
    /// [`UNSIGNALED`], [`SIGNALED`], [`SHARED`], or the submission that signals it.
    state: AtomicU64,
    payloads: Payloads,
}

impl Fence {
    /// A new fence; with a payload that has its state if it is to be exported.
    pub(crate) fn new(signaled: bool, shared: Option<Arc<Shared>>) -> Self {
        let state = match (&shared, signaled) {
            (Some(_), _) => SHARED,
            (None, true) => SIGNALED,
            (None, false) => UNSIGNALED,
        };
        Self { state: AtomicU64::new(state), payloads: Payloads::new(shared) }
    }

    /// The fence is signalled when the submission is finished. Returns the payload, if that is what the host has to signal.
    pub(crate) fn submit(&self, point: Point) -> Option<Arc<Shared>> {
        let shared = self.shared();
        if shared.is_none() {
            let state = (u64::from(point.slot) + 1) << SEQ_BITS | point.seq;
            self.state.store(state, Ordering::Release);
        }
        shared
    }

    /// The fence is signalled now.
    pub(crate) fn signal(&self) {
        match self.shared() {
            Some(shared) => shared.payload.set(),
            None => self.state.store(SIGNALED, Ordering::Release),
        }
    }

    /// Back to unsignalled. What was imported for a while is given back first, and the rest is about what was before.
    pub(crate) fn reset(&self, session: &Session) {
        if self.shared().is_some() {
            session.unshare(self.payloads.restore());
            if let Some(shared) = self.shared() {
                shared.payload.reset();
                return;
            }
        }
        self.state.store(UNSIGNALED, Ordering::Release);
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        if self.state.load(Ordering::Acquire) == SHARED { self.payloads.current() } else { None }
    }
}

impl Awaited for Arc<Fence> {
    fn ready(&self, session: &Session) -> bool {
        match self.state.load(Ordering::Acquire) {
            UNSIGNALED => false,
            SIGNALED => true,
            SHARED => self.payloads.current().is_some_and(|shared| shared.payload.value() != 0),
            state => {
                let slot = (state >> SEQ_BITS) as u8 - 1;
                session.reached(Point { slot, seq: state & ((1 << SEQ_BITS) - 1) })
            }
        }
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        Fence::shared(self)
    }
}

/// `vkCreateFence`
pub(crate) unsafe extern "system" fn vkCreateFence(
    device: *mut c_void,
    info: *const vk::FenceCreateInfo<'_>,
    callbacks: *const c_void,
    fence: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(session) = dispatch::session(device) else { return vk::Result::ERROR_DEVICE_LOST.as_raw() };
        fence.write(0);
        let signaled = (*info).flags.contains(vk::FenceCreateFlags::SIGNALED);
        let export = chain::find::<vk::ExportFenceCreateInfo<'_>>((*info).p_next).as_ref();
        let shared = match export.filter(|export| export.handle_types.contains(FILE)) {
            Some(_) => match session.make_payload(Kind::Fence, signaled.into()) {
                Ok(shared) => Some(shared),
                Err(_) => return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw(),
            },
            None => None,
        };
        let Some(id) = session.allocate_id(HandleType::Fence, device::allocator(device, callbacks)) else {
            session.unshare(shared);
            return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw();
        };
        session.objects.fences.insert(id, Arc::new(Fence::new(signaled, shared)));
        fence.write(id);
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkDestroyFence`
pub(crate) unsafe extern "system" fn vkDestroyFence(device: *mut c_void, fence: u64, _: *const c_void) {
    // SAFETY: the application's valid usage of this command.
    if let Some(session) = unsafe { dispatch::session(device) }
        && let Some(state) = session.objects.fences.remove(fence)
    {
        session.unshare_all(&state.payloads);
        session.free_id(HandleType::Fence, fence);
    }
}

/// `vkResetFences`
pub(crate) unsafe extern "system" fn vkResetFences(
    device: *mut c_void,
    count: u32,
    fences: *const u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command: `count` fences.
    unsafe {
        let Some(session) = dispatch::session(device) else { return vk::Result::ERROR_DEVICE_LOST.as_raw() };
        for i in 0..count as usize {
            session.objects.fences.with(*fences.add(i), |fence| fence.reset(session));
        }
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkGetFenceStatus`
pub(crate) unsafe extern "system" fn vkGetFenceStatus(device: *mut c_void, fence: u64) -> i32 {
    // SAFETY: the application's valid usage of this command.
    let Some(session) = (unsafe { dispatch::session(device) }) else {
        return vk::Result::ERROR_DEVICE_LOST.as_raw();
    };
    let signaled = session.objects.fences.with(fence, |fence| fence.ready(session)).unwrap_or(false);
    let result = if signaled {
        vk::Result::SUCCESS
    } else if session.lost_now() {
        vk::Result::ERROR_DEVICE_LOST
    } else {
        vk::Result::NOT_READY
    };
    result.as_raw()
}

/// `vkWaitForFences`
pub(crate) unsafe extern "system" fn vkWaitForFences(
    device: *mut c_void,
    count: u32,
    fences: *const u64,
    wait_all: u32,
    timeout: u64,
) -> i32 {
    let lost = vk::Result::ERROR_DEVICE_LOST;
    // SAFETY: the application's valid usage of this command: `count` fences.
    unsafe {
        forward::guard(device, lost, || {
            let Some(session) = dispatch::session(device) else { return lost };
            let table = &session.objects.fences;
            if count == 1 {
                let wait = |fence: &_| session.wait_for(std::slice::from_ref(fence), true, timeout);
                return table.with(*fences, wait).map_or(vk::Result::SUCCESS, Waited::result);
            }
            let fences: Vec<Arc<Fence>> =
                (0..count as usize).filter_map(|i| table.get(*fences.add(i))).collect();
            session.wait_for(&fences, wait_all != 0, timeout).result()
        })
    }
    .as_raw()
}

/// `vkGetFenceFdKHR`
pub(crate) unsafe extern "system" fn vkGetFenceFdKHR(
    device: *mut c_void,
    info: *const vk::FenceGetFdInfoKHR<'_>,
    fd: *mut RawFd,
) -> i32 {
    let none = vk::Result::ERROR_TOO_MANY_OBJECTS;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(session) = dispatch::session(device) else {
            return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw();
        };
        let fence = session.objects.fences.get(vk::Handle::as_raw((*info).fence));
        match fence
            .filter(|_| (*info).handle_type == FILE)
            .ok_or(none)
            .and_then(|f| payload::export(&f.payloads))
        {
            Ok(own) => fd.write(own),
            Err(result) => return result.as_raw(),
        }
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkImportFenceFdKHR`
pub(crate) unsafe extern "system" fn vkImportFenceFdKHR(
    device: *mut c_void,
    info: *const vk::ImportFenceFdInfoKHR<'_>,
) -> i32 {
    let invalid = vk::Result::ERROR_INVALID_EXTERNAL_HANDLE;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        forward::guard(device, invalid, || {
            let Some(session) = dispatch::session(device) else {
                return vk::Result::ERROR_OUT_OF_HOST_MEMORY;
            };
            let Some(fence) = session.objects.fences.get(vk::Handle::as_raw((*info).fence)) else {
                return invalid;
            };
            if (*info).handle_type != FILE {
                return invalid;
            }
            let temporary = (*info).flags.contains(vk::FenceImportFlags::TEMPORARY);
            let result = session.import_payload(Kind::Fence, &fence.payloads, (*info).fd, temporary);
            if result == vk::Result::SUCCESS {
                fence.state.store(SHARED, Ordering::Release);
            }
            result
        })
    }
    .as_raw()
}
