//! A Vulkan driver around another one: hands out the other's entry points, each behind a few instructions that note
//! the call. What was called is read by `vw_conformance::coverage`.
//!
//! `VW_COUNTED_DRIVER` is the other driver's library, `VW_COUNTS` the folder that gets a file for each process.
//! Only where the instructions are known: on x86-64.

#![cfg(target_arch = "x86_64")]

mod notes;

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

use libloading::Library;
use libloading::os::unix::{Library as UnixLibrary, RTLD_LOCAL, RTLD_NOW};

use crate::notes::noting;

/// An entry point without its signature.
type Function = unsafe extern "system" fn();

/// `vkGetInstanceProcAddr`, `vkGetDeviceProcAddr` and their like.
type Lookup = unsafe extern "system" fn(*mut c_void, *const c_char) -> Option<Function>;

/// The other driver.
struct Driver {
    negotiate: unsafe extern "system" fn(*mut u32) -> i32,
    instance_proc: Lookup,
    physical_device_proc: Lookup,
    /// Its `vkGetDeviceProcAddr`, once somebody has asked for it.
    device_proc: OnceLock<Lookup>,
}

/// The other driver, opened at the first call; `None` when it cannot be.
fn driver() -> Option<&'static Driver> {
    static DRIVER: OnceLock<Option<Driver>> = OnceLock::new();
    DRIVER
        .get_or_init(|| {
            let path = std::env::var_os("VW_COUNTED_DRIVER")?;
            // SAFETY: the library is a Vulkan driver, whose initialisers are those that the loader would run; its
            // functions have the signatures of the loader's interface. It is never closed.
            unsafe {
                let library: Library = UnixLibrary::open(Some(path), RTLD_NOW | RTLD_LOCAL).ok()?.into();
                let driver = Driver {
                    negotiate: *library.get(b"vk_icdNegotiateLoaderICDInterfaceVersion\0").ok()?,
                    instance_proc: *library.get(b"vk_icdGetInstanceProcAddr\0").ok()?,
                    physical_device_proc: *library.get(b"vk_icdGetPhysicalDeviceProcAddr\0").ok()?,
                    device_proc: OnceLock::new(),
                };
                Box::leak(Box::new(library));
                Some(driver)
            }
        })
        .as_ref()
}

/// As the loader's interface says; `VK_ERROR_INCOMPATIBLE_DRIVER` when there is no driver to count.
///
/// # Safety
/// `version` must be valid.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdNegotiateLoaderICDInterfaceVersion(version: *mut u32) -> i32 {
    const INCOMPATIBLE_DRIVER: i32 = -9;
    // SAFETY: the caller's promise.
    driver().map_or(INCOMPATIBLE_DRIVER, |driver| unsafe { (driver.negotiate)(version) })
}

/// As the loader's interface says.
///
/// # Safety
/// `instance` must be null or a live instance, `name` a string.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetInstanceProcAddr(
    instance: *mut c_void,
    name: *const c_char,
) -> Option<Function> {
    let driver = driver()?;
    // SAFETY: the caller's promise; functions are cast back to their own signatures by whoever gets them.
    unsafe {
        let found = (driver.instance_proc)(instance, name)?;
        let name = CStr::from_ptr(name);
        let own = match name.to_bytes() {
            b"vk_icdNegotiateLoaderICDInterfaceVersion" => {
                vk_icdNegotiateLoaderICDInterfaceVersion as *const ()
            }
            b"vk_icdGetInstanceProcAddr" => vk_icdGetInstanceProcAddr as *const (),
            b"vk_icdGetPhysicalDeviceProcAddr" => vk_icdGetPhysicalDeviceProcAddr as *const (),
            b"vkGetInstanceProcAddr" => {
                return noting(name, as_function(vk_icdGetInstanceProcAddr as *const ()));
            }
            b"vkGetDeviceProcAddr" => {
                driver.device_proc.get_or_init(|| std::mem::transmute::<Function, Lookup>(found));
                return noting(name, as_function(device_proc as *const ()));
            }
            _ => return noting(name, found),
        };
        Some(as_function(own))
    }
}

/// As the loader's interface says.
///
/// # Safety
/// `instance` must be a live instance, `name` a string.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetPhysicalDeviceProcAddr(
    instance: *mut c_void,
    name: *const c_char,
) -> Option<Function> {
    // SAFETY: the caller's promise.
    unsafe { noting(CStr::from_ptr(name), (driver()?.physical_device_proc)(instance, name)?) }
}

unsafe extern "system" fn device_proc(device: *mut c_void, name: *const c_char) -> Option<Function> {
    // SAFETY: the caller's valid usage of `vkGetDeviceProcAddr`, which is where this function was handed out.
    unsafe { noting(CStr::from_ptr(name), driver()?.device_proc.get()?(device, name)?) }
}

/// # Safety
/// `pointer` must be a function.
unsafe fn as_function(pointer: *const ()) -> Function {
    // SAFETY: the caller's promise.
    unsafe { std::mem::transmute::<*const (), Function>(pointer) }
}
