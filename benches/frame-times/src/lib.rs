//! A Vulkan layer that notes when a program presents: `VW_FRAME_TIMES` names the file that gets eight bytes for each frame, the
//! nanoseconds of the monotonic clock at which `vkQueuePresentKHR` has returned.
//!
//! All instances and devices of the process are taken to be of one driver, behind no other layer.

use std::ffi::{CStr, c_char, c_void};
use std::fs::File;
use std::io::Write as _;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use ash::vk;
use rustix::time::{ClockId, clock_gettime};

/// An entry point without its signature.
type Function = unsafe extern "system" fn();

/// `vkGetInstanceProcAddr` and `vkGetDeviceProcAddr`.
type Lookup = unsafe extern "system" fn(*mut c_void, *const c_char) -> Option<Function>;

/// `VkNegotiateLayerInterface`
#[repr(C)]
#[derive(Debug)]
pub struct NegotiateLayerInterface {
    kind: i32,
    next: *mut c_void,
    version: u32,
    instance_proc: Option<Lookup>,
    device_proc: Option<Lookup>,
    physical_device_proc: Option<Lookup>,
}

/// `VkLayerInstanceCreateInfo` and `VkLayerDeviceCreateInfo`, as far as they are alike.
#[repr(C)]
struct LayerCreateInfo {
    kind: vk::StructureType,
    next: *mut LayerCreateInfo,
    function: i32,
    link: *mut LayerLink,
}

/// `VkLayerInstanceLink` and `VkLayerDeviceLink`, as far as they are alike.
#[repr(C)]
struct LayerLink {
    next: *mut LayerLink,
    instance_proc: Lookup,
    /// Of a device; of an instance it is another one.
    device_proc: Lookup,
}

/// `VK_LAYER_LINK_INFO`
const LINK_INFO: i32 = 0;

/// What comes behind this layer.
static INSTANCE_PROC: OnceLock<Lookup> = OnceLock::new();
/// The instance that was made last.
static INSTANCE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static DEVICE_PROC: OnceLock<Lookup> = OnceLock::new();
static PRESENT: OnceLock<vk::PFN_vkQueuePresentKHR> = OnceLock::new();

/// As the loader's interface to layers says, in its version 2.
///
/// # Safety
/// `interface` must be valid.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vkNegotiateLoaderLayerInterfaceVersion(
    interface: *mut NegotiateLayerInterface,
) -> vk::Result {
    // SAFETY: the caller's promise.
    let interface = unsafe { &mut *interface };
    if interface.version < 2 {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    }
    interface.version = 2;
    interface.instance_proc = Some(instance_proc);
    interface.device_proc = Some(device_proc);
    interface.physical_device_proc = None;
    vk::Result::SUCCESS
}

/// # Safety
/// `pointer` must be a function.
unsafe fn as_function(pointer: *const ()) -> Option<Function> {
    // SAFETY: the caller's promise.
    Some(unsafe { std::mem::transmute::<*const (), Function>(pointer) })
}

unsafe extern "system" fn instance_proc(instance: *mut c_void, name: *const c_char) -> Option<Function> {
    // SAFETY: the application's valid usage of `vkGetInstanceProcAddr`; all of these are functions.
    unsafe {
        match CStr::from_ptr(name).to_bytes() {
            b"vkGetInstanceProcAddr" => as_function(instance_proc as *const ()),
            b"vkCreateInstance" => as_function(create_instance as *const ()),
            b"vkCreateDevice" => as_function(create_device as *const ()),
            b"vkGetDeviceProcAddr" => as_function(device_proc as *const ()),
            b"vkQueuePresentKHR" => as_function(present as *const ()),
            _ => INSTANCE_PROC.get().and_then(|next| next(instance, name)),
        }
    }
}

unsafe extern "system" fn device_proc(device: *mut c_void, name: *const c_char) -> Option<Function> {
    // SAFETY: the application's valid usage of `vkGetDeviceProcAddr`; both are functions.
    unsafe {
        match CStr::from_ptr(name).to_bytes() {
            b"vkGetDeviceProcAddr" => as_function(device_proc as *const ()),
            b"vkQueuePresentKHR" => as_function(present as *const ()),
            _ => DEVICE_PROC.get().and_then(|next| next(device, name)),
        }
    }
}

