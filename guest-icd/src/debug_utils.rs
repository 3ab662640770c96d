//! `VK_EXT_debug_utils`: messengers, which live in the guest, and the names of objects, which are for tools on the
//! host.
//!
//! Labels of queues and command buffers are ordinary commands on the wire.

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::Mutex;

use ash::vk;
use vw_wire_protocol::codec::Writer;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::op;

use crate::alloc::{Backing, HostAllocator, OutOfHostMemory};
use crate::chain;
use crate::dispatch;
use crate::failure::Failure;
use crate::forward;
use crate::instance::Instance;
use crate::session::lock;

/// How much a message matters.
pub(crate) type Severity = vk::DebugUtilsMessageSeverityFlagsEXT;

type Kinds = vk::DebugUtilsMessageTypeFlagsEXT;

type Callback = unsafe extern "system" fn(
    Severity,
    Kinds,
    *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    *mut c_void,
) -> vk::Bool32;

/// Who wants to hear of what.
#[derive(Clone, Copy)]
struct Messenger {
    severities: Severity,
    kinds: Kinds,
    callback: Callback,
    user_data: *mut c_void,
}

// SAFETY: the specification lets an implementation call back from any thread that calls into Vulkan; the user data is
// only passed back.
unsafe impl Send for Messenger {}

impl Messenger {
    /// From what the program said; none without a callback.
    fn new(info: &vk::DebugUtilsMessengerCreateInfoEXT<'_>) -> Option<Self> {
        Some(Self {
            severities: info.message_severity,
            kinds: info.message_type,
            callback: info.pfn_user_callback?,
            user_data: info.p_user_data,
        })
    }

    /// # Safety
    /// The callback must still be there, `data` be valid.
    unsafe fn deliver(
        &self,
        severity: Severity,
        kinds: Kinds,
        data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    ) {
        if self.severities.intersects(severity) && self.kinds.intersects(kinds) {
            // SAFETY: the caller's promise. The answer is for layers: a driver has no command to abandon.
            unsafe { (self.callback)(severity, kinds, data, self.user_data) };
        }
    }
}

/// The messengers of an instance.
#[derive(Default)]
pub(crate) struct Messengers {
    listed: Mutex<Listed>,
}

#[derive(Default)]
struct Listed {
    /// The last handle given out.
    last: u64,
    messengers: Vec<(u64, Messenger, Option<Backing>)>,
}

impl std::fmt::Debug for Messengers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messengers").field("count", &lock(&self.listed).messengers.len()).finish()
    }
}

