//! `VkPrivateDataSlot`: the program's own data about objects, which never leave the guest.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use ash::vk;
use vw_wire_protocol::generated::handles::HandleType;

use crate::device;
use crate::dispatch;
use crate::session::lock;

/// Guest-side state of a slot: values by object type and handle.
#[derive(Debug, Default)]
pub(crate) struct PrivateDataSlot {
    values: Mutex<HashMap<(i32, u64), u64>>,
}

/// `vkCreatePrivateDataSlot`
pub(crate) unsafe extern "system" fn vkCreatePrivateDataSlot(
    device: *mut c_void,
    _: *const c_void,
    callbacks: *const c_void,
    slot: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        slot.write(0);
        let allocator = device::allocator(device, callbacks);
        let made = dispatch::session(device).and_then(|session| {
            Some((session, session.allocate_id(HandleType::PrivateDataSlot, allocator)?))
        });
        let Some((session, id)) = made else { return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw() };
        session.objects.private_data_slots.insert(id, Arc::default());
        slot.write(id);
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkDestroyPrivateDataSlot`
pub(crate) unsafe extern "system" fn vkDestroyPrivateDataSlot(
    device: *mut c_void,
    slot: u64,
    _: *const c_void,
) {
    // SAFETY: the application's valid usage of this command.
    if let Some(session) = unsafe { dispatch::session(device) }
        && session.objects.private_data_slots.remove(slot).is_some()
    {
        session.free_id(HandleType::PrivateDataSlot, slot);
    }
}

/// `vkSetPrivateData`
pub(crate) unsafe extern "system" fn vkSetPrivateData(
    device: *mut c_void,
    object_type: i32,
    object: u64,
    slot: u64,
    data: u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    let session = unsafe { dispatch::session(device) };
    if let Some(slot) = session.and_then(|session| session.objects.private_data_slots.get(slot)) {
        lock(&slot.values).insert((object_type, object), data);
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkGetPrivateData`: 0 where nothing was set.
pub(crate) unsafe extern "system" fn vkGetPrivateData(
    device: *mut c_void,
    object_type: i32,
    object: u64,
    slot: u64,
    data: *mut u64,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let slot = dispatch::session(device).and_then(|session| session.objects.private_data_slots.get(slot));
        let value = slot.and_then(|slot| lock(&slot.values).get(&(object_type, object)).copied());
        data.write(value.unwrap_or(0));
    }
}
