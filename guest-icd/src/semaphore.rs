//! `VkSemaphore`. Of timeline semaphores the guest knows the value: it sees all that signals them.

use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use ash::vk;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::chain;
use crate::completion::{Point, Waited};
use crate::dispatch;
use crate::forward;
use crate::session::{Session, lock};

/// Guest-side state of a timeline semaphore.
#[derive(Debug)]
pub(crate) struct Timeline {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The value as far as it is known.
    value: u64,
    /// Values to come, with the submissions that signal them.
    pending: Vec<(u64, Point)>,
}

impl Timeline {
    /// A semaphore with an initial value.
    pub(crate) fn new(value: u64) -> Self {
        Self { state: Mutex::new(State { value, pending: Vec::new() }) }
    }

    /// The value is reached when the submission is finished.
    pub(crate) fn signal_at(&self, value: u64, point: Point, session: &Session) {
        let mut state = lock(&self.state);
        state.advance(session);
        state.pending.push((value, point));
    }

    /// The value is reached now.
    pub(crate) fn signal(&self, value: u64) {
        let mut state = lock(&self.state);
        state.value = state.value.max(value);
    }

    /// The current value.
    pub(crate) fn value(&self, session: &Session) -> u64 {
        let mut state = lock(&self.state);
        state.advance(session);
        state.value
    }
}

impl State {
    fn advance(&mut self, session: &Session) {
        let Self { value, pending } = self;
        pending.retain(|&(reached, point)| {
            let finished = session.reached(point);
            if finished {
                *value = (*value).max(reached);
            }
            !finished
        });
    }
}

/// `vkCreateSemaphore`
pub(crate) unsafe extern "system" fn vkCreateSemaphore(
    device: *mut c_void,
    info: *const vk::SemaphoreCreateInfo<'_>,
    callbacks: *const c_void,
    semaphore: *mut u64,
) -> i32 {
    let args = [device as u64, info as u64, callbacks as u64, semaphore as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let result =
            forward::create(device, &commands::VK_CREATE_SEMAPHORE, &args, HandleType::Semaphore, callbacks);
        let kind = chain::find::<vk::SemaphoreTypeCreateInfo<'_>>((*info).p_next).as_ref();
        if result == 0
            && let Some(session) = dispatch::session(device)
            && let Some(kind) = kind
            && kind.semaphore_type == vk::SemaphoreType::TIMELINE
        {
            session.objects.timelines.insert(*semaphore, Arc::new(Timeline::new(kind.initial_value)));
        }
        result
    }
}

/// `vkDestroySemaphore`
pub(crate) unsafe extern "system" fn vkDestroySemaphore(
    device: *mut c_void,
    semaphore: u64,
    callbacks: *const c_void,
) {
    let args = [device as u64, semaphore, callbacks as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        if let Some(session) = dispatch::session(device) {
            session.objects.timelines.remove(semaphore);
            session.objects.owed.take(semaphore);
        }
        forward::destroy(device, &commands::VK_DESTROY_SEMAPHORE, &args, semaphore, HandleType::Semaphore);
    }
}

/// `vkGetSemaphoreCounterValue`
pub(crate) unsafe extern "system" fn vkGetSemaphoreCounterValue(
    device: *mut c_void,
    semaphore: u64,
    value: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(session) = dispatch::session(device) else { return vk::Result::ERROR_DEVICE_LOST.as_raw() };
        if session.lost_now() {
            return vk::Result::ERROR_DEVICE_LOST.as_raw();
        }
        if let Some(timeline) = session.objects.timelines.get(semaphore) {
            value.write(timeline.value(session));
        }
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkSignalSemaphore`
pub(crate) unsafe extern "system" fn vkSignalSemaphore(
    device: *mut c_void,
    info: *const vk::SemaphoreSignalInfo<'_>,
) -> i32 {
    let args = [device as u64, info as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let result = forward::send(device, &commands::VK_SIGNAL_SEMAPHORE, &args);
        if result == 0
            && let Some(session) = dispatch::session(device)
        {
            if let Some(timeline) = session.objects.timelines.get(vk::Handle::as_raw((*info).semaphore)) {
                timeline.signal((*info).value);
            }
            // Submissions may be waiting for it on the host, threads here.
            session.flush();
            session.wake_waiters();
        }
        result
    }
}

/// `vkWaitSemaphores`
pub(crate) unsafe extern "system" fn vkWaitSemaphores(
    device: *mut c_void,
    info: *const vk::SemaphoreWaitInfo<'_>,
    timeout: u64,
) -> i32 {
    let lost = vk::Result::ERROR_DEVICE_LOST;
    // SAFETY: the application's valid usage of this command: as many semaphores and values as the info says.
    unsafe {
        forward::guard(device, lost, || {
            let Some(session) = dispatch::session(device) else { return lost };
            let waits: Vec<(Arc<Timeline>, u64)> = (0..(*info).semaphore_count as usize)
                .filter_map(|i| {
                    let semaphore = vk::Handle::as_raw(*(*info).p_semaphores.add(i));
                    Some((session.objects.timelines.get(semaphore)?, *(*info).p_values.add(i)))
                })
                .collect();
            wait(session, &waits, (*info).flags.contains(vk::SemaphoreWaitFlags::ANY), timeout).result()
        })
    }
    .as_raw()
}

/// Waits until all or any of the semaphores have their value.
fn wait(session: &Session, waits: &[(Arc<Timeline>, u64)], any: bool, timeout: u64) -> Waited {
    let reached = |(timeline, value): &(Arc<Timeline>, u64)| timeline.value(session) >= *value;
    session.wait(timeout, || if any { waits.iter().any(reached) } else { waits.iter().all(reached) })
}
