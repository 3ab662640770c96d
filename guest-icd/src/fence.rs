//! `VkFence`: lives in the guest only.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ash::vk;
use vw_wire_protocol::generated::handles::HandleType;

use crate::completion::{Point, Waited};
use crate::device;
use crate::dispatch;
use crate::forward;
use crate::session::Session;

/// Not signalled and not submitted.
const UNSIGNALED: u64 = 0;

/// Signalled whatever the queues do.
const SIGNALED: u64 = u64::MAX;

/// Bits of the submission's number in a fence's state; the slot plus 1 is above them.
const SEQ_BITS: u32 = 56;

/// Guest-side state of a fence.
#[derive(Debug)]
pub(crate) struct Fence {
    /// [`UNSIGNALED`], [`SIGNALED`], or the submission that signals it.
    state: AtomicU64,
}

impl Fence {
    /// A new fence.
    pub(crate) fn new(signaled: bool) -> Self {
        Self { state: AtomicU64::new(if signaled { SIGNALED } else { UNSIGNALED }) }
    }

    /// The fence is signalled when the submission is finished.
    pub(crate) fn submit(&self, point: Point) {
        let state = (u64::from(point.slot) + 1) << SEQ_BITS | point.seq;
        self.state.store(state, Ordering::Release);
    }

    /// The fence is signalled now.
    pub(crate) fn signal(&self) {
        self.state.store(SIGNALED, Ordering::Release);
    }

    /// Back to unsignalled.
    pub(crate) fn reset(&self) {
        self.state.store(UNSIGNALED, Ordering::Release);
    }

    /// Whether the fence is signalled.
    pub(crate) fn signaled(&self, session: &Session) -> bool {
        match self.state.load(Ordering::Acquire) {
            UNSIGNALED => false,
            SIGNALED => true,
            state => {
                let slot = (state >> SEQ_BITS) as u8 - 1;
                session.reached(Point { slot, seq: state & ((1 << SEQ_BITS) - 1) })
            }
        }
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
        let Some(id) = session.allocate_id(HandleType::Fence, device::allocator(device, callbacks)) else {
            fence.write(0);
            return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw();
        };
        let signaled = (*info).flags.contains(vk::FenceCreateFlags::SIGNALED);
        session.objects.fences.insert(id, Arc::new(Fence::new(signaled)));
        fence.write(id);
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkDestroyFence`
pub(crate) unsafe extern "system" fn vkDestroyFence(device: *mut c_void, fence: u64, _: *const c_void) {
    // SAFETY: the application's valid usage of this command.
    if let Some(session) = unsafe { dispatch::session(device) }
        && session.objects.fences.remove(fence).is_some()
    {
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
            if let Some(fence) = session.objects.fences.get(*fences.add(i)) {
                fence.reset();
            }
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
    let signaled = session.objects.fences.with(fence, |fence| fence.signaled(session)).unwrap_or(false);
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
            let fences: Vec<Arc<Fence>> =
                (0..count as usize).filter_map(|i| table.get(*fences.add(i))).collect();
            wait(session, &fences, wait_all != 0, timeout).result()
        })
    }
    .as_raw()
}

/// Waits for all or any of the fences.
fn wait(session: &Session, fences: &[Arc<Fence>], all: bool, timeout: u64) -> Waited {
    if all {
        // Those before `first` were seen signalled.
        let mut first = 0;
        session.wait(timeout, || {
            while fences.get(first).is_some_and(|f| f.signaled(session)) {
                first += 1;
            }
            first == fences.len()
        })
    } else {
        session.wait(timeout, || fences.iter().any(|f| f.signaled(session)))
    }
}