impl Messengers {
    /// Those in the chain of a `VkInstanceCreateInfo`, which hear of what happens in `vkCreateInstance`.
    ///
    /// # Safety
    /// The chain must be valid.
    pub(crate) unsafe fn chained(next: *const c_void) -> Self {
        let messengers = Self::default();
        let mut next = next;
        loop {
            // SAFETY: the caller's promise.
            let found = unsafe { chain::find::<vk::DebugUtilsMessengerCreateInfoEXT<'_>>(next).as_ref() };
            let Some(info) = found else { break };
            if let Some(messenger) = Messenger::new(info) {
                messengers.add(messenger, None);
            }
            next = info.p_next;
        }
        messengers
    }

    fn add(&self, messenger: Messenger, backing: Option<Backing>) -> u64 {
        let mut listed = lock(&self.listed);
        listed.last += 1;
        let handle = listed.last;
        listed.messengers.push((handle, messenger, backing));
        handle
    }

    fn remove(&self, handle: u64) {
        let removed = {
            let mut listed = lock(&self.listed);
            let at = listed.messengers.iter().position(|(other, ..)| *other == handle);
            at.map(|at| listed.messengers.remove(at))
        };
        if let Some((_, _, Some(backing))) = removed {
            backing.release();
        }
    }

    /// # Safety
    /// `data` must be valid.
    unsafe fn deliver(
        &self,
        severity: Severity,
        kinds: Kinds,
        data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    ) {
        // No lock is held while the program's functions run.
        let all: Vec<_> = lock(&self.listed).messengers.iter().map(|(_, messenger, _)| *messenger).collect();
        for messenger in all {
            // SAFETY: the caller's promise; a messenger is not destroyed while commands that may call it run.
            unsafe { messenger.deliver(severity, kinds, data) };
        }
    }

    /// Delivers a message of vw's own; `id` is its name among them.
    pub(crate) fn say(&self, severity: Severity, id: &CStr, text: &str) {
        if lock(&self.listed).messengers.is_empty() {
            return;
        }
        let text: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
        let Ok(text) = CString::new(text) else { return };
        let data = vk::DebugUtilsMessengerCallbackDataEXT::default().message_id_name(id).message(&text);
        // SAFETY: a valid structure.
        unsafe { self.deliver(severity, Kinds::GENERAL, &raw const data) };
    }
}

/// `vkCreateDebugUtilsMessengerEXT`
pub(crate) unsafe extern "system" fn vkCreateDebugUtilsMessengerEXT(
    instance: *mut Instance,
    info: *const vk::DebugUtilsMessengerCreateInfoEXT<'_>,
    callbacks: *const vk::AllocationCallbacks<'_>,
    messenger: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        messenger.write(0);
        let (Some(instance), Some(new)) = (instance.as_ref(), Messenger::new(&*info)) else {
            return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw();
        };
        let allocator = HostAllocator::new(callbacks).or(instance.allocator());
        match Backing::new(allocator, HandleType::DebugUtilsMessengerEXT) {
            Ok(backing) => messenger.write(instance.messengers().add(new, backing)),
            Err(OutOfHostMemory) => return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw(),
        }
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkDestroyDebugUtilsMessengerEXT`
pub(crate) unsafe extern "system" fn vkDestroyDebugUtilsMessengerEXT(
    instance: *mut Instance,
    messenger: u64,
    _: *const c_void,
) {
    // SAFETY: the application's valid usage of this command.
    if let Some(instance) = unsafe { instance.as_ref() } {
        instance.messengers().remove(messenger);
    }
}

/// `vkSubmitDebugUtilsMessageEXT`. The loader delivers such messages itself and does not pass them on.
pub(crate) unsafe extern "system" fn vkSubmitDebugUtilsMessageEXT(
    instance: *mut Instance,
    severity: Severity,
    kinds: Kinds,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        if let Some(instance) = instance.as_ref() {
            instance.messengers().deliver(severity, kinds, data);
        }
    }
}

/// What is named or tagged, as the host's record has it. Instance and physical device are the host's own, and not all
/// loaders pass on a driver's handles of them: null.
///
/// # Safety
/// `device` must be a live device, the object live and of that type.
unsafe fn put_object(w: &mut Writer<'_>, device: *mut c_void, ty: vk::ObjectType, handle: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        let id = match ty {
            vk::ObjectType::INSTANCE | vk::ObjectType::PHYSICAL_DEVICE => 0,
            vk::ObjectType::DEVICE | vk::ObjectType::QUEUE | vk::ObjectType::COMMAND_BUFFER => {
                dispatch::id(handle as *const c_void)
            }
            _ => handle,
        };
        w.put_u64(dispatch::id(device));
        w.put_u64(id);
    }
    w.put_u32(ty.as_raw() as u32);
}

/// Sends a record about an object. Of a device that is lost nothing need be known any more.
///
/// # Safety
/// `device` must be a live device.
unsafe fn describe(device: *mut c_void, opcode: u16, payload: &dyn Fn(&mut Writer<'_>)) -> i32 {
    // SAFETY: the caller's promise.
    let sent = unsafe {
        forward::guard(device, Ok(0), || {
            dispatch::session(device).map_or(Ok(0), |session| session.send(opcode, payload))
        })
    };
    match sent {
        Err(Failure::TooLarge) => vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw(),
        Ok(_) | Err(Failure::Lost) => vk::Result::SUCCESS.as_raw(),
    }
}

/// `vkSetDebugUtilsObjectNameEXT`
pub(crate) unsafe extern "system" fn vkSetDebugUtilsObjectNameEXT(
    device: *mut c_void,
    info: *const vk::DebugUtilsObjectNameInfoEXT<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command: null is the empty name.
    unsafe {
        let info = &*info;
        let name: *const c_char = info.p_object_name;
        let name = if name.is_null() { c"" } else { CStr::from_ptr(name) };
        describe(device, op::NAME_OBJECT, &|w| {
            put_object(w, device, info.object_type, info.object_handle);
            w.put_u32(name.to_bytes().len() as u32);
            w.put_bytes(name.to_bytes());
        })
    }
}

/// `vkSetDebugUtilsObjectTagEXT`
pub(crate) unsafe extern "system" fn vkSetDebugUtilsObjectTagEXT(
    device: *mut c_void,
    info: *const vk::DebugUtilsObjectTagInfoEXT<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command: a tag of as many bytes as the info says.
    unsafe {
        let info = &*info;
        let tag = std::slice::from_raw_parts(info.p_tag.cast::<u8>(), info.tag_size);
        let Ok(length) = u32::try_from(tag.len()) else {
            return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw();
        };
        describe(device, op::TAG_OBJECT, &|w| {
            put_object(w, device, info.object_type, info.object_handle);
            w.put_u32(length);
            w.put_u64(info.tag_name);
            w.put_bytes(tag);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "system" fn count(
        _: Severity,
        _: Kinds,
        data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
        heard: *mut c_void,
    ) -> vk::Bool32 {
        // SAFETY: the data are valid, and the user data is the test's list.
        unsafe {
            let text = CStr::from_ptr((*data).p_message).to_string_lossy().into_owned();
            (*heard.cast::<Vec<String>>()).push(text);
        }
        vk::FALSE
    }

    #[test]
    fn message_when_said_reaches_those_who_want_it_until_they_are_gone() {
        let mut heard: Vec<String> = Vec::new();
        let user_data = (&raw mut heard).cast();
        let info = |severities, kinds| vk::DebugUtilsMessengerCreateInfoEXT {
            message_severity: severities,
            message_type: kinds,
            pfn_user_callback: Some(count),
            p_user_data: user_data,
            ..Default::default()
        };
        let errors = info(Severity::ERROR, Kinds::GENERAL);
        let warnings = vk::DebugUtilsMessengerCreateInfoEXT {
            p_next: (&raw const errors).cast(),
            ..info(Severity::WARNING, Kinds::GENERAL | Kinds::PERFORMANCE)
        };
        // SAFETY: a valid chain.
        let messengers = unsafe { Messengers::chained((&raw const warnings).cast()) };
        if let Some(others) = Messenger::new(&info(Severity::ERROR, Kinds::VALIDATION)) {
            messengers.add(others, None);
        }
        messengers.say(Severity::ERROR, c"vw-test", "bad\0 news");
        messengers.say(Severity::WARNING, c"vw-test", "so so");
        messengers.remove(1);
        messengers.say(Severity::WARNING, c"vw-test", "unheard");
        assert_eq!(heard, ["bad news", "so so"]);
    }
}
