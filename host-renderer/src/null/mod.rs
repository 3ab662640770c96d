//! The null executor: a device that does nothing, so that codec, ring, validation and faults can be tested without a
//! GPU or a driver.
//!
//! `vw null device` is a Vulkan 1.4 device of type `OTHER` with one queue family of 4 queues (everything but video),
//! two heaps of 1 GiB (type 0 device-local; type 1 host-visible, coherent and cached), every feature set and every
//! extension that vw forwards. Submissions complete at once, without effect: memory keeps what it had. Commands that are
//! not in [`physical`] or [`device`] succeed; what they create gets a fresh handle, what they return is zero.

mod device;
mod physical;

use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicU64, Ordering};

use ash::vk;
use vw_wire_protocol::codec::Request;
use vw_wire_protocol::schema::{Command, Ret};

use crate::gpu::procs::Pfn;

/// Commands by name.
type Table = &'static [(&'static CStr, Pfn)];

/// A table of functions under the names of their commands, each checked against the command's type.
macro_rules! commands {
    ($($name:literal: $ty:ty = $function:path;)*) => {
        &[$({
            let function: $ty = $function;
            // SAFETY: a function pointer; whoever looks it up by this name calls it with this type.
            ($name, unsafe { std::mem::transmute::<$ty, $crate::gpu::procs::Pfn>(function) })
        },)*]
    };
}
pub(crate) use commands;

/// The null device's Vulkan.
pub fn entry() -> ash::Entry {
    // SAFETY: the function looks up commands as the specification says.
    unsafe { ash::Entry::from_static_fn(ash::StaticFn { get_instance_proc_addr }) }
}

static LOOKUPS: Table = commands! {
    c"vkGetInstanceProcAddr": vk::PFN_vkGetInstanceProcAddr = get_instance_proc_addr;
    c"vkGetDeviceProcAddr": vk::PFN_vkGetDeviceProcAddr = get_device_proc_addr;
};

fn find(name: *const c_char) -> Option<Pfn> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller of a `vkGet*ProcAddr` gives a C string.
    let name = unsafe { CStr::from_ptr(name) };
    let all = LOOKUPS.iter().chain(physical::COMMANDS).chain(device::COMMANDS);
    all.into_iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
}

unsafe extern "system" fn get_instance_proc_addr(
    _: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    find(name)
}

unsafe extern "system" fn get_device_proc_addr(_: vk::Device, name: *const c_char) -> vk::PFN_vkVoidFunction {
    find(name)
}

/// A handle that no other object has.
fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0x1000);
    NEXT.fetch_add(0x10, Ordering::Relaxed)
}

/// Answers a command that creates and returns nothing, and has no function of its own.
pub fn succeed(command: &Command) -> u64 {
    tracing::trace!(command = command.name, "answered");
    0
}

/// Answers a command that has no function of its own.
///
/// # Safety
/// The request must have been decoded for `command`.
pub unsafe fn answer(command: &Command, request: &Request<'_>) -> u64 {
    succeed(command);
    for new in request.new.iter() {
        for i in 0..new.ids.len() {
            // SAFETY: the decoder made room for as many handles as there are ids.
            unsafe { new.raw.add(i).write(fresh()) };
        }
    }
    match (command.ret, command.name) {
        (_, "vkGetEventStatus") => vk::Result::EVENT_RESET.as_raw() as u64,
        (Ret::Value, name) if name.contains("Address") => fresh() << 16,
        _ => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::gpu::Gpu;
    use crate::gpu::facts;
    use crate::gpu::import::{Choice, Import, climb};

    #[test]
    fn null_device_when_opened_has_the_documented_facts() {
        let gpu = Gpu::open(true, None, "test").unwrap();
        assert_eq!(gpu.name, "vw null device");
        assert_eq!(climb(&gpu, Choice::Auto).unwrap().0, Import::of_types(2, 4096));
        assert_eq!(gpu.host_visible_bytes(), 1 << 30);
        let facts = facts::gather(&gpu, &Import::of_types(2, 4096), 64 << 20);
        assert_eq!(vk::api_version_minor(facts.api_version), 4);
        assert!(facts.has_extension("VK_KHR_dynamic_rendering"));
        assert!(facts.has_extension("VK_EXT_external_memory_host"));
        assert_eq!(facts.queue_families.len(), 1);
        assert!(facts.formats.len() > 200);
        // SAFETY: the root of this chain is this structure.
        let memory = unsafe { facts.memory.root().get::<vk::PhysicalDeviceMemoryProperties2<'_>>() };
        assert_eq!(memory.memory_properties.memory_heaps[1].size, 64 << 20);
        // SAFETY: as above.
        let properties = unsafe { facts.properties.root().get::<vk::PhysicalDeviceProperties2<'_>>() };
        assert_eq!(properties.properties.device_name_as_c_str(), Ok(c"vw (vw null device)"));
        let driver =
            facts.properties.body(vk::StructureType::PHYSICAL_DEVICE_DRIVER_PROPERTIES.as_raw()).unwrap();
        // SAFETY: the body is of this structure type.
        let driver = unsafe { driver.get::<vk::PhysicalDeviceDriverProperties<'_>>() };
        assert_eq!(driver.driver_name_as_c_str(), Ok(c"vw"));
    }

    #[test]
    fn null_device_when_asked_for_unknown_commands_has_none() {
        // SAFETY: a C string.
        assert!(unsafe { get_device_proc_addr(vk::Device::null(), c"vkCmdDraw".as_ptr()) }.is_none());
        // SAFETY: as above.
        assert!(unsafe { get_device_proc_addr(vk::Device::null(), c"vkCreateBuffer".as_ptr()) }.is_some());
    }
}
