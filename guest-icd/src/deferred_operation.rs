//! `VkDeferredOperationKHR`: lives in the guest only, and nothing is ever deferred on it.
//!
//! What could be deferred, the creation of ray tracing pipelines, is not waited for anyway: it returns at once and the
//! host compiles while the program goes on.

use std::ffi::c_void;

use ash::vk;
use vw_wire_protocol::generated::handles::HandleType;

use crate::device;
use crate::dispatch;

/// `vkCreateDeferredOperationKHR`
pub(crate) unsafe extern "system" fn vkCreateDeferredOperationKHR(
    device: *mut c_void,
    callbacks: *const c_void,
    operation: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let allocator = device::allocator(device, callbacks);
        let id = dispatch::session(device)
            .and_then(|session| session.allocate_id(HandleType::DeferredOperationKHR, allocator));
        operation.write(id.unwrap_or(0));
        if id.is_some() { vk::Result::SUCCESS } else { vk::Result::ERROR_OUT_OF_HOST_MEMORY }.as_raw()
    }
}

/// `vkDestroyDeferredOperationKHR`
pub(crate) unsafe extern "system" fn vkDestroyDeferredOperationKHR(
    device: *mut c_void,
    operation: u64,
    _: *const c_void,
) {
    // SAFETY: the application's valid usage of this command.
    if let Some(session) = unsafe { dispatch::session(device) } {
        session.free_id(HandleType::DeferredOperationKHR, operation);
    }
}

/// `vkGetDeferredOperationMaxConcurrencyKHR`: nothing is left to do on any operation.
pub(crate) unsafe extern "system" fn vkGetDeferredOperationMaxConcurrencyKHR(_: *mut c_void, _: u64) -> u32 {
    0
}

/// `vkGetDeferredOperationResultKHR`: `VK_SUCCESS` where no command has been deferred.
pub(crate) unsafe extern "system" fn vkGetDeferredOperationResultKHR(_: *mut c_void, _: u64) -> i32 {
    vk::Result::SUCCESS.as_raw()
}

/// `vkDeferredOperationJoinKHR`: nothing is left to do.
pub(crate) unsafe extern "system" fn vkDeferredOperationJoinKHR(_: *mut c_void, _: u64) -> i32 {
    vk::Result::SUCCESS.as_raw()
}
