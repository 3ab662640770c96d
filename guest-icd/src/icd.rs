//! The loader's interface to drivers (`vk_icd.h`, LoaderDriverInterface.md): the only symbols that the library
//! exports.

use std::ffi::{CStr, c_char, c_void};

use ash::vk;

use crate::hand;
use crate::instance::Instance;
use crate::proc::{self, Function};

/// Newest interface version that is implemented: 7 makes all three functions reachable through
/// [`vk_icdGetInstanceProcAddr`].
const NEWEST: u32 = 7;

/// Agrees on the interface version: the lower of the loader's and the driver's.
///
/// # Safety
/// `version` must be valid.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdNegotiateLoaderICDInterfaceVersion(version: *mut u32) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { version.write(version.read().min(NEWEST)) };
    vk::Result::SUCCESS.as_raw()
}

/// `vkGetInstanceProcAddr` for the loader.
///
/// # Safety
/// `instance` must be null or a live instance of this driver, `name` a string.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetInstanceProcAddr(
    instance: *mut c_void,
    name: *const c_char,
) -> Option<Function> {
    if name.is_null() {
        return None;
    }
    // SAFETY: a string, by the caller's promise.
    let own = match unsafe { CStr::from_ptr(name) }.to_bytes() {
        b"vk_icdNegotiateLoaderICDInterfaceVersion" => vk_icdNegotiateLoaderICDInterfaceVersion as *const (),
        b"vk_icdGetPhysicalDeviceProcAddr" => vk_icdGetPhysicalDeviceProcAddr as *const (),
        b"vk_icdGetInstanceProcAddr" => vk_icdGetInstanceProcAddr as *const (),
        // SAFETY: the caller's promise.
        _ => return unsafe { hand::vkGetInstanceProcAddr(instance.cast(), name) },
    };
    // SAFETY: a function; the loader casts it back to its own signature.
    Some(unsafe { std::mem::transmute::<*const (), Function>(own) })
}

/// The commands that are dispatched on a physical device, for those that the loader does not know.
///
/// # Safety
/// As [`vk_icdGetInstanceProcAddr`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetPhysicalDeviceProcAddr(
    instance: *mut c_void,
    name: *const c_char,
) -> Option<Function> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let instance = instance.cast::<Instance>().as_ref()?;
        proc::of_physical_device(instance.enabled(), CStr::from_ptr(name))
    }
}