/// The link to what comes behind, which is taken out of the chain for that.
///
/// # Safety
/// `chain` must be valid, with the loader's structures in it.
unsafe fn link<'a>(chain: *const c_void, kind: vk::StructureType) -> Option<&'a LayerLink> {
    let mut info = chain.cast_mut().cast::<LayerCreateInfo>();
    // SAFETY: the caller's promise: the loader's structures are meant to be changed.
    unsafe {
        while let Some(found) = info.as_mut() {
            if found.kind == kind && found.function == LINK_INFO {
                let link = found.link.as_ref()?;
                found.link = link.next;
                return Some(link);
            }
            info = found.next;
        }
    }
    None
}

unsafe extern "system" fn create_instance(
    info: *const vk::InstanceCreateInfo<'_>,
    callbacks: *const vk::AllocationCallbacks<'_>,
    instance: *mut vk::Instance,
) -> vk::Result {
    // SAFETY: the application's valid usage of `vkCreateInstance`, and the loader's chain; the function has that signature.
    unsafe {
        let kind = vk::StructureType::LOADER_INSTANCE_CREATE_INFO;
        let Some(link) = link((*info).p_next, kind) else { return vk::Result::ERROR_INITIALIZATION_FAILED };
        let next = INSTANCE_PROC.get_or_init(|| link.instance_proc);
        let Some(create) = next(null_mut(), c"vkCreateInstance".as_ptr()) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let create = std::mem::transmute::<Function, vk::PFN_vkCreateInstance>(create);
        let result = create(info, callbacks, instance);
        if result == vk::Result::SUCCESS {
            INSTANCE.store(vk::Handle::as_raw(*instance) as *mut c_void, Ordering::Release);
        }
        result
    }
}

unsafe extern "system" fn create_device(
    physical: vk::PhysicalDevice,
    info: *const vk::DeviceCreateInfo<'_>,
    callbacks: *const vk::AllocationCallbacks<'_>,
    device: *mut vk::Device,
) -> vk::Result {
    // SAFETY: the application's valid usage of `vkCreateDevice`, and the loader's chain; the functions have their signatures.
    unsafe {
        let failed = vk::Result::ERROR_INITIALIZATION_FAILED;
        let kind = vk::StructureType::LOADER_DEVICE_CREATE_INFO;
        let Some(link) = link((*info).p_next, kind) else { return failed };
        let instance = INSTANCE.load(Ordering::Acquire);
        let Some(create) = (link.instance_proc)(instance, c"vkCreateDevice".as_ptr()) else { return failed };
        let create = std::mem::transmute::<Function, vk::PFN_vkCreateDevice>(create);
        let result = create(physical, info, callbacks, device);
        if result == vk::Result::SUCCESS {
            let next = DEVICE_PROC.get_or_init(|| link.device_proc);
            let handle = vk::Handle::as_raw(*device) as *mut c_void;
            // A device without the extension does not present.
            if let Some(found) = next(handle, c"vkQueuePresentKHR".as_ptr()) {
                PRESENT.get_or_init(|| std::mem::transmute::<Function, vk::PFN_vkQueuePresentKHR>(found));
            }
        }
        result
    }
}

unsafe extern "system" fn present(queue: vk::Queue, info: *const vk::PresentInfoKHR<'_>) -> vk::Result {
    // SAFETY: the application's valid usage of `vkQueuePresentKHR`.
    let result = PRESENT.get().map(|present| unsafe { present(queue, info) });
    note();
    result.unwrap_or(vk::Result::ERROR_DEVICE_LOST)
}

/// Writes the time down. Who reads it sees by their number whether frames are missing.
fn note() {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let open = || File::options().append(true).create(true).open(std::env::var_os("VW_FRAME_TIMES")?).ok();
    if let Some(mut file) = FILE.get_or_init(open).as_ref() {
        let now = clock_gettime(ClockId::Monotonic);
        let nanoseconds = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        let _ = file.write_all(&nanoseconds.to_ne_bytes());
    }
}
