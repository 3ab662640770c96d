//! `VkSemaphore`. Of timeline semaphores the guest knows the value: it sees all that signals them, or they have a payload.

use std::ffi::c_void;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

use ash::vk;
use vw_transport::payload::Kind;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::chain;
use crate::completion::{Awaited, Point};
use crate::dispatch;
use crate::forward;
use crate::payload::{self, Payloads, Shared};
use crate::session::{Session, lock};

/// The handle type of payloads.
const FILE: vk::ExternalSemaphoreHandleTypeFlags = vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;

/// Guest-side state of a semaphore that has any: of a timeline semaphore, or one with payloads.
#[derive(Debug)]
pub(crate) struct Semaphore {
    /// None for a binary one.
    timeline: Option<Timeline>,
    pub(crate) payloads: Payloads,
}

impl Semaphore {
    /// A timeline semaphore of this session's own.
    pub(crate) fn timeline(value: u64) -> Self {
        Self { timeline: Some(Timeline::new(value)), payloads: Payloads::default() }
    }

    /// What kind of payload it has.
    fn kind(&self) -> Kind {
        if self.is_timeline() { Kind::TimelineSemaphore } else { Kind::BinarySemaphore }
    }

    /// Whether it is a timeline semaphore.
    pub(crate) fn is_timeline(&self) -> bool {
        self.timeline.is_some()
    }

    /// The value of this session's own timeline semaphore is reached when the submission is finished.
    pub(crate) fn signal_at(&self, value: u64, point: Point, session: &Session) {
        if let Some(timeline) = &self.timeline {
            timeline.signal_at(value, point, session);
        }
    }

    /// The current value of a timeline semaphore.
    fn value(&self, session: &Session) -> u64 {
        match (self.payloads.current(), &self.timeline) {
            (Some(shared), _) => shared.payload.value(),
            (None, Some(timeline)) => timeline.value(session),
            (None, None) => 0,
        }
    }
}

/// A value of a timeline semaphore.
impl Awaited for (Arc<Semaphore>, u64) {
    fn ready(&self, session: &Session) -> bool {
        self.0.value(session) >= self.1
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        self.0.payloads.current()
    }
}

/// Guest-side state of a timeline semaphore.
#[derive(Debug)]
struct Timeline {
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
    fn new(value: u64) -> Self {
        Self { state: Mutex::new(State { value, pending: Vec::new() }) }
    }

    /// The value is reached when the submission is finished.
    fn signal_at(&self, value: u64, point: Point, session: &Session) {
        let mut state = lock(&self.state);
        state.advance(session);
        state.pending.push((value, point));
    }

    /// The value is reached now.
    fn signal(&self, value: u64) {
        let mut state = lock(&self.state);
        state.value = state.value.max(value);
    }

    /// The current value.
    fn value(&self, session: &Session) -> u64 {
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
        let Some(session) = dispatch::session(device) else { return vk::Result::ERROR_DEVICE_LOST.as_raw() };
        let ty = chain::find::<vk::SemaphoreTypeCreateInfo<'_>>((*info).p_next).as_ref();
        let initial =
            ty.filter(|ty| ty.semaphore_type == vk::SemaphoreType::TIMELINE).map(|ty| ty.initial_value);
        let mut state = initial.map(Semaphore::timeline);
        let export = chain::find::<vk::ExportSemaphoreCreateInfo<'_>>((*info).p_next).as_ref();
        if export.is_some_and(|export| export.handle_types.contains(FILE)) {
            let own = state.unwrap_or(Semaphore { timeline: None, payloads: Payloads::default() });
            let shared = match session.make_payload(own.kind(), initial.unwrap_or(0)) {
                Ok(shared) => shared,
                Err(_) => {
                    semaphore.write(0);
                    return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw();
                }
            };
            state = Some(Semaphore { payloads: Payloads::new(Some(shared)), ..own });
        }
        let result =
            forward::create(device, &commands::VK_CREATE_SEMAPHORE, &args, HandleType::Semaphore, callbacks);
        match state {
            Some(state) if result == 0 => session.objects.semaphores.insert(*semaphore, Arc::new(state)),
            Some(state) => session.unshare_all(&state.payloads),
            None => {}
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
            if let Some(state) = session.objects.semaphores.remove(semaphore) {
                session.unshare_all(&state.payloads);
            }
            session.objects.owed.forget(semaphore);
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
        if let Some(timeline) = session.objects.semaphores.get(semaphore) {
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
        let Some(session) = dispatch::session(device) else { return vk::Result::ERROR_DEVICE_LOST.as_raw() };
        let state = session.objects.semaphores.get(vk::Handle::as_raw((*info).semaphore));
        if let Some(shared) = state.as_ref().and_then(|state| state.payloads.current()) {
            // The host's semaphore has no part in it.
            shared.payload.raise((*info).value);
            return vk::Result::SUCCESS.as_raw();
        }
        let result = forward::send(device, &commands::VK_SIGNAL_SEMAPHORE, &args);
        if result == 0 {
            if let Some(timeline) = state.as_ref().and_then(|state| state.timeline.as_ref()) {
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
            let waits: Vec<(Arc<Semaphore>, u64)> = (0..(*info).semaphore_count as usize)
                .filter_map(|i| {
                    let semaphore = vk::Handle::as_raw(*(*info).p_semaphores.add(i));
                    Some((session.objects.semaphores.get(semaphore)?, *(*info).p_values.add(i)))
                })
                .collect();
            let any = (*info).flags.contains(vk::SemaphoreWaitFlags::ANY);
            session.wait_for(&waits, !any, timeout).result()
        })
    }
    .as_raw()
}

/// `vkGetSemaphoreFdKHR`
pub(crate) unsafe extern "system" fn vkGetSemaphoreFdKHR(
    device: *mut c_void,
    info: *const vk::SemaphoreGetFdInfoKHR<'_>,
    fd: *mut RawFd,
) -> i32 {
    let none = vk::Result::ERROR_TOO_MANY_OBJECTS;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(session) = dispatch::session(device) else {
            return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw();
        };
        let state = session.objects.semaphores.get(vk::Handle::as_raw((*info).semaphore));
        let state = state.filter(|_| (*info).handle_type == FILE).ok_or(none);
        match state.and_then(|state| payload::export(&state.payloads)) {
            Ok(own) => fd.write(own),
            Err(result) => return result.as_raw(),
        }
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkImportSemaphoreFdKHR`
pub(crate) unsafe extern "system" fn vkImportSemaphoreFdKHR(
    device: *mut c_void,
    info: *const vk::ImportSemaphoreFdInfoKHR<'_>,
) -> i32 {
    let invalid = vk::Result::ERROR_INVALID_EXTERNAL_HANDLE;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        forward::guard(device, invalid, || {
            let Some(session) = dispatch::session(device) else {
                return vk::Result::ERROR_OUT_OF_HOST_MEMORY;
            };
            let semaphore = vk::Handle::as_raw((*info).semaphore);
            let known = session.objects.semaphores.get(semaphore);
            let state = known
                .clone()
                .unwrap_or_else(|| Arc::new(Semaphore { timeline: None, payloads: Payloads::default() }));
            let temporary = (*info).flags.contains(vk::SemaphoreImportFlags::TEMPORARY);
            // A timeline semaphore has one payload at a time (VUID-VkImportSemaphoreFdInfoKHR-flags-03323).
            if (*info).handle_type != FILE || temporary && state.is_timeline() {
                return invalid;
            }
            let result = session.import_payload(state.kind(), &state.payloads, (*info).fd, temporary);
            if result == vk::Result::SUCCESS && known.is_none() {
                session.objects.semaphores.insert(semaphore, state);
            }
            result
        })
    }
    .as_raw()
}
